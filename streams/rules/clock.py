"""Event time behind `rules.matches`: how far it is, from what the matchers say of each source partition. Pure.

`live_ms` never goes back: no partition that goes with the time will bring a record from before it. `back_ms` does: it
is where the slowest partition is that brings old records (an outage caught up with, a replay, the first list of a
cluster). A match from before `live_ms` is late: it waits for `back_ms`, so that late records of several partitions are
put in order too.
"""

from __future__ import annotations

from schemas.base import Event
from schemas.rules import Progress


class Clock(Event, frozen=True, kw_only=True):
    marks: dict[str, tuple[int, int]] = {}
    """`topic/partition` -> (event time, when that was said), ms."""
    partitions: dict[str, int] = {}
    live_ms: int = 0
    """0: some partition was not heard of yet."""
    back_ms: int = 0
    heard_ms: int = 0
    """Every partition said how far it is at this time or later, by the clock."""


def heard(clock: Clock, progress: Progress) -> Clock:
    marks = dict(clock.marks)
    for mark in progress.marks:
        name = f"{mark.topic}/{mark.partition}"
        if mark.at_ms >= marks.get(name, (0, 0))[1]:
            marks[name] = mark.time_ms, mark.at_ms
    partitions = progress.partitions or clock.partitions
    expected = [f"{topic}/{number}" for topic, count in partitions.items() for number in range(count)]
    marks = {name: marks[name] for name in expected if name in marks}
    if len(marks) < len(expected) or not expected:
        return Clock(marks=marks, partitions=partitions, live_ms=clock.live_ms)
    back = min(time for time, _ in marks.values())
    return Clock(
        marks=marks,
        partitions=partitions,
        live_ms=max(clock.live_ms, back),
        back_ms=back,
        heard_ms=min(at for _, at in marks.values()),
    )
