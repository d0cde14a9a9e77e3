"""Chaos for the demo: kill -9 of worker, sources and broker of a local instance, in turn, while records flow."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle

from deploy.local.instance import Instance

ORDER = ("worker", "sources", "broker", "worker", "sources")
EVERY_S = 4.0


class Chaos(threading.Thread):
    """Kills one process of `find()` every few seconds until `stop`, each of `ORDER` at least once."""

    def __init__(self, find: Callable[[], Instance | None], *, every_s: float = EVERY_S) -> None:
        super().__init__(name="chaos", daemon=True)
        self._find = find
        self._every_s = every_s
        self._over = threading.Event()
        self.killed: list[str] = []

    def run(self) -> None:
        for name in cycle(ORDER):
            if self._over.wait(self._every_s):
                return
            if len(self.killed) >= len(ORDER):
                return
            self.kill(name)

    def kill(self, name: str) -> None:
        instance = self._find()
        pid = instance.children.get(name, 0) if instance else 0
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed.append(name)

    def stop(self) -> None:
        self._over.set()
        self.join()
