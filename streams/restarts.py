"""When a process that ended is started again: at once, and later and later while it goes on ending."""

from __future__ import annotations

import time
from collections.abc import Callable

BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Wait before the n-th start within `STABLE_S`."""
STABLE_S = 60.0


class Restarts:
    """Of one process. Pure but for its own state."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._starts: list[float] = []
        self._due_s: float | None = None

    def started(self) -> None:
        self._starts.append(self._clock())
        self._due_s = None

    def due(self) -> bool:
        """Asked while it does not run: whether now is the time to start it."""
        now = self._clock()
        if self._due_s is None:
            self._starts = [at for at in self._starts if now - at < STABLE_S]
            self._due_s = now + BACKOFF_S[min(len(self._starts), len(BACKOFF_S) - 1)]
        return self._due_s <= now
