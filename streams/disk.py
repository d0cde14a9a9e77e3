"""Whether the disk that holds the data directory is so full that nothing more may be taken in.

The broker, the index and the database share that disk: once it is really full each of them breaks, so input stops
before. What is stored already can still be searched, expire and be deleted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

from streams.metrics import DISK_FULL

FRESH_S = 1.0
SLACK_PERCENT = 1.0
"""So much has to be free again beyond the limit before input goes on: it does not flicker."""


class Blocks(Protocol):
    @property
    def f_blocks(self) -> int: ...
    @property
    def f_bfree(self) -> int: ...
    @property
    def f_bavail(self) -> int: ...


class DiskWatch:
    """Looks at most once in `FRESH_S`. Without a folder, or when it is not there, nothing is ever full."""

    def __init__(
        self,
        folder: str,
        limit_percent: float,
        statvfs: Callable[[str], Blocks] = os.statvfs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._limit = limit_percent
        self._statvfs = statvfs
        self._clock = clock
        self._looked = float("-inf")
        self._why = ""

    def full(self) -> str:
        """Why nothing may be taken in; empty while there is room."""
        if self._folder and self._clock() - self._looked >= FRESH_S:
            self._looked = self._clock()
            self._why = self._look()
            DISK_FULL.set(bool(self._why))
        return self._why

    def _look(self) -> str:
        try:
            seen = self._statvfs(self._folder)
        except OSError:
            return ""
        used = seen.f_blocks - seen.f_bfree
        percent = 100 * used / max(1, used + seen.f_bavail)
        limit = self._limit - SLACK_PERCENT if self._why else self._limit
        return f"the disk of the data directory is {percent:.0f} % full, the limit {self._limit:g} %" * (
            percent >= limit
        )
