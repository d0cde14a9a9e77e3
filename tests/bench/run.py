"""One measured run: a process that reads the topic into the null sink, and what it took of the machine."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from streams.settings import Settings, environment
from tests.bench.peers import Peer, Run
from tests.chaos.fire import Lag
from tests.parts.local import until
from tests.parts.process import Process, free_port, listens, running

POLL_S = 0.1
STALL_S = 120.0


class Measured(NamedTuple):
    """From the first records at the sink to the last: records, wall and CPU seconds of the process, its peak RSS."""

    records: int
    seconds: float
    cpu_s: float
    start_cpu_s: float
    peak_mib: float

    @property
    def rate(self) -> float:
        return self.records / self.seconds

    @property
    def cpu_s_a_million(self) -> float:
        return self.cpu_s / self.records * 1e6


class Stalled(Exception):
    pass


@contextmanager
def null_sink() -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.sink", str(port)]
        with running(Process("sink", command, Path(folder) / "sink.log", cwd=Path.cwd()), listens(port)):
            yield f"http://127.0.0.1:{port}"


def measure(peer: Peer, settings: Settings, count: int, group: str, on_progress: Callable[[int], None]) -> Measured:
    """Run until `count` records are at the sink. Raises Stalled with the process's last lines."""
    with tempfile.TemporaryDirectory() as folder, null_sink() as url:
        index = settings.index.model_copy(update={"url": url})
        own = settings.model_copy(update={"index": index, "data_dir": folder, "self_logging": False})
        started = peer.command(Run(own, group, Path(folder)))
        process = Process(group, started.command, Path(folder) / "out.log", cwd=Path.cwd(), env=started.env)
        process.start()
        try:
            return _watch(process, lambda: _count(url), count, on_progress)
        finally:
            process.stop()


def measure_embedded(settings: Settings, count: int, on_progress: Callable[[int], None]) -> Measured:
    """Our worker with the embedded index, from its first committed records to its last. Raises Stalled."""
    with tempfile.TemporaryDirectory() as folder:
        own = settings.model_copy(update={"data_dir": folder, "self_logging": False})
        env = environment(own) | {"PYTHONPATH": str(Path.cwd())}
        command = [sys.executable, "-m", "agents.run", "index-logs"]
        process = Process("embedded", command, Path(folder) / "out.log", cwd=Path.cwd(), env=env)
        lag = Lag(settings.kafka)
        process.start()
        try:
            return _watch(process, lambda: count - until(lag.records, lambda _left: True), count, on_progress)
        finally:
            lag.close()
            process.stop()


def _watch(
    process: Process, done_until_now: Callable[[], int], count: int, on_progress: Callable[[int], None]
) -> Measured:
    worker = psutil.Process(process.pid)
    begun: tuple[int, float, float] | None = None
    seen, moved = 0, time.monotonic()
    while True:
        cpu, now, done = _cpu_s(worker), time.monotonic(), done_until_now()
        if done != seen:
            seen, moved = done, now
            on_progress(min(done, count))
        if begun is None and done:
            begun = (done, now, cpu)
        if begun is not None and done >= count:
            first, since, start = begun
            return Measured(done - first, now - since, cpu - start, start, _peak_mib(process.pid))
        if now - moved > STALL_S or not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
            raise Stalled(f"nothing new at the sink after {done} records:\n{process.tail(30)}")
        time.sleep(POLL_S)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _count(url: str) -> int:
    with urllib.request.urlopen(f"{url}/count", timeout=60) as answer:
        return int(json.load(answer)["count"])


def _peak_mib(pid: int) -> float:
    """The kernel's own high-water mark (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
