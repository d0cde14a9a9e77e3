"""Who is killed when, and what the index must hold in the end. Pure: a seed gives the same plan every time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

VICTIMS = {"sources": 4, "worker": 4, "broker": 2}
"""Processes of an instance and how often each is chosen, of ten."""
SHORTEST, LONGEST = 0.15, 1.85
"""Of the mean, between two kills: at the short end the next comes before the last victim is up again."""
GIVES_UP = 0.2
"""Of the chunks, those whose sender does not try again: what it was not told of may be there once, or not at all."""


class Kill(NamedTuple):
    after_s: float
    victim: str


def kills(count: int, mean_s: float, rng: random.Random) -> list[Kill]:
    """`count` kills, `mean_s` apart on average; with enough of them each process is killed."""
    names, weights = list(VICTIMS), list(VICTIMS.values())
    first = rng.sample(names, min(count, len(names)))
    rest = rng.choices(names, weights, k=count - len(first))
    victims = [*first, *rest]
    rng.shuffle(victims)
    return [Kill(rng.uniform(SHORTEST, LONGEST) * mean_s, victim) for victim in victims]


class Chunk(NamedTuple):
    """Numbers [start, end) sent as one; `persists`: sent again until it is acknowledged."""

    start: int
    end: int
    persists: bool


def chunks(records: int, size: int, rng: random.Random) -> list[Chunk]:
    """All numbers below `records`, in order."""
    return [
        Chunk(start, min(start + size, records), rng.random() >= GIVES_UP or start + size >= records)
        for start in range(0, records, size)
    ]


class Verdict(NamedTuple):
    """`lost`: acknowledged and not there. `doubled`: there more than once. `strange`: never sent."""

    sent: int
    acknowledged: int
    found: int
    lost: list[int]
    doubled: list[int]
    strange: list[int]

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.strange)

    def __str__(self) -> str:
        said = "GOOD" if self.good else "BAD"
        unsure = self.sent - self.acknowledged
        text = (
            f"{said}: {self.acknowledged:,} acknowledged, each found exactly once; "
            f"{unsure:,} not acknowledged, of which {self.found - self.acknowledged:,} found, none twice"
        )
        if self.good:
            return text
        return (
            f"{said}: of {self.acknowledged:,} acknowledged {len(self.lost):,} lost{_named(self.lost)}, "
            f"{len(self.doubled):,} doubled{_named(self.doubled)}, {len(self.strange):,} never sent"
            f"{_named(self.strange)}; {self.found:,} found, {self.sent:,} sent"
        )


def _named(numbers: list[int]) -> str:
    return f" ({', '.join(map(str, numbers[:5]))}{', ...' if len(numbers) > 5 else ''})" if numbers else ""


def judge(sent: Collection[Chunk], acknowledged: Collection[Chunk], found: Iterable[int]) -> Verdict:
    """Every number of an acknowledged chunk exactly once, every other at most once, and none that was not sent."""
    times = Counter(found)
    all_sent = {number for chunk in sent for number in range(chunk.start, chunk.end)}
    sure = {number for chunk in acknowledged for number in range(chunk.start, chunk.end)}
    return Verdict(
        len(all_sent),
        len(sure),
        times.total(),
        sorted(sure - times.keys()),
        sorted(number for number, count in times.items() if count > 1),
        sorted(times.keys() - all_sent),
    )
