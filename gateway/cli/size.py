"""`eventsphere size`: what a log rate takes of disks and machines. Pure but for reading figures.json beside this file,
which `make bench` writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

FILE = Path(__file__).with_name("figures.json")
HEADROOM = 2.0
"""Of what was measured at full load, this part stays free: for catching up after an outage, and for peaks."""
DISK_HEADROOM = 1.25
MIN_PARTITIONS = 6
PARTITION_PER_S = 10_000
"""Records a second a partition is planned for."""
DAY_S = 86_400
KAFKA_DAYS = 3.0
"""The catalogue's retention of topic `logs`; its 8 GiB bound a partition must be raised where this needs more."""
GIB = 2**30


class Adapter(StrEnum):
    EMBEDDED = "embedded"
    ELASTICSEARCH = "elasticsearch"


class Plan(NamedTuple):
    """Disks in bytes, with room to spare; memory in MiB for all workers, the broker and the gateway apart."""

    records_a_day: int
    kafka_bytes: float
    index_bytes: float
    partitions: int
    workers: int
    worker_mib: int
    worker_cores: float
    limited_by: str


def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def plan(
    measured: Mapping[str, Any],
    *,
    rate: float,
    nbytes: float,
    days: float,
    adapter: Adapter,
    replicas: int = 1,
    copies: int = 0,
) -> Plan:
    """For `rate` records a second of `nbytes` (as JSON), found for `days`. `replicas`: Kafka's replication factor;
    `copies`: Elasticsearch's, beside the first. Bytes on disk scale with a record's bytes, CPU with records."""
    kafka, index, indexing = measured["kafka"], measured["index"], measured["indexing"]
    in_kafka = nbytes * kafka["stored"] / kafka["raw"]
    in_index = nbytes * index[adapter] / index["raw"]
    copies = copies if adapter is Adapter.ELASTICSEARCH else 0
    each_s = indexing[adapter]["records_per_s"] / HEADROOM
    # One process writes the embedded index: more workers do not make it faster.
    workers = max(1, math.ceil(rate / each_s)) if adapter is Adapter.ELASTICSEARCH else 1
    partitions = max(MIN_PARTITIONS, 2 * workers, math.ceil(rate / PARTITION_PER_S))
    return Plan(
        records_a_day=round(rate * DAY_S),
        kafka_bytes=rate * DAY_S * min(days, KAFKA_DAYS) * in_kafka * replicas * DISK_HEADROOM,
        index_bytes=rate * DAY_S * days * in_index * (1 + copies) * DISK_HEADROOM,
        partitions=partitions,
        workers=workers,
        worker_mib=workers * indexing[adapter]["peak_mib"],
        worker_cores=round(rate * indexing[adapter]["cpu_s_a_million"] / 1e6, 2),
        limited_by="" if rate <= each_s or workers > 1 else f"the embedded index takes {each_s:,.0f} records/s",
    )


def told(found: Plan, *, days: float) -> list[tuple[str, str]]:
    """The lines of the answer."""
    lines = [
        ("records a day", f"{found.records_a_day:,}"),
        (f"Kafka disk, {min(days, KAFKA_DAYS):g} days", _gib(found.kafka_bytes)),
        (f"index disk, {days:g} days", _gib(found.index_bytes)),
        ("partitions of `logs`", str(found.partitions)),
        ("workers", str(found.workers)),
        ("cores for workers, on average", f"{found.worker_cores:.2f}"),
        ("memory for workers", f"{found.worker_mib:,} MiB"),
    ]
    return lines + ([("too much", f"{found.limited_by}: use Elasticsearch")] if found.limited_by else [])


def _gib(nbytes: float) -> str:
    return f"{nbytes / GIB:,.1f} GiB"


def size(
    rate: Annotated[float, typer.Option(min=1, help="Records a second, on average.")],
    nbytes: Annotated[float, typer.Option("--bytes", min=50, help="Bytes of a record as JSON.")] = 400,
    days: Annotated[float, typer.Option(min=0.1, help="Days that records are found by search.")] = 7,
    adapter: Annotated[Adapter, typer.Option(help="The search index.")] = Adapter.EMBEDDED,
    replicas: Annotated[int, typer.Option(min=1, help="Kafka's replication factor.")] = 1,
    copies: Annotated[int, typer.Option(min=0, help="Elasticsearch's copies of each index beside the first.")] = 0,
) -> None:
    """Tell what a log rate takes: disks, partitions, workers, memory; from measured figures.

    Example: `eventsphere size --rate 10000 --bytes 400 --days 7 --adapter elasticsearch --replicas 3 --copies 1`
    """
    measured = figures()
    found = plan(
        measured, rate=rate, nbytes=nbytes, days=days, adapter=adapter, replicas=replicas, copies=copies
    )  # fmt: skip
    for name, value in told(found, days=days):
        print(f"{name + ':':32} {value}")
    about = measured["measured"]
    print(
        f"Measured {about['at']} on {about['cores']} cores; workers half busy, disks a quarter free. "
        "docs/sizing.md says how it is reckoned."
    )
