"""The processes of the sources where there are several: they share the forward port (`SO_REUSEPORT`: the kernel gives
each new connection to one of them); the first also watches the clusters.

This one, which started them, touches no record. It starts again what ends, answers for all of them under the metrics'
port, and ends when one cannot start as it is set. When it is killed, so are they (streams/tether.py).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

import structlog

from streams import home_cluster
from streams.metrics import SOURCE_RESTARTS
from streams.probes import Probes
from streams.restarts import Restarts
from streams.settings import PREFIX, Settings, environment
from streams.sources import told
from streams.sources.forward_settings import address, check, tls
from streams.sources.share import held, share
from streams.sources.told import Told
from streams.tether import tethered

log = structlog.get_logger(__name__)

WRONG_SETTINGS = 2
"""The exit code of one that will never start as it is set."""
LOOK_S = 0.1
SILENT_S = 120.0
"""One that tells nothing for so long hangs, and is killed."""
LATE_S = 15.0
STOP_S = 10.0
NOT_YET = Told(waiting=["forward"])


class Member:
    """One of the processes. `told` is what it said last, since it was last started."""

    def __init__(self, number: int, env: Mapping[str, str]) -> None:
        self.number = number
        self.told = NOT_YET
        self._env = env
        self._restarts = Restarts()
        self._process: subprocess.Popen[bytes] | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._heard_s = 0.0

    @property
    def name(self) -> str:
        return str(self.number)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def start(self) -> None:
        ours, theirs = os.pipe()
        command = [sys.executable, "-m", "streams.sources.main", "--member", self.name, "--tell", str(theirs)]
        self._process = tethered(command, sys.stderr.fileno(), self._env, (theirs,))
        os.close(theirs)
        self.told, self._heard_s = NOT_YET, time.monotonic()
        self._hearing = asyncio.create_task(told.heard(ours, self._hear), name=f"hear {self.number}")
        self._restarts.started()

    def _hear(self, now: Told) -> None:
        self.told, self._heard_s = now, time.monotonic()

    def look(self) -> None:
        """Start it again when it ended; kill it when it hangs."""
        if self.alive:
            if time.monotonic() - self._heard_s > SILENT_S:
                log.error("a process of the sources hangs: it is killed", process=self.number)
                self.signal(signal.SIGKILL)
        elif self._restarts.due():
            log.warning("a process of the sources ended: it is started again", process=self.number, code=self.exit_code)
            SOURCE_RESTARTS.inc()
            self.start()

    @property
    def waits_for(self) -> list[str]:
        if not self.alive:
            return [f"process {self.number}"]
        late = time.monotonic() - self._heard_s > LATE_S
        return [f"process {self.number}: {each}" for each in (["an answer"] if late else self.told.waiting)]

    def wait(self, timeout_s: float) -> None:
        """Until it has ended, or for `timeout_s`. Blocks."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.alive:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)


class Fleet:
    """`run` until `stop` is set. Raises WrongSettings, or Fatal when the metrics' port is taken."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings = settings
        self._count = count
        self._members: list[Member] = []

    async def run(self, stop: asyncio.Event) -> int:
        """The exit code."""
        check(self._settings.forward)
        tls(self._settings.forward)
        with held(self._settings.forward) as port:
            probes = Probes(
                self._settings.worker.metrics_host,
                self._settings.worker.metrics_port,
                lambda: [why for each in self._members for why in each.waits_for],
                self._problems,
                self._metrics,
            )
            await probes.start()
            env = members_environment(self._settings, port, self._count)
            self._members = [Member(number, env) for number in range(1, self._count + 1)]
            try:
                for each in self._members:
                    each.start()
                return await self._watch(stop, address(self._settings.forward.host, port))
            finally:
                await self._stop()
                await probes.close()

    async def _watch(self, stop: asyncio.Event, where: str) -> int:
        ready = False
        while not stop.is_set():
            if any(each.exit_code == WRONG_SETTINGS for each in self._members):
                return WRONG_SETTINGS
            for each in self._members:
                each.look()
            if not ready and not any(each.waits_for for each in self._members):
                ready = True
                sys.stdout.write(f"sources ready: forward {where}\n")
                sys.stdout.flush()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_S)
        log.info("sources stop")
        return 0

    async def _stop(self) -> None:
        for each in self._members:
            each.signal(signal.SIGTERM)
        ended = [asyncio.to_thread(each.wait, STOP_S) for each in self._members]
        await asyncio.gather(*ended)
        for each in self._members:
            each.signal(signal.SIGKILL)

    def _problems(self) -> dict[str, str]:
        return {what: why for each in self._members for what, why in each.told.problems.items()}

    def _metrics(self) -> bytes:
        texts = {each.name: each.told.metrics for each in self._members if each.alive}
        return told.merged({"0": told.own_metrics()} | texts)


def members_environment(settings: Settings, port: int, count: int) -> dict[str, str]:
    """What each member is started with: its share of the limits, the port, and no probes of its own."""
    update = {
        "forward": share(settings.forward, count).model_copy(update={"port": port}),
        "worker": settings.worker.model_copy(update={"metrics_port": 0}),
    }
    plain = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    return plain | environment(settings.model_copy(update=update))


def run(settings: Settings, count: int) -> int:
    """The exit code. Raises WrongSettings or Fatal."""
    settings = home_cluster.named(settings)

    async def main() -> int:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await Fleet(settings, count).run(stop)

    return asyncio.run(main())
