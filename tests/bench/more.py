"""The rest of the bench: the ways in, search, latency at a steady load, bytes on disk."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from streams import topics
from tests.bench import ingest, search, size
from tests.bench.latency import steady
from tests.bench.records import records
from tests.parts.broker import broker
from tests.parts.elasticsearch import elasticsearch
from tests.parts.local import local
from tests.parts.process import Missing

SEARCHED = "keyword + namespace + 1 h"


def everything(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with console.status("measuring the ways in ..."):
        found["ingest"] = _ingest(options.ingest_records, options.rounds)
    console.print(f"ingest: {found['ingest']}")
    found["search"] = {}
    for count in options.search_records:
        with console.status(f"measuring search in {count:,} records ..."):
            found["search"][str(count)] = _search(count, options.search_folder)
        console.print(f"search in {count:,}: {found['search'][str(count)]}")
    with console.status("measuring the time from a record to its being searchable ..."), local() as platform:
        found["latency"] = steady(platform, rate=10_000, seconds=options.latency_s)
    console.print(f"latency: {found['latency']}")
    with console.status("measuring bytes on disk ..."):
        found["index"] = _index(options.size_records, console)
    console.print(f"bytes a record: {found['index']}")
    return found


def stored(folder: Path, topic: str) -> int:
    """Bytes of a topic's segments in a broker's folder."""
    return sum(file.stat().st_size for file in folder.rglob(f"{topic}-*/*.log"))


def _ingest(count: int, rounds: int) -> dict[str, dict[str, float]]:
    runs: dict[str, list[ingest.Ingested]] = {way: [] for way in ingest.TARGETS}
    with broker() as part:
        topics.apply(part.kafka)
        for _ in range(rounds):
            for way, some in runs.items():
                some.append(ingest.measure_ingest(part.kafka, way, count))
    return {
        way: {
            "records_per_s": round(statistics.median(each.rate for each in some)),
            "cpu_s_a_million": round(statistics.median(each.cpu_s_a_million for each in some), 2),
            "peak_mib": round(max(each.peak_mib for each in some)),
        }
        for way, some in runs.items()
    }


def _search(count: int, kept: Path | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = (kept or Path(temporary)) / str(count)
        search.once(folder, count, lambda _done: None)
        took = asyncio.run(search._measure(folder, 40))
    values = [took_ms for took_ms, _cpu in took[SEARCHED]]
    return {f"p{share}_ms": round(search.percentile(values, share / 100), 1) for share in (50, 95)}


def _index(count: int, console: Console) -> dict[str, float]:
    raw = sum(len(value) for _, value, _ in records(count)) / count
    found = {"raw": round(raw, 1)}
    found["embedded"] = round(asyncio.run(size.embedded(count))[0].nbytes / count, 1)
    found["archive"] = round(asyncio.run(size.archive(count))[0].nbytes / count, 1)
    try:
        with elasticsearch() as url:
            found["elasticsearch"] = round(asyncio.run(size.elasticsearch(count, url))[0].nbytes / count, 1)
    except Missing as error:
        console.print(f"left out: Elasticsearch: {error}")
    return found
