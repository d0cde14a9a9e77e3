"""How often one caller may ask: a token bucket each, in this process. Pure but for the clock handed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

REMEMBERED = 10_000


class Limits:
    """`rate` requests a second on the long run, `burst` at once. The least recently seen callers are forgotten."""

    def __init__(self, rate: float, burst: float, seconds: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._seconds = seconds
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Take one; 0 when it was there, else after how many seconds there will be one."""
        now = self._seconds()
        level, seen = self._buckets.pop(caller, (self._burst, now))
        level = min(self._burst, level + (now - seen) * self._rate)
        granted = level >= 1
        self._buckets[caller] = (level - 1 if granted else level, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - level) / self._rate
