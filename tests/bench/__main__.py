"""`python -m tests.bench`: topic `logs` -> bulk requests taken by a null sink, ours and a stock Faust agent in turns.

Ours is the real worker with agent `index-logs` and the Elasticsearch adapter. Measured from the first records at the
sink to the last, CPU of that one process. The target is for ours: CPU-seconds a million records, and peak RSS.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streams import topics
from streams.kafka import client
from streams.settings import Kafka, Settings
from tests.bench.records import produce
from tests.bench.run import OURS, STOCK, Measured, measure
from tests.parts.broker import broker

TARGET_CPU_S = 4.5
TARGET_MIB = 300.0
GROUP = "eventsphere.index-logs"


def main(arguments: list[str]) -> int:
    """Exit status 0 when both targets are met, else 1."""
    parser = argparse.ArgumentParser("tests.bench", description=__doc__)
    parser.add_argument("--records", type=int, default=2_000_000, help="records on the topic (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turns (%(default)s)")
    parser.add_argument("--stock-share", type=int, default=20, help="stock handles 1/N of the records (%(default)s)")
    parser.add_argument("--no-stock", action="store_true", help="measure ours alone")
    options = parser.parse_args(arguments)
    console = Console()
    ours: list[Measured] = []
    stock: list[Measured] = []
    with bars(console) as bar, broker() as part:
        topics.apply(part.kafka)
        with bar("producing", options.records) as step:
            size = produce(part.kafka, options.records, step)
        for turn in range(options.rounds):
            group = f"eventsphere.bench{turn}"
            settings = Settings(kafka=part.kafka)
            forget(part.kafka)
            with bar(f"ours, round {turn + 1}", options.records) as step:
                ours.append(measure(OURS, settings, options.records, group, step))
            if not options.no_stock:
                few = options.records // options.stock_share
                with bar(f"stock Faust agent, round {turn + 1}", few) as step:
                    stock.append(measure(STOCK, settings, few, group, step))
    report(console, size, ours, stock)
    good = statistics.median(each.cpu_s_a_million for each in ours) <= TARGET_CPU_S
    return 0 if good and max(each.peak_mib for each in ours) < TARGET_MIB else 1


def forget(kafka: Kafka) -> None:
    """Drop what our group has committed, so that the next run reads everything again."""
    admin = AdminClient(client(kafka))
    for future in admin.delete_consumer_groups([GROUP]).values():
        with suppress(KafkaException):  # there is none before the first run
            future.result()


def report(console: Console, size: float, ours: list[Measured], stock: list[Measured]) -> None:
    table = Table(title=f"logs -> bulk requests, records of {size:.0f} bytes")
    for column in ("", "records", "records/s", "CPU-s a million", "CPU-s to start", "peak RSS MiB"):
        table.add_column(column, justify="right" if column else "left")
    for name, runs in (("ours", ours), ("stock Faust agent", stock)):
        for each in runs:
            cells = (each.records, each.rate, each.cpu_s_a_million, each.start_cpu_s, each.peak_mib)
            table.add_row(name, *(f"{cell:,.{digits}f}" for cell, digits in zip(cells, (0, 0, 2, 2, 0), strict=True)))
    console.print(table)
    cost = statistics.median(each.cpu_s_a_million for each in ours)
    peak = max(each.peak_mib for each in ours)
    console.print(
        f"ours: {cost:.2f} CPU-s a million (target {TARGET_CPU_S}), peak {peak:.0f} MiB (target {TARGET_MIB:.0f})"
    )
    if stock:
        theirs = statistics.median(each.cpu_s_a_million for each in stock)
        console.print(f"ratio: a stock Faust agent takes {theirs / cost:.1f} times the CPU a record")


@contextmanager
def bars(console: Console) -> Iterator[Callable[[str, int], AbstractContextManager[Callable[[int], None]]]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:

        @contextmanager
        def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.update(task, completed=done)

        yield bar


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
