"""What a core may count on, case by case, on a log in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec
import pytest

from streams import journal, partition
from streams.batch import batch_of
from streams.dead_letters import parse
from streams.errors import Fatal, Invalid, Retryable
from streams.journal import Applied, Reader, Step, Writer
from streams.keyed import Keyed
from streams.record import Outgoing, Record
from streams.state import Core, State
from tests.keyed.fakes import INPUT, OUT, STATE, Bus, Count, Counter, Process, records

RNG = random.Random(0)


class Clock:
    ms = 1_000_000


async def keyed_over(
    bus: Bus,
    core: Core[Any] | None = None,
    process: Process | None = None,
    failures: list[BaseException] | None = None,
) -> Keyed[Any]:
    process = process or Process(bus, RNG)
    out = Keyed(
        core or Counter(),
        process,
        process,
        name="count",
        state_topic=STATE,
        clock=lambda: Clock.ms,
        fail=(failures if failures is not None else []).append,
    )
    await out.assigned([(INPUT, 0)])
    return out


async def seen(keyed: Keyed[Count]) -> dict[str, int]:
    out: dict[str, int] = await keyed.apply(0, lambda state: ({k: c.seen for k, c in state.items()}, []))
    return out


async def test_a_batch_read_again_is_not_applied_again() -> None:
    bus = Bus()
    keyed = await keyed_over(bus)
    batch = batch_of(records([("a", b"n"), ("b", b"n"), ("a", b"n")]), topic_id="t1")
    await keyed.handle(batch)
    await keyed.handle(batch)
    await keyed.revoked([(INPUT, 0)])
    keyed = await keyed_over(bus)
    await keyed.handle(batch)
    assert await seen(keyed) == {"a": 2, "b": 1}
    assert len(bus.outputs) == 3


async def test_a_recreated_input_is_applied_from_its_start() -> None:
    keyed = await keyed_over(Bus())
    await keyed.handle(batch_of(records([("a", b"n")] * 5), topic_id="t1"))
    await keyed.handle(batch_of(records([("a", b"n")] * 2), topic_id="t2"))
    assert await seen(keyed) == {"a": 7}


async def test_invalid_is_a_dead_letter_and_changes_nothing() -> None:
    bus = Bus()
    keyed = await keyed_over(bus)
    await keyed.handle(batch_of(records([("a", b"n"), ("a", b"bad"), ("b", b"bad"), ("a", b"n")])))
    assert await seen(keyed) == {"a": 2}
    letters = [o for o in bus.outputs if o.topic == f"{INPUT}.dlq"]
    assert [letter.value for letter in letters] == [b"bad", b"bad"]
    about = parse(Record(letters[0].topic, 0, 0, letters[0].key, letters[0].value, 0, letters[0].headers))
    assert (about.topic, about.offset, about.reason, about.stage) == (INPUT, 1, "bad", "count")


async def test_a_fault_of_the_core_keeps_what_came_before_and_skips_nothing() -> None:
    keyed = await keyed_over(Bus())
    inputs = records([("a", b"n"), ("a", b"bug"), ("a", b"n")])
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await keyed.handle(batch_of(inputs))
    assert await seen(keyed) == {"a": 1}
    await keyed.handle(batch_of(inputs[2:]))  # what `deliver` does once the record is dead-lettered
    assert await seen(keyed) == {"a": 2}


async def test_a_large_batch_is_written_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "STEP_RECORDS", 3)
    bus = Bus()
    keyed = await keyed_over(bus)
    await keyed.handle(batch_of(records([("a", b"n")] * 10)))
    journals = {value for key, value, _ in bus.state[0] if (key or b"").startswith(journal.JOURNAL)}
    assert len(journals) == 4
    assert await seen(keyed) == {"a": 10}


async def test_a_record_that_makes_an_entry_too_large_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "ENTRY_BYTES", 100)
    bus = Bus()
    keyed = await keyed_over(bus)
    await keyed.handle(batch_of(records([("a", b"n"), ("a", b"text" + b"x" * 100), ("a", b"n"), ("b", b"n")])))
    assert await seen(keyed) == {"a": 2, "b": 1}
    assert [o.value for o in bus.outputs if o.topic == OUT] == [b"a 0 1", b"a 2 2", b"b 3 1"]
    assert len(bus.dead) == 1


async def test_an_output_over_its_topics_limit_is_a_dead_letter() -> None:
    class Shouting(Counter):
        def decide(self, state: State[Count], record: Record) -> Iterator[Outgoing]:
            yield from super().decide(state, record)
            yield Outgoing(OUT, b"x" * 200_000, b"large")

    bus = Bus()
    keyed = await keyed_over(bus, Shouting(), Process(bus, RNG, limits={OUT: 100_000}))
    await keyed.handle(batch_of(records([("a", b"n")])))
    letters = [o for o in bus.outputs if o.topic == f"{OUT}.dlq"]
    assert len(letters) == 1
    about = parse(Record(letters[0].topic, 0, 0, None, letters[0].value, 0, letters[0].headers))
    assert (about.topic, about.reason, about.size) == (OUT, "too_large", 200_000)


async def test_a_failing_tick_changes_nothing_and_comes_again() -> None:
    class Failing(Counter):
        fails = True

        def tick(self, state: State[Count], now_ms: int) -> Iterator[Outgoing]:
            yield from super().tick(state, now_ms)
            if self.fails:
                raise RuntimeError("a fault of the core")

    bus, core = Bus(), Failing()
    keyed = await keyed_over(bus, core)
    await keyed.handle(batch_of(records([("a", b"n")])))
    with pytest.raises(RuntimeError):
        await keyed.tick(0)
    assert not bus.ticks
    core.fails = False
    await keyed.tick(0)
    assert bus.ticks == [b"tick a 0"]


async def test_time_passes_only_when_what_waited_was_applied() -> None:
    bus = Bus()
    process = Process(bus, RNG, end=4)
    keyed = await keyed_over(bus, process=process)
    inputs = records([("a", b"n"), ("b", b"n"), ("a", b"n"), ("b", b"n")])
    await keyed.handle(batch_of(inputs[:3]))
    await keyed.tick(0)
    assert not bus.ticks
    await keyed.handle(batch_of(inputs[3:]))
    await keyed.tick(0)
    assert not bus.ticks  # both counts are even by now: what was odd in between is history
    assert await seen(keyed) == {"a": 2, "b": 2}


async def test_time_does_not_pass_a_record_that_is_not_applied_yet() -> None:
    class Late(Counter):
        passed: ClassVar[list[int]] = []

        def tick(self, state: State[Count], now_ms: int) -> Iterator[Outgoing]:
            self.passed.append(now_ms)
            return super().tick(state, now_ms)

    process = Process(bus := Bus(), RNG)
    keyed = await keyed_over(bus, Late(), process)
    inputs = records([("a", b"n")] * 3)
    began = Clock.ms
    await keyed.tick(0)
    process.end = 2
    for offset in range(3):
        Clock.ms += 1000
        await keyed.tick(0)
        await keyed.handle(batch_of(inputs[offset : offset + 1]))
    await keyed.tick(0)
    assert Late.passed == [began, began + 1000, began + 3000]


async def test_time_passes_at_last_when_the_backlog_does_not_come() -> None:
    bus = Bus()
    keyed = await keyed_over(bus, process=Process(bus, RNG, end=4))
    await keyed.handle(batch_of(records([("a", b"n")])))
    Clock.ms += 60_000
    await keyed.tick(0)
    assert bus.ticks == [b"tick a 0"]


async def test_a_change_from_outside_is_written_once_though_the_bus_is_away() -> None:
    bus = Bus()
    process = Process(bus, RNG, fails=0.0)
    keyed = await keyed_over(bus, process=process)
    process.fails = 1.0

    def change(state: State[Count]) -> tuple[str, list[Outgoing]]:
        state["x"] = Count(state.get("x", Count()).seen + 1)
        return "done", [Outgoing(OUT, b"x", b"x")]

    changing = asyncio.create_task(keyed.apply(0, change))
    await asyncio.sleep(0.1)
    process.fails = 0.0
    assert await asyncio.wait_for(changing, 30) == "done"
    assert await seen(keyed) == {"x": 1}
    assert await seen(await keyed_over(bus)) == {"x": 1}


async def test_what_is_not_loaded_is_not_worked_on() -> None:
    keyed = await keyed_over(Bus())
    await keyed.revoked([(INPUT, 0)])
    with pytest.raises(Retryable, match="state_not_loaded"):
        await keyed.handle(batch_of(records([("a", b"n")])))
    with pytest.raises(Retryable, match="state_not_loaded"):
        await seen(keyed)
    assert keyed.partitions == []


async def test_after_a_quiet_end_nothing_is_sent_again() -> None:
    bus = Bus()
    keyed = await keyed_over(bus)
    await keyed.handle(batch_of(records([("a", b"n")])))
    await keyed.revoked([(INPUT, 0)])
    assert len(bus.outputs) == 1
    await keyed_over(bus)
    assert len(bus.outputs) == 1


class Wider(msgspec.Struct, frozen=True):
    total: int


class Next(Counter):
    version = 2
    entry = Wider  # type: ignore[assignment]

    def upgrade(self, key: str, entry: bytes) -> Wider:
        return Wider(msgspec.json.decode(entry, type=Count).seen * 10)


class Later(Next):
    version = 3
    upgrade = None  # type: ignore[assignment]


async def test_the_next_version_reads_the_one_before_and_rewrites_it() -> None:
    bus = Bus()
    keyed = await keyed_over(bus)
    await keyed.handle(batch_of(records([("a", b"n"), ("b", b"n"), ("b", b"n")])))
    await keyed.revoked([(INPUT, 0)])
    for _ in range(2):
        keyed = await keyed_over(bus, Next())
        totals = await keyed.apply(0, lambda state: ({k: c.total for k, c in state.items()}, []))
        assert totals == {"a": 10, "b": 20}
        await keyed.revoked([(INPUT, 0)])
    later = await keyed_over(bus, Later())  # everything is of version 2 or newer by now, but 3 reads only itself
    assert later.partitions == [0]


async def test_a_version_nobody_can_read_ends_the_process_with_a_clear_word() -> None:
    bus = Bus()
    keyed = await keyed_over(bus)
    await keyed.handle(batch_of(records([("a", b"n")])))
    failures: list[BaseException] = []
    with pytest.raises(Fatal, match=r"state\.count-0 holds entries of version 1; this program reads 3"):
        await keyed_over(bus, Later(), failures=failures)
    assert isinstance(failures[0], Fatal)


def read(log: list[Outgoing]) -> Reader[int]:
    reader: Reader[int] = Reader("me", lambda _key, _version, raw: int(raw))
    for record in log:
        reader.add(record.key, record.value, lambda r=record: r.headers)  # type: ignore[misc]
    return reader


def step(seq: int, **entries: int | None) -> Step:
    raw = {key: None if value is None else str(value).encode() for key, value in entries.items()}
    return Step(seq, 1, Applied("t", seq), raw, [])


def test_a_late_repeat_of_an_older_step_is_ignored_and_reported() -> None:
    w = Writer("s", 0, 1)
    old, new = step(1, a=1, b=1), step(2, a=2, b=None)
    log = w.claim("x") + w.journal(old) + w.entries(old) + w.meta(old, 0)
    log += w.journal(new) + w.entries(new) + w.meta(new, 1)
    reader = read(log + w.journal(old) + w.entries(old) + w.meta(old, 1))
    assert reader.take() == ({"a": 2}, Applied("t", 2))
    assert list(reader.stale) == ["a", "b"]
    assert reader.redo == new


def test_of_two_claims_of_one_epoch_the_first_holds() -> None:
    first, second = Writer("s", 0, 5).claim("me"), Writer("s", 0, 5).claim("other")
    assert read(first + second).mine == 5
    late = read(second + first)
    assert (late.mine, late.refused) == (0, 5)


def test_what_cannot_be_read_is_fatal() -> None:
    with pytest.raises(Fatal, match="state_unreadable"):
        read([Outgoing("s", b"{not json", b"entry/a")])


async def test_a_journal_the_topic_does_not_take_is_fatal() -> None:
    bus = Bus()
    process = Process(bus, RNG)
    keyed = await keyed_over(bus, process=process)
    process.limits[STATE] = 10
    with pytest.raises(Fatal, match=r"max\.message\.bytes"):
        await keyed.handle(batch_of(records([("a", b"n")])))


async def test_a_change_that_grows_an_entry_too_large_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "ENTRY_BYTES", 100)
    keyed = await keyed_over(Bus())

    def change(state: State[Count]) -> tuple[None, list[Outgoing]]:
        state["x"] = Count(text="x" * 100)
        return None, []

    with pytest.raises(Invalid, match="entry_too_large"):
        await keyed.apply(0, change)
    assert await seen(keyed) == {}
