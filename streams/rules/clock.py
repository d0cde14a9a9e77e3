"""Event time behind `rules.matches`: how far it is, from what the matchers say of each source partition. Pure.

`live_ms` never goes back: no partition that goes with the time will bring a record from before it. `back_ms` does: it
is where the slowest partition is that brings old records (an outage caught up with, a replay, the first list of a
cluster). A match from before `live_ms` is late: it waits for `back_ms`, so that late records of several partitions are
put in order too.
"""

from __future__ import annotations

from schemas.base import Event
from schemas.rules import Mark, Progress


class Clock(Event, frozen=True, kw_only=True):
    """Of one input topic: a rule waits for the partitions of its own input alone."""

    marks: dict[int, tuple[int, int]] = {}
    """Partition -> (event time, when that was said), ms."""
    partitions: int = 0
    live_ms: int = 0
    """0: some partition was not heard of yet."""
    back_ms: int = 0
    heard_ms: int = 0
    """Every partition said how far it is at this time or later, by the clock; 0: not all are known."""


UNHEARD = Clock()


def heard(clocks: dict[str, Clock], progress: Progress) -> dict[str, Clock]:
    """The clocks after `progress`, by topic; topics it does not know of are no inputs any more."""
    topics = progress.partitions or {topic: clock.partitions for topic, clock in clocks.items()}
    return {
        topic: _advanced(clocks.get(topic, UNHEARD), [m for m in progress.marks if m.topic == topic], count)
        for topic, count in topics.items()
    }


def _advanced(clock: Clock, said: list[Mark], partitions: int) -> Clock:
    marks = {number: mark for number, mark in clock.marks.items() if number < partitions}
    for mark in said:
        if mark.partition < partitions and mark.at_ms >= marks.get(mark.partition, (0, 0))[1]:
            marks[mark.partition] = mark.time_ms, mark.at_ms
    if len(marks) < partitions:
        return Clock(marks=marks, partitions=partitions, live_ms=clock.live_ms)
    back = min((time for time, _ in marks.values()), default=0)
    return Clock(
        marks=marks,
        partitions=partitions,
        live_ms=max(clock.live_ms, back),
        back_ms=back,
        heard_ms=min((at for _, at in marks.values()), default=0),
    )


def together(clocks: list[Clock]) -> Clock:
    """The time of several topics: that of the one that is least far."""
    return Clock(
        live_ms=min(clock.live_ms for clock in clocks),
        back_ms=min(clock.back_ms for clock in clocks),
        heard_ms=min(clock.heard_ms for clock in clocks),
    )
