"""The watchdog: a process that has work and does nothing ends, so that its supervisor starts a new one.

A source has work when partitions are assigned to it and they have lag (asked of the broker apart from the fetching).
Progress is: records were fetched, the sink was tried, or a declared back-off runs. It looks from a thread of its own,
so that a blocked event loop is seen too.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits.h."""
LOOK_S = 1.0


class Watched(Protocol):
    """What is asked of a source."""

    name: str

    @property
    def assigned(self) -> set[tuple[str, int]]: ...
    @property
    def lag(self) -> int: ...
    @property
    def fetched(self) -> int:
        """How often records were fetched."""


class Watchdog:
    """`limit_s`: how long a source with work may do nothing. `clock`: seconds. `exit_`: ends the process at once."""

    def __init__(
        self,
        limit_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        exit_: Callable[[int], object] = os._exit,
    ) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._exit = exit_
        self._sources: dict[str, Watched] = {}
        self._fetched: dict[str, int] = {}
        self._progress: dict[str, float] = {}
        self._stopping = threading.Event()

    def watch(self, source: Watched) -> None:
        self._sources[source.name] = source

    def tried(self, name: str) -> None:
        """Source `name`'s agent called its sink, or the sink came back."""
        self._moved(name, self._clock())

    def backing_off(self, name: str, delay_s: float) -> None:
        """Source `name`'s agent waits `delay_s` before it tries again."""
        self._moved(name, self._clock() + delay_s)

    def stalled(self) -> list[tuple[str, float]]:
        """(source, seconds without progress) of those over the limit. To be called about once a second."""
        now = self._clock()
        out = []
        for name, source in list(self._sources.items()):
            fetched = source.fetched
            if fetched != self._fetched.get(name) or not source.assigned or source.lag <= 0:
                self._fetched[name] = fetched
                self._moved(name, now)
            elif (quiet := now - self._progress[name]) >= self._limit_s:
                out.append((name, quiet))
        return out

    def look(self) -> None:
        """End the process when a source is stalled."""
        for name, quiet_s in self.stalled():
            source = self._sources[name]
            log.critical(
                "watchdog.stalled",
                source=name,
                quiet_s=round(quiet_s),
                lag=source.lag,
                assigned=sorted(source.assigned),
            )
            self._exit(EXIT_STATUS)
            return

    def start(self) -> None:
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def close(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            self.look()

    def _moved(self, name: str, at: float) -> None:
        self._progress[name] = max(at, self._progress.get(name, at))
