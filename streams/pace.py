"""How fast and how many at once a receiver may be told. Pure: a token bucket that is asked with the time."""

from __future__ import annotations


class Pace:
    """`per_minute` deliveries (0: any number) with `burst` at once; `concurrency` of a lane at once, each of which a
    crash may repeat."""

    __slots__ = ("_at_ms", "_left", "burst", "concurrency", "per_minute")

    def __init__(self, per_minute: float = 0.0, burst: int = 0, concurrency: int = 1) -> None:
        self.per_minute = per_minute
        self.burst = max(1, burst or round(per_minute))
        self.concurrency = concurrency
        self._left = float(self.burst)
        self._at_ms = 0

    def same(self, other: Pace) -> bool:
        return (self.per_minute, self.burst) == (other.per_minute, other.burst)

    def take(self, now_ms: int) -> bool:
        """Whether one more may go now; it is counted then."""
        if not self.free(now_ms):
            return False
        self._left -= 1.0
        return True

    def free(self, now_ms: int) -> bool:
        if not self.per_minute:
            self._left = float(self.burst)
            return True
        if self._at_ms:
            self._left = min(self.burst, self._left + max(0, now_ms - self._at_ms) * self.per_minute / 60_000)
        self._at_ms = max(self._at_ms, now_ms)
        return self._left >= 1.0
