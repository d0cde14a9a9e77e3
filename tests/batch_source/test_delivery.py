"""What each kind of failure does to a batch. No sleep, no broker: what would wait is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

import pytest

from streams.batch import Batch, Lease, batch_of
from streams.dead_letters import DeadLetterLimit, parse
from streams.delivery import MAX_DELAY_S, delay_s, deliver
from streams.errors import Fatal, Invalid, Retryable
from streams.record import Outgoing, Record
from streams.settings import Settings, Worker
from streams.watchdog import Watchdog


class Source:
    name = "agent"

    def __init__(self, clock: Callable[[], int]) -> None:
        self.dead_letter_limit = DeadLetterLimit(clock)


class Bench:
    """One delivery: its letters, its waits, and what the handler got. `now` passes only by waiting."""

    def __init__(self, limit: int = 1000) -> None:
        self.letters: list[Outgoing] = []
        self.refuse: list[Exception] = []
        self.waits: list[float] = []
        self.calls: list[list[int]] = []
        self.now = 0.0
        self.settings = Settings(worker=Worker(dead_letter_limit=limit))
        self.source = Source(lambda: int(self.now * 1000))
        self.watchdog = Watchdog(60.0, clock=lambda: self.now)

    async def send(self, records: Sequence[Outgoing]) -> None:
        if self.refuse:
            raise self.refuse.pop(0)
        self.letters.extend(records)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    async def run(self, batch: Batch, handle: Callable[[Batch], None]) -> None:
        async def handler(part: Batch) -> None:
            self.calls.append([message.offset() for message in part.messages])
            handle(part)

        await deliver(
            self.source,
            batch,
            handler,
            settings=self.settings,
            producer=self,
            watchdog=self.watchdog,
            sleep=self.sleep,
            rng=Random(1),
        )

    @property
    def dead(self) -> list[tuple[int, str, str]]:
        """(offset, reason, detail) of the letters."""
        parsed = [parse(Record(o.topic, 0, i, o.key, o.value, 0, o.headers)) for i, o in enumerate(self.letters)]
        return [(letter.offset, letter.reason, letter.detail) for letter in parsed]


def batch(count: int, first: int = 100) -> Batch:
    return batch_of([Record("logs", 3, first + i, b"k%d" % i, b"v%d" % i, 1000 + i) for i in range(count)])


def values(part: Batch) -> list[bytes | None]:
    return [record.value for record in part.records()]


async def test_what_was_handled_is_finished() -> None:
    bench, it = Bench(), batch(3)
    await bench.run(it, lambda part: None)
    assert it.lease is Lease.FINISHED
    assert bench.calls == [[100, 101, 102]]


async def test_a_batch_somebody_else_has_is_left_alone() -> None:
    bench, it = Bench(), batch(3)
    it.claim()
    await bench.run(it, lambda part: None)
    assert it.lease is Lease.HELD
    assert bench.calls == []


async def test_invalid_with_indexes_dead_letters_these_and_handles_the_rest_once() -> None:
    bench, it = Bench(), batch(6)

    def handle(part: Batch) -> None:
        if len(part) == 6:
            raise Invalid("mapping", indexes={1: "field a", 4: "field b"})

    await bench.run(it, handle)
    assert bench.dead == [(101, "mapping", "field a"), (104, "mapping", "field b")]
    assert bench.calls == [[100, 101, 102, 103, 104, 105], [100, 102, 103, 105]]
    assert it.lease is Lease.FINISHED
    assert bench.waits == []


async def test_invalid_without_indexes_is_split_down_to_the_bad_records() -> None:
    bench, it = Bench(), batch(16)
    handled: list[bytes | None] = []

    def handle(part: Batch) -> None:
        if {b"v3", b"v12"} & set(values(part)):
            raise Invalid("not_json", "expected an object")
        handled.extend(values(part))

    await bench.run(it, handle)
    assert bench.dead == [(103, "not_json", "expected an object"), (112, "not_json", "expected an object")]
    assert handled == [b"v%d" % i for i in range(16) if i not in (3, 12)]
    assert it.lease is Lease.FINISHED
    assert bench.waits == []


async def test_invalid_records_named_one_by_one_are_all_found() -> None:
    bench, it = Bench(), batch(3000)

    def handle(part: Batch) -> None:
        if len(part) > 1:
            raise Invalid("bad", indexes={1: "the second"})

    await bench.run(it, handle)
    assert len(bench.letters) == 2999
    assert it.lease is Lease.FINISHED


async def test_invalid_with_positions_that_do_not_exist_is_split() -> None:
    bench, it = Bench(), batch(2)

    def handle(part: Batch) -> None:
        if b"v1" in values(part):
            raise Invalid("bad", indexes={9: "?"})

    await bench.run(it, handle)
    assert [offset for offset, _reason, _detail in bench.dead] == [101]


async def test_a_dead_letter_keeps_the_original_and_says_where_it_was() -> None:
    bench = Bench()
    record = Record("logs", 3, 7, b"key", b"\xff raw", 1234, [("traceparent", b"00-a")])

    def handle(part: Batch) -> None:
        raise Invalid("not_json", "expected an object")

    await bench.run(batch_of([record]), handle)
    (letter,) = bench.letters
    assert (letter.topic, letter.key, letter.value) == ("logs.dlq", b"key", b"\xff raw")
    headers = dict(letter.headers or [])
    assert headers["eventsphere.timestamp"] == b"1234"
    assert headers["traceparent"] == b"00-a"
    assert headers["__connect.errors.topic"] == b"logs"
    assert headers["__connect.errors.partition"] == b"3"
    assert headers["__connect.errors.offset"] == b"7"
    assert headers["__connect.errors.stage"] == b"agent"
    assert headers["__connect.errors.exception.class.name"] == b"not_json"
    assert headers["__connect.errors.exception.message"] == b"expected an object"
    assert headers["eventsphere.attempt"] == b"1"
    assert headers["eventsphere.version"]


async def test_retryable_is_tried_without_end_whole_and_never_dead_lettered() -> None:
    bench, it = Bench(), batch(4)

    def handle(part: Batch) -> None:
        if len(bench.calls) <= 300:
            raise Retryable("index_away")

    await bench.run(it, handle)
    assert len(bench.calls) == 301
    assert all(call == [100, 101, 102, 103] for call in bench.calls)
    assert bench.letters == []
    assert it.lease is Lease.FINISHED
    assert max(bench.waits) <= MAX_DELAY_S
    assert bench.waits[0] < 0.2
    assert bench.waits[-1] > 10, "it backs off"


async def test_the_other_sides_word_on_when_to_come_back_is_honoured_up_to_the_cap() -> None:
    rng = Random(2)
    assert delay_s(1, rng, after_s=7.0) == 7.0
    assert delay_s(1, rng, after_s=600.0) == MAX_DELAY_S
    assert len({delay_s(3, rng) for _ in range(10)}) == 10, "jitter"


async def test_a_declared_back_off_is_no_stall() -> None:
    bench, it = Bench(), batch(1)
    stalls: list[object] = []

    def handle(part: Batch) -> None:
        stalls.extend(bench.watchdog.stalled())
        if len(bench.calls) < 20:
            raise Retryable("index_away", after_s=30.0)

    await bench.run(it, handle)
    assert bench.now > 500
    assert stalls == []


async def test_an_unknown_exception_is_retried_five_times() -> None:
    bench, it = Bench(), batch(4)

    def handle(part: Batch) -> None:
        if len(bench.calls) <= 5:
            raise KeyError("x")

    await bench.run(it, handle)
    assert len(bench.calls) == 6
    assert len(bench.waits) == 5
    assert bench.letters == []
    assert it.lease is Lease.FINISHED


async def test_an_unknown_exception_that_stays_is_split_down_to_the_bad_record() -> None:
    bench, it = Bench(), batch(8)
    handled: list[bytes | None] = []

    def handle(part: Batch) -> None:
        if b"v5" in values(part):
            raise ZeroDivisionError("by the record")
        handled.extend(values(part))

    await bench.run(it, handle)
    assert bench.dead == [(105, "ZeroDivisionError", "by the record")]
    assert handled == [b"v%d" % i for i in range(8) if i != 5]
    assert it.lease is Lease.FINISHED


async def test_too_many_dead_letters_of_unknown_cause_stop_the_worker_and_finish_nothing() -> None:
    bench, it = Bench(limit=10), batch(64)

    def handle(part: Batch) -> None:
        raise RuntimeError("everything fails")

    with pytest.raises(Fatal, match="dead_letter_limit"):
        await bench.run(it, handle)
    assert len(bench.letters) == 10
    assert it.lease is Lease.WAITING, "it comes again"


async def test_dead_letters_of_known_cause_have_no_limit_and_old_ones_do_not_count() -> None:
    bench = Bench(limit=10)

    def invalid(part: Batch) -> None:
        raise Invalid("bad")

    def unknown(part: Batch) -> None:
        raise RuntimeError("bad")

    await bench.run(batch(64), invalid)
    for _ in range(3):
        await bench.run(batch(10), unknown)
        bench.now += 61
    assert len(bench.letters) == 64 + 30


async def test_cancelled_gives_the_batch_back() -> None:
    bench, it = Bench(), batch(2)
    started = asyncio.Event()

    async def handle(part: Batch) -> None:
        started.set()
        await asyncio.Event().wait()

    async def work() -> None:
        await deliver(
            bench.source,
            it,
            handle,
            settings=bench.settings,
            producer=bench,
            watchdog=bench.watchdog,
            sleep=bench.sleep,
            rng=Random(1),
        )

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert it.lease is Lease.WAITING
    assert it.claim(), "whoever takes it next may work on it"


async def test_a_fatal_error_gives_the_batch_back() -> None:
    bench, it = Bench(), batch(2)

    def handle(part: Batch) -> None:
        raise Fatal("state_unreadable")

    with pytest.raises(Fatal):
        await bench.run(it, handle)
    assert it.lease is Lease.WAITING


async def test_a_back_off_ends_when_the_partition_went_elsewhere() -> None:
    bench, it = Bench(), batch(2)

    def handle(part: Batch) -> None:
        if len(bench.calls) == 3:
            it.forget()
        raise Retryable("index_away")

    await bench.run(it, handle)
    assert len(bench.calls) == 3
    assert it.lease is Lease.FORGOTTEN


async def test_nothing_is_finished_before_its_dead_letter_is_in_kafka() -> None:
    bench, it = Bench(), batch(1)
    bench.refuse = [Retryable("bus_away"), Retryable("bus_away")]
    leases: list[Lease] = []

    def handle(part: Batch) -> None:
        raise Invalid("bad")

    async def sleep(seconds: float) -> None:
        leases.append(it.lease)

    bench.sleep = sleep  # type: ignore[method-assign]
    await bench.run(it, handle)
    assert leases == [Lease.HELD, Lease.HELD]
    assert len(bench.letters) == 1
    assert it.lease is Lease.FINISHED


async def test_a_dead_letter_over_the_topics_limit_is_cut_and_says_so() -> None:
    bench = Bench()
    bench.refuse = [Invalid("too_large", indexes={0: "too large"})]
    record = Record("logs", 0, 7, b"key", b"x" * 200_000, 1234, [("theirs", b"y" * 100)])

    def handle(part: Batch) -> None:
        raise Invalid("bad")

    await bench.run(batch_of([record]), handle)
    (letter,) = bench.letters
    parsed = parse(Record(letter.topic, 0, 0, letter.key, letter.value, 0, letter.headers))
    assert len(letter.value or b"") == 64 << 10
    assert parsed.size == 200_000
    assert not parsed.complete
    assert parsed.offset == 7
