"""Child processes of an instance: started, watched, started again when they end, and all stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from deploy.local.broker import Broker
from streams.restarts import Restarts
from streams.tether import tethered

LOG_BYTES = 20 << 20


class Child(Protocol):
    """`signal` and `kill` do nothing when it is not running."""

    name: str
    log_file: Path

    @property
    def pid(self) -> int: ...
    @property
    def exit_code(self) -> int | None: ...

    def start(self) -> None: ...
    def alive(self) -> bool: ...
    def signal(self, number: int) -> None: ...


class Command:
    """A process of ours, its output appended to `log_file`."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self._command = list(command)
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def start(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = tethered(self._command, log, self._env)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class BrokerChild:
    """The embedded broker as a child."""

    name = "broker"

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.log_file = broker.log_file

    @property
    def pid(self) -> int:
        return self._broker.pid

    @property
    def exit_code(self) -> int | None:
        return None

    def start(self) -> None:
        self._broker.start()

    def alive(self) -> bool:
        return self._broker.alive

    def signal(self, number: int) -> None:
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Supervisor:
    """Keeps children alive. `poll` is called often and does one round; `started` hears each start after the first."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        started: Callable[[Child], None] = lambda _child: None,
    ) -> None:
        self._clock = clock
        self._started = started
        self.children: list[Child] = []
        self._due: dict[str, Restarts] = {}
        self.restarts = 0

    def add(self, child: Child) -> None:
        """Start a child and keep it alive from now on."""
        child.start()
        self._due[child.name] = Restarts(self._clock)
        self._due[child.name].started()
        self.children.append(child)

    def poll(self) -> None:
        for child in self.children:
            if child.alive():
                cut_log(child.log_file)
            elif self._due[child.name].due():
                child.start()
                self._due[child.name].started()
                self.restarts += 1
                self._started(child)

    def stop(self, order: Sequence[Sequence[str]], grace_s: float) -> None:
        """SIGTERM to each group of names in turn, the next when the one before has ended; at `grace_s` what is left is
        killed."""
        deadline = self._clock() + grace_s
        groups = [[child for child in self.children if child.name in names] for names in order]
        for number, group in enumerate(groups):
            for child in group:
                child.signal(signal.SIGTERM)
            share = deadline - (len(groups) - 1 - number) * grace_s / (2 * len(groups))
            while any(child.alive() for child in group) and self._clock() < share:
                time.sleep(0.02)
            for child in group:
                child.signal(signal.SIGKILL)
        for child in self.children:
            while child.alive():
                time.sleep(0.01)


def tail(file: Path, limit: int = 2000) -> str:
    """The last line of a log, for an error's text."""
    with suppress(OSError):
        lines = file.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1][-limit:] if lines else ""
    return ""


def cut_log(file: Path, limit: int = LOG_BYTES) -> None:
    """Keep a log within `limit` bytes: what it holds moves to `<name>.1` (its writer appends, so it may be cut)."""
    with suppress(OSError):
        if file.stat().st_size > limit:
            file.with_name(file.name + ".1").write_bytes(file.read_bytes())
            os.truncate(file, 0)
