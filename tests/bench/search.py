"""`python -m tests.bench.search`: how long searches take on an embedded index of many realistic records.

The index is built straight through the adapter (no Kafka), a day of records spread evenly, and kept in `--folder` for
the next run. Then each kind of query is asked many times with other words, places and hours, by one reader; percentiles
are of the adapter's answers, a page of 100 records and its total. The target is for keyword + namespace + one hour.
The processor's own time is told beside: on a machine that others use, it is what an idle one would take.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from streams.batch import batch_of
from streams.record import Record
from streams.settings import Index as IndexSettings
from streams.settings import Settings
from streams.sinks.index.embedded import EmbeddedIndex
from streams.sinks.index.port import Index, Kind, Query

TARGET_MS = 100.0
GOAL_MS = 50.0
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
START_MS = 1_795_564_800_000
"""2026-11-25T00:00:00Z."""
STEP = 20_000
NAMESPACES = [f"team-{n}" for n in range(20)]
APPS = ["cart", "checkout", "frontend", "payment", "shipping", "search", "mail", "stock"]
RARE = ["refused", "deadlock", "evicted", "corrupted"]
PATHS = ["/api/v1/items", "/api/v1/orders", "/healthz", "/login", "/cart"]
LINES = [
    '{ip} - - "GET {path} HTTP/1.1" {status} {size} {ms}ms',
    'level=info msg="request handled" path={path} status={status} bytes={size} duration={ms}ms peer={ip}',
    "WARN  [pool-{size}-thread-1] o.s.web.OrderService: slow call to {ip}: {ms} ms, status {status}",
    'level=error msg="payment failed: connection {rare}" order={size} peer={ip} path={path} attempt={ms}',
]
WEIGHTS = [60, 30, 8, 2]


def records(count: int, seed: int = 1) -> Iterator[Record]:
    """`count` records over a day: few namespaces have most of them, errors are few."""
    rng = random.Random(seed)
    places = [(namespace, app) for namespace in NAMESPACES for app in APPS]
    weights = [1 / (1 + n // len(APPS)) for n in range(len(places))]
    for number in range(count):
        (namespace, app), line = rng.choices(places, weights)[0], rng.choices(LINES, WEIGHTS)[0]
        status = rng.choice((200, 200, 200, 204, 404, 500))
        text = line.format(
            ip=f"10.0.{rng.randrange(256)}.{rng.randrange(256)}",
            path=rng.choice(PATHS),
            status=status,
            size=rng.randrange(100_000),
            ms=rng.randrange(2000),
            rare=rng.choice(RARE),
        )
        about = {
            "namespace_name": namespace,
            "pod_name": f"{app}-7d9c8f6b5-x{rng.randrange(2, 8)}kpz",
            "container_name": app,
            "labels": {"app": app, "pod-template-hash": "7d9c8f6b5"},
            "host": f"node-{number % 8}",
        }
        time_ms = START_MS + number * DAY_MS // count
        level = "error" if line is LINES[-1] else "info"
        value = {"@timestamp": time_ms / 1000, "log": text, "stream": "stdout", "level": level, "status": status}
        encoded = msgspec.json.encode(value | {"cluster": "prod", "kubernetes": about})
        yield Record("logs", 0, number, None, encoded, time_ms)


async def build(index: Index, count: int, on_progress: Callable[[int], None]) -> None:
    source = records(count)
    done = 0
    while part := [record for _, record in zip(range(STEP), source, strict=False)]:
        await index.write(Kind.LOGS, batch_of(part, topic_id="bench"))
        done += len(part)
        on_progress(done)


def asked(rng: random.Random) -> dict[str, Query]:
    """One query of each kind."""
    namespace, hour = rng.choice(NAMESPACES), START_MS + rng.randrange(23 * 60) * 60_000
    span: dict[str, Any] = {"kind": Kind.LOGS, "start_ms": hour, "end_ms": hour + HOUR_MS}
    within = span | {"namespace": (namespace,)}
    return {
        "keyword + namespace + 1 h": Query(**within, text=rng.choice([*RARE, "slow", "handled", "GET"])),
        "phrase + namespace + 1 h": Query(**within, text='"connection refused"'),
        "keyword, namespace, no time": Query(kind=Kind.LOGS, namespace=(namespace,), text=rng.choice(RARE)),
        "frequent keyword, no time": Query(kind=Kind.LOGS, text="GET"),
        "1 h": Query(**span),
        "level:error + 1 h": Query(**span, text="level:error"),
        "status:>=500 + namespace + 1 h": Query(**within, text="status:>=500"),
        "pod wildcard + 1 h": Query(**span, text=f"pod:{rng.choice(APPS)}-*"),
        "word wildcard + namespace + 1 h": Query(**within, text="refus*"),
        "NOT + namespace + 1 h": Query(**within, text="NOT (GET OR handled)"),
        "everything, newest 100": Query(kind=Kind.LOGS),
    }


def others(index: Index) -> dict[str, Callable[[Query], Awaitable[Any]]]:
    return {
        "histogram, 60 bars": lambda query: index.histogram(query, 60_000),
        "top values of pod": lambda query: index.top(query, "pod", 10),
        "top values of status": lambda query: index.top(query, "status", 10),
    }


async def measure(index: Index, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(ms until the answer, ms of processor time) of each kind of question."""
    rng = random.Random(2)
    out: dict[str, list[tuple[float, float]]] = {}
    for turn in range(rounds + 1):
        queries = asked(rng)
        asks: list[tuple[str, Callable[[Query], Awaitable[Any]], Query]] = []
        asks += [(name, index.search, query) for name, query in queries.items()]
        plain = queries["keyword + namespace + 1 h"]
        whole = msgspec.structs.replace(plain, text="")
        asks += [(f"{name} (namespace + 1 h)", ask, whole) for name, ask in others(index).items()]
        for name, ask, query in asks:
            before, cpu = time.perf_counter(), time.process_time()
            await ask(query)
            if turn:  # the first round opens files
                took = ((time.perf_counter() - before) * 1000, (time.process_time() - cpu) * 1000)
                out.setdefault(name, []).append(took)
    return out


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(console: Console, folder: Path, count: int, took: dict[str, list[tuple[float, float]]]) -> bool:
    nbytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    table = Table(title=f"{count:,} records, {nbytes / count:.0f} bytes each on disk")
    for column in ("", "p50 ms", "p95 ms", "worst ms", "CPU p50 ms", "CPU p95 ms"):
        table.add_column(column, justify="right" if column else "left")
    for name, pairs in took.items():
        values, cpu = [each for each, _ in pairs], [each for _, each in pairs]
        cells = [percentile(values, 0.5), percentile(values, 0.95), max(values)]
        cells += [percentile(cpu, 0.5), percentile(cpu, 0.95)]
        table.add_row(name, *(f"{cell:.1f}" for cell in cells))
    console.print(table)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    p95 = percentile([each for each, _ in next(iter(took.values()))], 0.95)
    console.print(f"p95 {p95:.1f} ms (target {TARGET_MS:.0f}, goal {GOAL_MS:.0f}); peak RSS {rss:.0f} MiB")
    return p95 <= TARGET_MS


def main(arguments: list[str]) -> int:
    """Exit status 0 when the target is met, else 1."""
    parser = argparse.ArgumentParser("tests.bench.search", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="records in the index (%(default)s)")
    parser.add_argument("--ten-million", action="store_true", help="10 000 000 records: the target's size")
    parser.add_argument("--rounds", type=int, default=40, help="times each query is asked (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where the index is built and kept (default: nowhere)")
    options = parser.parse_args(arguments)
    count = 10_000_000 if options.ten_million else options.records
    console = Console()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = options.folder or Path(temporary)
        before = time.monotonic()
        with console.status("building") as status:
            once(folder, count, lambda n: status.update(f"building: {n:,} of {count:,}"))
        console.print(f"built in {time.monotonic() - before:.0f} s")
        took = asyncio.run(_measure(folder, options.rounds))
        return 0 if report(console, folder, count, took) else 1


def once(folder: Path, count: int, on_progress: Callable[[int], None]) -> None:
    """Build the index in `folder`, unless it was."""
    done = folder / f"built-{count}"
    if not done.exists():
        asyncio.run(_build(folder, count, on_progress))
        done.touch()


def _open(folder: Path, *, writer: bool) -> EmbeddedIndex:
    settings = Settings(data_dir=str(folder), index=IndexSettings(commit_interval_s=1.0))
    return EmbeddedIndex(settings, writer=writer)


async def _build(folder: Path, count: int, on_progress: Callable[[int], None]) -> None:
    index = _open(folder, writer=True)
    await index.open()
    try:
        await build(index, count, on_progress)
    finally:
        await index.close()


async def _measure(folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    index = _open(folder, writer=False)
    try:
        return await measure(index, rounds)
    finally:
        await index.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
