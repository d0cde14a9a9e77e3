"""How late records become searchable: the time between a record's own and the end of its batch, in buckets. Pure.

Of a whole batch at once: its times are sorted (they nearly are) and the bounds looked up in them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

BOUNDS_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Upper bounds of the buckets; one more holds what was later."""
MINUTE_MS = 60_000
KEPT = 5
"""Minutes that are remembered."""

Minutes = list[tuple[int, list[int]]]
"""(minute since the epoch, records by bucket), oldest first."""


def counts(times_ms: Sequence[int], now_ms: int) -> list[int]:
    """Records by bucket, of records with these times that became searchable at `now_ms`."""
    ordered = sorted(times_ms)
    before = [len(ordered) - bisect_left(ordered, now_ms - int(bound * 1000)) for bound in BOUNDS_S]
    before.append(len(ordered))
    return [before[0], *(after - count for count, after in pairwise(before))]


class Latency:
    """The last minutes of one partition."""

    def __init__(self, minutes: Minutes) -> None:
        self.minutes: Minutes = [(minute, list(found)) for minute, found in minutes]

    def add(self, found: Sequence[int], now_ms: int) -> None:
        minute = now_ms // MINUTE_MS
        if not self.minutes or self.minutes[-1][0] < minute:
            self.minutes.append((minute, [0] * (len(BOUNDS_S) + 1)))
        last = self.minutes[-1][1]
        for bucket, count in enumerate(found):
            last[bucket] += count
        self.minutes = [each for each in self.minutes if each[0] > minute - KEPT]


def quantile(found: Sequence[int], q: float) -> float | None:
    """Seconds within which `q` of the records were searchable, interpolated as Prometheus does; None for no records."""
    total = sum(found)
    if not total:
        return None
    rank, below = q * total, 0
    for bucket, count in enumerate(found):
        if below + count >= rank and count:
            if bucket == len(BOUNDS_S):
                return BOUNDS_S[-1]
            low = BOUNDS_S[bucket - 1] if bucket else 0.0
            return low + (BOUNDS_S[bucket] - low) * (rank - below) / count
        below += count
    return BOUNDS_S[-1]


def recent(all_minutes: Sequence[Minutes], now_ms: int, minutes: int = KEPT) -> list[int]:
    """Records by bucket of the last `minutes`, over several partitions."""
    out = [0] * (len(BOUNDS_S) + 1)
    since = now_ms // MINUTE_MS - minutes
    for each in all_minutes:
        for minute, found in each:
            if minute <= since:
                continue
            for bucket, count in enumerate(found[: len(out)]):
                out[bucket] += count
    return out
