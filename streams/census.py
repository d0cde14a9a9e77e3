"""Counts what became of the records of a batch while it is worked on: handled parts and dead letters (accounts.py)."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

from streams.accounts import Fate, Place, Tally, merge, tally, times_of
from streams.batch import Batch
from streams.latency import BOUNDS_S, counts
from streams.metrics import SEARCHABLE

Places = Callable[[Batch], Sequence[Place]]


class Outcome(NamedTuple):
    """What became of a batch: its lines, and its records by how late they were done (latency.py's buckets)."""

    lines: Tally
    latency: list[int]


class Census:
    """Of one agent. `places` says whose records are; it is asked once for each part that was handled."""

    def __init__(self, agent: str, places: Places, clock: Callable[[], int]) -> None:
        self._agent = agent
        self._places = places
        self._clock = clock

    def begin(self) -> Count:
        """Start counting a batch, from nothing: what an earlier attempt at it counted is forgotten."""
        return Count(self._agent, self._places, self._clock)


class Count:
    def __init__(self, agent: str, places: Places, clock: Callable[[], int]) -> None:
        self._agent = agent
        self._places = places
        self._clock = clock
        self._lines: Tally = {}
        self._latency = [0] * (len(BOUNDS_S) + 1)

    def handled(self, part: Batch) -> None:
        """The handler is done with `part`; its report says what was not stored."""
        fates = part.report.fates if part.report is not None else {}
        times, now_ms = times_of(part.messages), self._clock()
        merge(self._lines, tally(part.messages, self._places(part), fates, times))
        found = counts(times, now_ms)
        self._latency = [a + b for a, b in zip(self._latency, found, strict=True)]
        SEARCHABLE.observe(self._agent, found, times, now_ms)

    def buried(self, part: Batch, positions: Container[int], reason: str) -> None:
        """The records at these positions of `part` are dead letters in Kafka."""
        places = self._places(part)
        gone = [position for position in range(len(part)) if position in positions]
        messages = [part.messages[position] for position in gone]
        fates = dict.fromkeys(range(len(gone)), (Fate.DEAD_LETTERED, reason))
        found = tally(messages, [places[position] for position in gone], fates, times_of(messages))
        merge(self._lines, found)

    def outcome(self) -> Outcome:
        return Outcome(self._lines, self._latency)
