"""deliver-notifications on a real broker and real servers: each target once, whatever is away or refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from agents import deliver_notifications
from schemas.alerts import AlertState, Status
from schemas.base import encode
from schemas.notifications import Decision, Notification, Outcome, group_record_key, notification_id
from streams.notify_settings import NotifyPolicy
from streams.record import Outgoing
from streams.settings import Alerting, Kafka, Notify, Settings, Smtp
from tests.delivery.samples import TIME, alert
from tests.parts.running import decoded, following, running, send, until
from tests.parts.smtpd import Smtpd

CONFIG = """
route: {receiver: ops, group_by: [namespace]}
receivers:
  - name: ops
    email_configs: [{to: "ops@example.org, second@example.org", send_resolved: true}]
"""


def notification(flush: int, group: str, receiver: str = "ops") -> Notification:
    return Notification(
        id=notification_id("platform", receiver, group, flush),
        tenant="platform",
        receiver=receiver,
        group_key=group,
        group_labels={"namespace": "shop"},
        flush=flush,
        decision=Decision.SEND,
        reason="first",
        status="firing",
        alerts=[alert()],
        thread=notification_id("platform", receiver, group, 1),
        decided_at_ms=TIME + flush,
    )


def outgoing(notification: Notification) -> Outgoing:
    key = group_record_key(notification.tenant, notification.receiver, notification.group_key)
    return Outgoing("notifications", encode(notification), key.encode())


@pytest.fixture
def settings(platform_kafka: Kafka, tmp_path: Path, smtp: Smtpd) -> Settings:
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG)
    return Settings(
        data_dir=str(tmp_path),
        kafka=platform_kafka,
        smtp=Smtp(url=f"smtp://127.0.0.1:{smtp.port}?from=es@example.org"),
        alerting=Alerting(config=str(config)),
    )


async def test_each_address_gets_its_mail_and_each_outcome_is_recorded(settings: Settings, smtp: Smtpd) -> None:
    smtp.replies["second@example.org"] = "550 5.1.1 no such user"
    made = notification(1, "each")
    with (
        following(settings.kafka, "notifications.outcomes") as outcomes,
        following(settings.kafka, "notifications.dlq") as dead,
    ):
        async with running(settings, deliver_notifications):
            await send(settings.kafka, outgoing(made), outgoing(made))
            await until(lambda: len(outcomes()) >= 2 and dead(), "two outcomes and a dead letter")
            second = notification(2, "each")
            await send(settings.kafka, outgoing(second), outgoing(made))
            await until(lambda: len(smtp.received) >= 2, "the second mail")
        got = {(o.target, o.result, o.attempt) for o in decoded(outcomes(), Outcome) if o.notification == made.id}
        assert got == {("ops@example.org", "sent", 1), ("second@example.org", "failed", 1)}
    first, then = smtp.received
    assert first["Message-ID"] == f"<{made.id}@eventsphere>"
    assert then["References"] == first["Message-ID"]
    assert smtp.recipients == ["ops@example.org"] * 2


async def test_a_webhook_that_hangs_holds_no_mail_up(settings: Settings, smtp: Smtpd, tmp_path: Path) -> None:
    async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(600)

    hanging = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{hanging.sockets[0].getsockname()[1]}/hook"
    config = tmp_path / "both.yml"
    both = CONFIG.replace("ops@example.org, second@example.org", "ops@example.org")
    config.write_text(f'{both}    webhook_configs: [{{url: "{url}"}}]\n')
    changed = settings.model_copy(update={"alerting": Alerting(config=str(config))})
    made = [notification(1, f"hang-{number}") for number in range(5)]
    async with running(changed, deliver_notifications):
        await send(settings.kafka, *map(outgoing, made))
        # One hanging request takes 15 s: five in a row would take 75.
        await until(lambda: len(smtp.received) >= 5, "all mails", 40)
    hanging.close()


async def test_each_recipient_by_its_own_answer(settings: Settings, smtp: Smtpd, tmp_path: Path) -> None:
    """450 twice and then taken, 421 once, 550, never: each as the policy says, and nobody waits for another."""
    smtp.answers = {
        "busy@example.org": ["450 4.2.1 busy", "450 4.2.1 busy"],
        "closing@example.org": ["421 4.3.2 shutting down"],
        "gone@example.org": ["550 5.1.1 no such user"],
        "never@example.org": ["451 4.3.0 later"] * 99,
    }
    config = tmp_path / "each.yml"
    config.write_text(
        CONFIG.replace("ops@example.org, second@example.org", ", ".join([*smtp.answers, "ops@example.org"]))
    )
    policy = NotifyPolicy(waits_s=[0.3], give_up_after_s=4, then="digest")
    changed = settings.model_copy(
        update={"alerting": Alerting(config=str(config)), "notify": Notify(policies=[policy])}
    )
    made = notification(1, "answers")
    with following(settings.kafka, "notifications.outcomes") as outcomes:

        def seen(target: str) -> list[str]:
            own = [o for o in decoded(outcomes(), Outcome) if o.notification == made.id and o.target == target]
            return [str(o.result) for o in own]

        async with running(changed, deliver_notifications):
            await send(settings.kafka, outgoing(made))
            await until(lambda: seen("never@example.org")[-1:] == ["failed"], "the one given up", 90)
            smtp.answers["never@example.org"] = []
            await until(lambda: "never@example.org" in smtp.recipients, "the digest", 60)
        assert seen("ops@example.org") == ["sent"]
        assert seen("busy@example.org") == ["retry", "retry", "sent"]
        assert seen("closing@example.org")[-1] == "sent"
        assert seen("gone@example.org") == ["failed"]
    assert sorted(smtp.recipients) == [
        "busy@example.org",
        "closing@example.org",
        "never@example.org",
        "ops@example.org",
    ]
    assert "Digest of what could not be delivered in time" in str(smtp.received[-1].get_body(("plain",)))


async def test_mails_wait_for_a_server_that_is_away_and_all_arrive(settings: Settings, smtp: Smtpd) -> None:
    smtp.stop()
    made = [notification(1, f"away-{number}") for number in range(10)]
    async with running(settings, deliver_notifications):
        with following(settings.kafka, "notifications.outcomes") as outcomes:
            await send(settings.kafka, *map(outgoing, made))
            ids = {each.id for each in made}
            await until(
                lambda: any(o.notification in ids and o.result == "retry" for o in decoded(outcomes(), Outcome)),
                "an attempt that failed",
            )
        smtp.start()
        await until(lambda: len(smtp.received) >= 20, "all mails")
    assert sorted(smtp.ids()) == sorted(f"<{each.id}@eventsphere>" for each in made for _ in range(2))


def test_alerts_told_again_are_as_they_are_by_now() -> None:
    then = alert()
    over = msgspec.structs.replace(then, state=Status.RESOLVED, ends_at_ms=TIME + 5, updated_at_ms=TIME + 5)
    again = msgspec.structs.replace(then, episode="e2", starts_at_ms=TIME + 9, updated_at_ms=TIME + 9)
    older = msgspec.structs.replace(then, updated_at_ms=TIME - 1)

    def by_now(state: AlertState | None) -> tuple[Status, int]:
        (now,) = deliver_notifications.current([then], lambda _: state, TIME + 60)
        return now.state, now.ends_at_ms

    assert by_now(then) == (Status.FIRING, 0)
    assert by_now(over) == (Status.RESOLVED, TIME + 5)
    assert by_now(again) == (Status.RESOLVED, TIME + 9)
    assert by_now(None) == (Status.RESOLVED, TIME + 60)
    assert by_now(older) == (Status.FIRING, 0)


async def test_what_was_sent_before_a_restart_is_not_sent_again(settings: Settings, smtp: Smtpd) -> None:
    made = notification(1, "restart")
    smtp.replies["second@example.org"] = "450 4.2.1 later"
    async with running(settings, deliver_notifications):
        await send(settings.kafka, outgoing(made))
        await until(lambda: len(smtp.received) >= 1, "the first mail")
    smtp.replies.clear()
    async with running(settings, deliver_notifications):
        await until(lambda: len(smtp.received) >= 2, "the mail that was refused for now")
    assert sorted(smtp.recipients) == ["ops@example.org", "second@example.org"]


async def test_shadow_sends_nothing(settings: Settings, smtp: Smtpd) -> None:
    made = notification(1, "shadow")
    shadow = settings.model_copy(update={"notify": Notify(mode="shadow")})
    with following(settings.kafka, "notifications.outcomes") as outcomes:
        async with running(shadow, deliver_notifications):
            await send(settings.kafka, outgoing(made))
            await until(
                lambda: [o for o in decoded(outcomes(), Outcome) if o.notification == made.id and o.result == "shadow"],
                "the outcome",
            )
    assert smtp.received == []


async def test_an_unknown_receiver_is_a_dead_letter_and_holds_nothing_up(settings: Settings, smtp: Smtpd) -> None:
    with following(settings.kafka, "notifications.dlq") as dead:
        async with running(settings, deliver_notifications):
            lost = notification(1, "lost", receiver="nobody")
            await send(
                settings.kafka, outgoing(lost), Outgoing("notifications", b"{", b"k"), outgoing(notification(1, "x"))
            )
            await until(lambda: len(smtp.received) == 2, "the other's mail")
            await until(lambda: {b"{", encode(lost)} <= {value for _, value in dead()}, "the dead letters")
