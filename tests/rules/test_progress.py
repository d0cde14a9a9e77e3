"""How time passes: marks of source partitions, and the clock windows make of them."""

from __future__ import annotations

from schemas.rules import Mark, Progress
from streams.batch import batch_of
from streams.record import Record
from streams.rules.clock import Clock, heard
from streams.rules.reading import SILENT_MS, Reading

A, B = ("logs", 0), ("logs", 1)


def batch(times: list[int], partition: int = 0) -> list[Record]:
    return [Record("logs", partition, i, None, b"{}", time) for i, time in enumerate(times)]


def told(reading: Reading, positions: dict[tuple[str, int], int], ends: dict[tuple[str, int], int], now: int) -> object:
    return [(m.partition, m.time_ms, m.at_ms) for m in reading.marks(positions, ends, now)]


def test_a_partition_behind_says_where_its_last_batch_was_once() -> None:
    reading = Reading()
    reading.read(batch_of(batch([500, 900, 700])), 10_000)
    assert told(reading, {A: 3}, {A: 9}, 10_100) == [(0, 900, 10_000)]
    assert told(reading, {A: 3}, {A: 9}, 10_200) == []


def test_a_partition_read_to_its_end_goes_on_from_its_last_record_and_then_with_the_clock() -> None:
    reading = Reading()
    reading.read(batch_of(batch([900])), 10_000)
    assert told(reading, {A: 1}, {A: 1}, 10_500) == [(0, 1400, 10_500)]
    reading.read(batch_of(batch([9_800])), 10_000)
    assert told(reading, {A: 1}, {A: 1}, 30_000) == [(0, 29_800, 30_000)], "the usual delay of this partition"
    assert told(reading, {A: 1}, {A: 1}, 70_000) == [(0, 70_000, 70_000)]
    reading.read(batch_of(batch([900])), 10_000)
    assert told(reading, {A: 1}, {A: 1}, 10_000 + SILENT_MS) == [(0, 10_000 + SILENT_MS, 10_000 + SILENT_MS)]
    assert told(reading, {B: 0}, {B: 0}, 10_500) == [(1, 10_500, 10_500)]


def test_a_partition_whose_end_is_unknown_says_nothing() -> None:
    assert told(Reading(), {A: 5}, {}, 1) == []
    assert told(Reading(), {A: -1}, {A: 0}, 1) == []


def test_the_future_is_now() -> None:
    reading = Reading()
    reading.read(batch_of(batch([99_000])), 10_000)
    assert told(reading, {A: 1}, {A: 2}, 10_000) == [(0, 10_000, 10_000)]


def mark(partition: int, time: int, at: int) -> Mark:
    return Mark(topic="logs", partition=partition, time_ms=time, at_ms=at)


def test_time_waits_for_every_partition_and_never_goes_back() -> None:
    def say(clocks: dict[str, Clock], *marks: Mark, partitions: int = 2) -> tuple[dict[str, Clock], Clock]:
        clocks = heard(clocks, Progress(marks=list(marks), partitions={"logs": partitions}))
        return clocks, clocks["logs"]

    clocks, clock = say({}, mark(0, 100, 1000))
    assert (clock.live_ms, clock.heard_ms) == (0, 0)
    clocks, clock = say(clocks, mark(1, 80, 1001))
    assert (clock.live_ms, clock.back_ms, clock.heard_ms) == (80, 80, 1000)
    clocks, clock = say(clocks, mark(0, 20, 1002))
    assert (clock.live_ms, clock.back_ms, clock.heard_ms) == (80, 20, 1001)
    clocks, clock = say(clocks, mark(0, 50, 900))
    assert clock.back_ms == 20, "said before what is known"
    clocks, clock = say(clocks, partitions=3)
    assert (clock.live_ms, clock.heard_ms) == (80, 0), "a partition came and was not heard of"
    clocks, clock = say(clocks, partitions=1)
    assert (clock.live_ms, clock.back_ms) == (80, 20)


def test_each_input_has_its_own_time() -> None:
    progress = Progress(
        marks=[mark(0, 100, 1000), Mark(topic="kube.events", partition=0, time_ms=900, at_ms=1000)],
        partitions={"logs": 1, "kube.events": 1},
    )
    assert {topic: clock.live_ms for topic, clock in heard({}, progress).items()} == {"logs": 100, "kube.events": 900}
