"""The outbox's promises, for any order of records, attempts, restarts and clock: nothing missing, nothing twice."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dead_letters import original
from schemas.base import encode
from schemas.notifications import Decision, Notification, Outcome, notification_id
from streams.errors import Failure, Invalid, Retryable
from streams.notify_settings import NotifyPolicy
from streams.outbox import AWAY_MS, OUTCOMES, REFRESH, REFRESH_MS, Entry, Outbox, Planned, Step
from streams.pace import Pace
from streams.record import Outgoing, Record
from streams.sinks.channel import Away
from streams.state import State
from tests.delivery.samples import alert

BACKOFF_MS = (10_000, 60_000, 600_000, 3_600_000)
EXPIRY_MS = 24 * 3_600_000
START = 1_767_607_200_000
MAIL = Planned("email", "m1", "ops@example.org")
HOOK = Planned("webhook", "w1", "https://hooks.example.org")
PEER = Planned("alertmanager", "a1", "http://am.example.org")


def notification(
    flush: int, group: str = "g", status: str = "firing", decision: Decision = Decision.SEND
) -> Notification:
    return Notification(
        id=notification_id("platform", "ops", group, flush),
        tenant="platform",
        receiver="ops",
        group_key=group,
        group_labels={},
        flush=flush,
        decision=decision,
        status=status,
        alerts=[],
        decided_at_ms=START + flush,
    )


def record(
    notification: Notification, offset: int, at_ms: int = START, headers: list[tuple[str, bytes]] | None = None
) -> Record:
    return Record("notifications", 0, offset, b"k", encode(notification), at_ms, headers)


def outbox(*planned: Planned, shadow: bool = False, policy: NotifyPolicy | None = None) -> Outbox:
    return Outbox(lambda _: list(planned or (MAIL,)), shadow=shadow, policy=lambda *_: policy or NotifyPolicy())


def outcomes(outputs: list[Outgoing]) -> list[Outcome]:
    return [msgspec.json.decode(each.value or b"", type=Outcome) for each in outputs if each.topic == OUTCOMES]


def restarted(state: State[Entry]) -> State[Entry]:
    """What is read back after a crash: entries through their JSON."""
    return State({k: msgspec.json.decode(encode(entry), type=Entry) for k, entry in state.items()})


def test_each_target_is_due_once_and_then_never_again() -> None:
    core, state = outbox(MAIL, HOOK), State[Entry]()
    core.decide(state, record(notification(1), 0))
    due = core.due(state, START)
    assert {each.delivery.channel for each in due} == {"email", "webhook"}
    said = [outcome for each in due for outcome in outcomes(core.settle(state, each, None, START))]
    assert [(o.channel, o.result, o.attempt) for o in said] == [("email", "sent", 1), ("webhook", "sent", 1)]
    assert core.due(state, START + EXPIRY_MS * 10) == []
    core.decide(state, record(notification(1), 0))
    core.decide(state, record(notification(1), 7))
    assert core.due(state, START) == []


def test_only_decisions_to_send_are_sent() -> None:
    core, state = outbox(), State[Entry]()
    for decision in set(Decision) - {Decision.SEND}:
        core.decide(state, record(notification(1, decision=decision), 0))
    assert not state


def test_shadow_records_and_sends_nothing() -> None:
    core, state = outbox(MAIL, HOOK, shadow=True), State[Entry]()
    said = outcomes(list(core.decide(state, record(notification(1), 0))))
    assert [o.result for o in said] == ["shadow", "shadow"]
    assert core.due(state, START) == []


def test_a_refusal_for_now_comes_again_later_each_time() -> None:
    core, state = outbox(), State[Entry]()
    core.decide(state, record(notification(1), 0))
    now = START
    waits = []
    for _ in range(6):
        (due,) = core.due(state, now)
        (said,) = outcomes(core.settle(state, due, Retryable("smtp_450", "busy"), now))
        assert said.result == "retry"
        assert core.due(state, said.retry_at_ms - 1) == []
        waits.append(said.retry_at_ms - now)
        now = said.retry_at_ms
    for wait, least in zip(waits, [*BACKOFF_MS, BACKOFF_MS[-1], BACKOFF_MS[-1]], strict=True):
        assert least <= wait <= least * 1.2


def test_a_server_that_is_away_is_not_held_against_the_delivery() -> None:
    core, state = outbox(), State[Entry]()
    core.decide(state, record(notification(1), 0))
    now = START
    for _ in range(20):
        (due,) = core.due(state, now)
        core.settle(state, due, Away("smtp_away"), now)
        now += AWAY_MS[-1]
    (due,) = core.due(state, now)
    assert (due.delivery.attempts, due.delivery.refusals) == (20, 0)


def test_what_is_refused_for_good_is_a_dead_letter_and_its_replay_another_chance() -> None:
    core, state = outbox(MAIL, HOOK), State[Entry]()
    core.decide(state, record(notification(1), 3))
    mail, hook = sorted(core.due(state, START), key=lambda each: each.delivery.channel)
    core.settle(state, hook, None, START)
    outputs = core.settle(state, mail, Invalid("smtp_550", "no such user"), START)
    assert [o.result for o in outcomes(outputs)] == ["failed"]
    (dead,) = [each for each in outputs if each.topic == "notifications.dlq"]
    assert msgspec.json.decode(dead.value or b"", type=Notification) == notification(1)
    headers = dict(dead.headers or [])
    assert headers["__connect.errors.offset"] == b"3"
    assert headers["__connect.errors.exception.class.name"] == b"smtp_550"
    core.decide(state, record(notification(1), 9))
    assert core.due(state, START) == []
    replayed = original(Record("notifications.dlq", 0, 0, dead.key, dead.value, START, dead.headers))
    core.decide(state, record(notification(1), 10, headers=replayed.headers))
    assert [each.delivery.channel for each in core.due(state, START)] == ["email"]


def test_what_is_refused_for_a_day_is_given_up() -> None:
    core, state = outbox(), State[Entry]()
    core.decide(state, record(notification(1), 0))
    (due,) = core.due(state, START)
    core.settle(state, due, Retryable("smtp_450"), START)
    assert list(core.tick(state, START + EXPIRY_MS - 1)) == []
    outputs = list(core.tick(state, START + EXPIRY_MS))
    assert [o.reason for o in outcomes(outputs)] == ["expired: not delivered within 24 h"]
    assert any(each.topic == "notifications.dlq" for each in outputs)


def test_what_was_never_tried_is_tried_however_old() -> None:
    core, state = outbox(), State[Entry]()
    core.decide(state, record(notification(1), 0))
    late = START + 3 * EXPIRY_MS
    assert list(core.tick(state, late)) == []
    assert len(core.due(state, late)) == 1


def test_a_group_hears_in_order() -> None:
    core, state = outbox(), State[Entry]()
    for flush in (2, 1, 3):
        core.decide(state, record(notification(flush), flush))
    core.decide(state, record(notification(1, group="other"), 4))
    due = core.due(state, START)
    assert {(each.notification.group_key, each.notification.flush) for each in due} == {("g", 1), ("other", 1)}
    first = next(each for each in due if each.notification.group_key == "g")
    core.settle(state, first, Retryable("smtp_450"), START)
    assert [each.notification.group_key for each in core.due(state, START)] == ["other"]


def test_an_alertmanager_is_told_again_until_the_group_resolves() -> None:
    core, state = outbox(PEER), State[Entry]()
    core.decide(state, record(notification(1), 0))
    (due,) = core.due(state, START)
    core.settle(state, due, None, START)
    now = START
    for _ in range(3):
        assert core.due(state, now + REFRESH_MS - 1) == []
        now += REFRESH_MS
        (again,) = core.due(state, now)
        assert again.key.startswith(REFRESH)
        assert core.settle(state, again, None, now) == []
    core.decide(state, record(notification(2, status="resolved"), 1))
    (due,) = core.due(state, now)
    core.settle(state, due, None, now)
    assert core.due(state, now + EXPIRY_MS) == []


def test_a_newer_notification_is_not_held_back_by_a_retelling() -> None:
    core, state = outbox(PEER), State[Entry]()
    core.decide(state, record(notification(1), 0))
    (due,) = core.due(state, START)
    core.settle(state, due, None, START)
    core.decide(state, record(notification(2, status="resolved"), 1))
    assert [each.notification.flush for each in core.due(state, START)] == [2]


def test_memory_is_bounded() -> None:
    core, state = outbox(), State[Entry]()
    for flush in range(6_000):
        core.decide(state, record(notification(flush, group=str(flush)), flush))
    for each in core.due(state, START, limit=10_000):
        core.settle(state, each, None, START)
    core.tick(state, START + 1000)
    assert len(state) == 5_000
    core.tick(state, START + 2 * EXPIRY_MS)
    assert len(state) == 0


def test_what_is_given_up_may_be_told_in_one_digest_later() -> None:
    core = outbox(policy=NotifyPolicy(give_up_after_s=100, then="digest", waits_s=[10]))
    state = State[Entry]()
    for flush in (1, 2):
        made = msgspec.structs.replace(notification(flush, group=str(flush)), alerts=[alert(f"Down{flush}")])
        core.decide(state, record(made, flush))
    for due in core.due(state, START):
        core.settle(state, due, Retryable("smtp_450"), START)
    out = list(core.tick(state, START + 100_000))
    assert [each.topic for each in out] == [OUTCOMES, OUTCOMES]
    assert [(o.result, o.reason.split(":")[0]) for o in outcomes(out)] == [("failed", "expired")] * 2
    state = restarted(state)
    (late,) = core.due(state, START + 100_000)
    assert {each.labels["alertname"] for each in late.notification.alerts} == {"Down1", "Down2"}
    core.settle(state, late, None, START + 101_000)
    assert core.due(state, START + 10 * EXPIRY_MS) == []


def test_a_digest_that_grew_while_it_was_sent_is_followed_by_another() -> None:
    core = outbox(policy=NotifyPolicy(give_up_after_s=100, then="digest", waits_s=[10]))
    state = State[Entry]()

    def gives_up(flush: int, now: int) -> None:
        made = msgspec.structs.replace(notification(flush, group=str(flush)), alerts=[alert(f"Down{flush}")])
        core.decide(state, record(made, flush, now))
        (due,) = (each for each in core.due(state, now) if each.notification.flush == flush)
        core.settle(state, due, Retryable("smtp_450"), now)
        core.tick(state, now + 100_000)

    gives_up(1, START)
    (first,) = core.due(state, START + 100_000)
    gives_up(2, START + 1_000)
    core.settle(state, first, None, START + 102_000)
    (second,) = core.due(state, START + 102_000)
    assert second.notification.id != first.notification.id
    assert [each.labels["alertname"] for each in second.notification.alerts] == ["Down2"]


def test_what_somebody_wants_later_is_kept_for_one_digest() -> None:
    person = Planned("email", "m1", "ada@example.org", START + 60_000)
    core, state = outbox(person, HOOK), State[Entry]()
    for flush in (1, 2):
        made = msgspec.structs.replace(notification(flush, group=str(flush)), alerts=[alert(f"Down{flush}")])
        said = outcomes(list(core.decide(state, record(made, flush))))
        assert [(o.channel, o.result, o.retry_at_ms) for o in said] == [("email", "retry", START + 60_000)]
        core.decide(state, record(made, flush))
    assert [due.delivery.channel for due in core.due(state, START)] == ["webhook", "webhook"]
    state = restarted(state)
    (digest,) = (due for due in core.due(state, START + 60_000) if due.delivery.channel == "email")
    assert [each.labels["alertname"] for each in digest.notification.alerts] == ["Down1", "Down2"]
    assert [o.result for o in outcomes(core.settle(state, digest, None, START + 60_000))] == ["sent"]
    assert [due for due in core.due(state, START + EXPIRY_MS) if due.delivery.channel == "email"] == []


def test_what_cannot_go_now_does_not_hide_what_can() -> None:
    core, state = outbox(), State[Entry]()
    for flush in range(300):
        core.decide(state, record(notification(flush, group=str(flush)), flush))
    (only,) = core.due(state, START, lambda due: due.notification.flush == 299)
    assert only.notification.flush == 299


def test_a_pace_lets_a_burst_through_and_then_so_many_a_minute() -> None:
    pace = Pace(per_minute=6, burst=2)
    assert [pace.take(START) for _ in range(3)] == [True, True, False]
    assert not pace.take(START + 9_000)
    assert pace.take(START + 10_000)
    assert [pace.take(START + 600_000) for _ in range(3)] == [True, True, False]
    assert all(Pace().take(START) for _ in range(1000))


ANSWERS = st.sampled_from([None, Retryable("smtp_450"), Away("smtp_away"), Invalid("smtp_550")])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["new", "again", "work", "crash", "tick"]), ANSWERS), max_size=60))
def test_every_target_is_taken_once_whatever_happens(steps: list[tuple[str, Failure | None]]) -> None:
    """A crash is a step whose state was not written: the attempt comes again. Without one, nothing is sent twice."""
    core, state = outbox(MAIL, HOOK), State[Entry]()
    taken: dict[tuple[str, str], int] = {}
    crashes = 0
    records: list[Record] = []
    now = START
    for step, answer in steps:
        now += 7_000
        if step == "new":
            made = notification(len(records) + 1, group=str(len(records) % 3))
            records.append(record(made, len(records), now))
            core.decide(state, records[-1])
        elif step == "again":
            for each in records:
                core.decide(state, each)
        elif step == "tick":
            core.tick(state, now)
        elif due := core.due(state, now):
            first = due[0]
            if answer is None:
                place = (first.notification.id, first.delivery.channel)
                taken[place] = taken.get(place, 0) + 1
            if step == "crash":
                crashes += answer is None
                state = restarted(state)
            else:
                core.settle(state, first, answer, now)
    assert sum(count - 1 for count in taken.values()) <= crashes
    for _ in range(2 * len(records) + 1):
        now += EXPIRY_MS // 2
        for due_now in core.due(state, now):
            core.settle(state, due_now, None, now)
            taken[(due_now.notification.id, due_now.delivery.channel)] = 1
    assert all(entry.notification is None for entry in state.values())
    ended = {(k, d.channel): d.step for k, entry in state.items() for d in entry.deliveries}
    for place, end in ended.items():
        assert (place in taken) or end is Step.FAILED
