"""`python -m tests.bench.ingest`: the ways in, and what a record costs there, for Kafka has acknowledged every one.

Forward (PackedForward, chunks of 1 000, acks awaited) into the sources process, HTTP NDJSON (requests of 1 000) into
the gateway. Measured is the CPU time of that one process (user and system); senders and broker are processes apart.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from streams import topics
from streams.settings import Cluster, Forward, Gateway, Kafka, Mailbox, Settings, environment
from tests.bench.run import _cpu_s, _peak_mib
from tests.parts.broker import broker
from tests.parts.process import Process, free_ports, listens, running

TARGETS = {"forward": 5.5, "http": 3.0}
"""CPU-seconds a million records."""
WARM = 20_000
CONNECTIONS = 2


class Ingested(NamedTuple):
    """One run: what the process took from the first byte to the last acknowledgement."""

    way: str
    records: int
    nbytes: int
    """Of one record as it is sent."""
    seconds: float
    cpu_s: float
    peak_mib: float

    @property
    def rate(self) -> float:
        return self.records / self.seconds

    @property
    def cpu_s_a_million(self) -> float:
        return self.cpu_s / self.records * 1e6


def measure_ingest(kafka: Kafka, way: str, records: int, connections: int = CONNECTIONS) -> Ingested:
    """One run of `way` (forward or http) with a process of its own; the broker's topics have to be there."""
    with tempfile.TemporaryDirectory() as folder:
        serve = {"forward": _sources, "http": _gateway}[way]
        with serve(kafka, Path(folder)) as (process, address, token):
            _send(way, address, WARM, connections, token)
            part = psutil.Process(process.pid)
            cpu, begun = 0.0, 0.0

            def start() -> None:
                nonlocal cpu, begun
                cpu, begun = _cpu_s(part), time.monotonic()

            nbytes = _send(way, address, records, connections, token, start)
            sent = records // 1000 // connections * connections * 1000
            seconds = time.monotonic() - begun
            return Ingested(way, sent, nbytes, seconds, _cpu_s(part) - cpu, _peak_mib(process.pid))


def _send(
    way: str, address: str, records: int, connections: int, token: str, start: Callable[[], None] = lambda: None
) -> int:
    command = [sys.executable, "-m", "tests.bench.ingest_sender", way, address, str(records), str(connections), token]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdin is not None
        assert sender.stdout is not None
        nbytes = int(sender.stdout.readline().split()[1])
        start()
        sender.stdin.write("go\n")
        sender.stdin.flush()
        assert sender.stdout.readline() == "done\n"
    return nbytes


@contextmanager
def _sources(kafka: Kafka, folder: Path) -> Iterator[tuple[Process, str, str]]:
    (port,) = free_ports(1)
    settings = Settings(
        kafka=kafka,
        data_dir=str(folder),
        forward=Forward(port=port, processes=1),
        cluster=Cluster(name="prod"),
        self_logging=False,
    )
    command = [sys.executable, "-m", "streams.sources.main"]
    process = Process("sources", command, folder / "log", cwd=Path.cwd(), env=environment(settings))
    with running(process, listens(port)):
        yield process, f"127.0.0.1:{port}", ""


@contextmanager
def _gateway(kafka: Kafka, folder: Path) -> Iterator[tuple[Process, str, str]]:
    port, mail = free_ports(2)
    limits = {"requests_per_s": 100_000, "burst": 100_000}
    settings = Settings(
        kafka=kafka,
        data_dir=str(folder),
        gateway=Gateway(port=port, **limits),
        mailbox=Mailbox(port=mail),
        cluster=Cluster(name="prod"),
        self_logging=False,
    )
    command = [sys.executable, "-c", "from gateway.main import main; from streams.settings import load; main(load())"]
    log = folder / "log"
    process = Process("gateway", command, log, cwd=Path.cwd(), env=environment(settings))
    with running(process, listens(port)), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        while http.get("/readyz").status_code != 200:
            time.sleep(0.2)
        line = next(line for line in log.read_text().splitlines() if line.startswith("admin password: "))
        login = {"username": "admin", "password": line.removeprefix("admin password: ")}
        session = http.post("/api/v1/login", json=login).json()["access_token"]
        made = http.post(
            "/api/v1/tokens", json={"scopes": ["logs:write"]}, headers={"authorization": f"Bearer {session}"}
        )
        yield process, f"127.0.0.1:{port}", made.json()["token"]


def main(arguments: list[str]) -> int:
    """Exit status 0 when every way is within its target."""
    parser = argparse.ArgumentParser("tests.bench.ingest", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="records of a run (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each way, in turns (%(default)s)")
    parser.add_argument("--way", choices=sorted(TARGETS), action="append", help="only this one")
    options = parser.parse_args(arguments)
    ways = options.way or sorted(TARGETS)
    table = Table(title="a source -> Kafka")
    for column in ("way", "records", "bytes", "records/s", "CPU-s a million", "target", "peak RSS MiB"):
        table.add_column(column, justify="right" if column != "way" else "left")
    runs: list[Ingested] = []
    with broker() as part:
        topics.apply(part.kafka)
        for _ in range(options.rounds):
            for way in ways:
                each = measure_ingest(part.kafka, way, options.records)
                runs.append(each)
                cells = (f"{each.records:,}", f"{each.nbytes}", f"{each.rate:,.0f}", f"{each.cpu_s_a_million:.2f}")
                table.add_row(way, *cells, f"{TARGETS[way]}", f"{each.peak_mib:.0f}")
    Console().print(table)
    best = {way: min(each.cpu_s_a_million for each in runs if each.way == way) for way in ways}
    return 0 if all(best[way] <= TARGETS[way] for way in ways) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
