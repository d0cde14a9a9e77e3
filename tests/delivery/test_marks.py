"""Marks: what was taken over is known to whoever owns the partition next, and to nobody else's attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from schemas.base import encode
from streams.delivered import Recorder, Result, mark_key, mark_value
from streams.errors import Retryable
from streams.journal import Reader, Writer
from streams.outbox import Due, Entry, Outbox, Step
from streams.record import Outgoing
from streams.state import State
from tests.delivery.test_outbox import MAIL, START, notification, outbox, record
from tests.parts.running import until


class Ledger:
    """One partition, whose state topic is read back by a `Reader`, as keyed.py does it."""

    def __init__(self, state: State[Entry], reader: Reader[Entry]) -> None:
        self.state = state
        self.reader = reader
        self.mine = True

    def owner(self, _partition: int) -> int:
        return 1 if self.mine else 0

    def mark(self, partition: int, key: str, value: bytes | None) -> Outgoing:
        if not self.mine:
            raise Retryable("state_not_loaded")
        return Writer("state.t", partition, 1).mark(key, value)

    def marked(self, _partition: int, key: str) -> bytes | None:
        return self.reader.marks.get(key)

    async def apply(self, _partition: int, change: Callable[[State[Entry]], tuple[Any, Iterable[Outgoing]]]) -> Any:
        return change(self.state)[0]

    async def send(self, records: Sequence[Outgoing]) -> None:
        for each in records:
            self.reader.add(each.key, each.value, lambda: ())


def made() -> tuple[Outbox, Ledger, Due]:
    core, state = outbox(MAIL), State[Entry]()
    core.decide(state, record(notification(1), 0))
    (due,) = core.due(state, START)
    return core, Ledger(state, Reader("me", lambda _k, _v, raw: raw)), due  # type: ignore[arg-type, return-value]


async def test_a_mark_left_by_a_crash_becomes_the_outcome_without_sending() -> None:
    core, ledger, due = made()
    await Recorder(ledger, core, ledger).mark(0, due)  # type: ignore[arg-type]
    next_owner = Recorder(ledger, core, ledger)  # type: ignore[arg-type]
    assert next_owner.knows(0, due, START)
    await until(lambda: ledger.state[due.key].deliveries[0].step is Step.SENT, "the outcome")
    await until(lambda: not ledger.reader.marks, "the mark taken back")


async def test_without_a_mark_it_is_sent_again() -> None:
    core, ledger, due = made()
    assert not Recorder(ledger, core, ledger).knows(0, due, START)  # type: ignore[arg-type]


async def test_a_mark_that_stayed_behind_is_of_its_own_attempt_only() -> None:
    core, ledger, due = made()
    await ledger.send([ledger.mark(0, mark_key(due), b"7 " + due.notification.id.encode())])
    await ledger.send([ledger.mark(0, mark_key(due) + "x", mark_value(due))])
    assert not Recorder(ledger, core, ledger).knows(0, due, START)  # type: ignore[arg-type]


async def test_what_is_at_work_or_waits_to_be_written_down_is_not_begun_again() -> None:
    core, ledger, due = made()
    recorder = Recorder(ledger, core, ledger)  # type: ignore[arg-type]
    recorder.begin(0, due)
    assert recorder.knows(0, due, START)
    recorder.leave(0, due)
    assert not recorder.knows(0, due, START)
    recorder.put(0, Result(due, Retryable("smtp_450"), START))
    assert recorder.knows(0, due, START)
    await until(lambda: not recorder.knows(0, due, START), "its being written down")
    assert ledger.state[due.key].deliveries[0].refusals == 1


async def test_a_partition_that_went_elsewhere_is_not_waited_for() -> None:
    core, ledger, due = made()
    recorder = Recorder(ledger, core, ledger)  # type: ignore[arg-type]
    ledger.mine = False
    assert await recorder.mark(0, due)
    recorder.put(0, Result(due, None, START))
    await until(lambda: not recorder.knows(0, due, START), "its being let go")
    assert ledger.state[due.key].deliveries[0].step is Step.PENDING


def test_a_reader_of_the_journal_passes_over_keys_it_does_not_know() -> None:
    reader: Reader[bytes] = Reader("me", lambda _key, _version, raw: raw)
    reader.add(b"whatever/1", encode({"a": 1}), lambda: ())
    assert (reader.entries, reader.marks) == ({}, {})
