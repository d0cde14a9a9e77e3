"""docs/sizing.md: how `eventsphere size` reckons, and what it says of some rates. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.cli import size

RATES = (1_000, 10_000, 50_000, 100_000)
PAGE = """\
# Sizing

`eventsphere size --rate 10000 --bytes 400 --days 7 --adapter elasticsearch` tells what a log rate takes. Its figures
are measured ([performance](performance.md)); `make bench ARGS="--all --write"` writes them and this page anew.

What it says of records of 400 bytes, one copy of everything:

{table}

How it is reckoned:

- A record of {raw:.0f} bytes of JSON took {kafka:.0f} bytes in Kafka, {embedded:.0f} in the embedded index{merged}.
  Bytes scale with the record's.
- Disks: what is stored and {more:.0%} more. Kafka keeps topic `logs` {days:g} days at most, and 8 GiB a partition until
  you raise `retention.bytes`; times `--replicas`. Elasticsearch: times 1 + `--copies`.
- Workers: run at one part in {headroom:g} of what they did at full load, so that they catch up after an outage. One
  process writes the embedded index, however many workers there are. Elasticsearch itself is not in the figures: it
  takes many times the CPU of what feeds it, so measure yours.
- Partitions: twice the workers, {partition:,} records/s each at most, {least} at least.
"""


def page(found: Mapping[str, Any]) -> str:
    kafka, index = found["kafka"], found["index"]
    rows = []
    for rate in RATES:
        for adapter in size.Adapter:
            plan = size.plan(found, rate=rate, nbytes=400, days=7, adapter=adapter)
            cells = [value for _, value in size.told(plan, days=7)[1:7]]
            rows.append((f"{rate:,}", str(adapter), *cells, plan.limited_by and "use Elasticsearch"))
    head = ("records/s", "index", "Kafka, 3 days", "index, 7 days", "partitions", "workers", "cores", "memory", "")
    merged = f", {index['elasticsearch']:.0f} in Elasticsearch (merged)" if "elasticsearch" in index else ""
    return PAGE.format(
        table="\n".join(table(head, rows)),
        raw=kafka["raw"],
        kafka=kafka["stored"],
        embedded=index["embedded"],
        merged=merged,
        more=size.DISK_HEADROOM - 1,
        days=size.KAFKA_DAYS,
        headroom=size.HEADROOM,
        partition=size.PARTITION_PER_S,
        least=size.MIN_PARTITIONS,
    )


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    out = [f"| {' | '.join(head)} |", f"|{'|'.join('---' if n == 0 else '--:' for n in range(len(head)))}|"]
    return out + [f"| {' | '.join(row)} |" for row in rows]
