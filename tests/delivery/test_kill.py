"""Mails across `kill -9`: none missing, at most one repeat a kill, each repeat with the same Message-ID."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from agents import deliver_notifications
from schemas.base import encode
from schemas.notifications import Decision, Notification, Outcome, group_record_key, notification_id
from streams.record import Outgoing
from streams.settings import Alerting, Kafka, Settings, Smtp
from tests.delivery.samples import TIME, alert
from tests.parts.running import decoded, following, send, until, worker_process
from tests.parts.smtpd import Smtpd

MAILS, KILLS = 200, 4
CONFIG = """
route: {receiver: ops}
receivers:
  - name: ops
    email_configs: [{to: ops@example.org, send_resolved: true}]
"""


def made(number: int) -> Notification:
    group = f"{{}}:{{number={number}}}"
    return Notification(
        id=notification_id("platform", "ops", group, 1),
        tenant="platform",
        receiver="ops",
        group_key=group,
        group_labels={},
        flush=1,
        decision=Decision.SEND,
        status="firing",
        alerts=[alert()],
        decided_at_ms=TIME + number,
    )


@pytest.mark.timeout(400)
async def test_none_missing_and_one_repeat_a_kill_at_most(platform_kafka: Kafka, smtp: Smtpd, tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG)
    settings = Settings(
        data_dir=str(tmp_path),
        kafka=platform_kafka,
        smtp=Smtp(url=f"smtp://127.0.0.1:{smtp.port}?from=es@example.org"),
        alerting=Alerting(config=str(config)),
    )
    notifications = [made(number) for number in range(MAILS)]
    rng = random.Random(7)
    worker = worker_process(settings, tmp_path / "worker.log", deliver_notifications.NAME)
    await asyncio.to_thread(worker.start)
    try:
        for kill in range(KILLS):
            part = notifications[kill * MAILS // KILLS : (kill + 1) * MAILS // KILLS]
            await send(
                platform_kafka,
                *(
                    Outgoing("notifications", encode(n), group_record_key(n.tenant, n.receiver, n.group_key).encode())
                    for n in part
                ),
            )
            wanted = len(smtp.received) + rng.randint(3, 20)
            await until(lambda wanted=wanted: len(smtp.received) >= wanted, f"{wanted} mails", 120, process=worker)  # type: ignore[misc]
            await asyncio.sleep(rng.random() / 20)
            await asyncio.to_thread(worker.kill)
            await asyncio.to_thread(worker.start)
        await until(lambda: len(set(smtp.ids())) >= MAILS, "every mail", 120, process=worker)
        with following(platform_kafka, "notifications.outcomes") as outcomes:
            await until(
                lambda: len({o.notification for o in decoded(outcomes(), Outcome) if o.result == "sent"}) >= MAILS,
                "every outcome",
            )
    finally:
        await asyncio.to_thread(worker.stop)
    assert set(smtp.ids()) == {f"<{n.id}@eventsphere>" for n in notifications}
    repeats = sum(count - 1 for count in Counter(smtp.ids()).values())
    assert repeats <= KILLS
