"""`make bench`: what a million log records cost, ours beside the peers on the same machine in the same run.

Topic `logs` -> bulk requests taken by a null Elasticsearch that is the same for all, in turns. With `--all` also the
ways in, search, the time from a record to its being searchable, bytes on disk, and rules (`--rules`: these
alone, with targets). `--write` keeps what was measured in gateway/cli/figures.json and renders docs/performance.md and
its picture from it (`--render` alone renders).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from streams import topics
from streams.kafka import client
from streams.settings import Index, Kafka, Process, Settings, Tier
from tests.bench import figures, more, report, rules_report
from tests.bench.peers import PEERS, Peer
from tests.bench.records import produce
from tests.bench.run import Measured, Stalled, measure, measure_embedded
from tests.parts.broker import broker
from tests.parts.process import Missing

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
TARGET_CPU_S = 4.0
TARGET_PROCESSED_CPU_S = 6.0
TARGET_MIB = 300.0
GROUP = "eventsphere.index-logs"
MASKING = Path(__file__).parents[2] / "deploy" / "process" / "mask-secrets.yaml"


def main(arguments: list[str]) -> int:
    """Exit status 0 when our targets of the path measured are met, else 1."""
    options = _options(arguments)
    console = Console()
    if options.render:
        report.write(figures.load())
        return 0
    if options.rules:
        return _rules(options, console)
    found: dict[str, Any] = {"measured": figures.where(options.records)}
    with bars(console) as bar, broker() as part:
        topics.apply(part.kafka)
        with bar("producing", options.records) as step:
            size = produce(part.kafka, options.records, step)
        found["kafka"] = {"raw": size, "stored": more.stored(part.dir, "logs") / options.records}
        found["peers"] = _turns(part.kafka, options, bar, console)
        found["processed"] = processed(part.kafka, options, bar)
        if options.all:
            forget(part.kafka)
            with bar("Eventsphere, embedded index", options.records) as step:
                embedded = measure_embedded(Settings(kafka=part.kafka), options.records, step)
            found["indexing"] = {
                "embedded": figures.of_runs("embedded index", "", [embedded]),
                "elasticsearch": found["peers"]["ours"],
            }
    console.print(report.peers_table(found["peers"], size))
    console.print(report.processed_line(found["processed"]))
    if options.all:
        found |= more.everything(options, console)
        found["rules"] = rules_report.measure(console)
        console.print(rules_report.table(found["rules"]))
    if options.write:
        report.write(figures.keep(found))
        console.print(f"written: {', '.join(map(str, report.FILES))}")
    ours, more_done = found["peers"]["ours"], found["processed"]["cpu_s_a_million"]
    good = ours["cpu_s_a_million"] <= TARGET_CPU_S and ours["peak_mib"] < TARGET_MIB
    return 0 if good and more_done <= TARGET_PROCESSED_CPU_S else 1


def _rules(options: argparse.Namespace, console: Console) -> int:
    found = rules_report.measure(console)
    console.print(rules_report.table(found))
    if options.write:
        report.write(figures.keep({"rules": found}))
    return 0 if rules_report.met(found) else 1


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("tests.bench", description=__doc__)
    parser.add_argument("--records", type=int, default=2_000_000, help="records on the topic (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turns (%(default)s)")
    parser.add_argument("--peer", action="append", choices=list(PEERS), help="only these (ours is always among them)")
    parser.add_argument("--all", action="store_true", help="also ingest, search, latency and bytes on disk")
    parser.add_argument("--rules", action="store_true", help="only what rules cost")
    parser.add_argument("--ingest-records", type=int, default=1_000_000, help="of a run of a way in (%(default)s)")
    parser.add_argument("--search-records", type=int, nargs="*", default=[1_000_000], help="in the index (%(default)s)")
    parser.add_argument("--search-folder", type=Path, help="where their indices are built and kept (default: nowhere)")
    parser.add_argument("--latency-s", type=float, default=60.0, help="seconds of steady load (%(default)s)")
    parser.add_argument("--size-records", type=int, default=200_000, help="for bytes on disk (%(default)s)")
    parser.add_argument("--write", action="store_true", help="keep the figures and render the documentation")
    parser.add_argument("--render", action="store_true", help="only render the documentation from the figures kept")
    options = parser.parse_args(arguments)
    options.peer = [key for key in PEERS if key == "ours" or not options.peer or key in options.peer]
    return options


def _turns(kafka: Kafka, options: argparse.Namespace, bar: Bar, console: Console) -> dict[str, dict[str, Any]]:
    """Rounds of every peer that can be had, each round all of them: the machine's own moods meet all alike."""
    runs: dict[str, list[Measured]] = {}
    for turn in range(options.rounds):
        for key in options.peer:
            peer = PEERS[key]
            try:
                peer.prepare()
                run = _once(kafka, peer, key, turn, options.records, bar)
                runs.setdefault(key, []).append(run)
            except Missing as error:
                console.print(f"left out: {peer.name}: {error}")
            except Stalled as error:
                if key == "ours":
                    raise
                console.print(f"left out of this round: {peer.name}: {error}")
    return {key: figures.of_runs(PEERS[key].name, PEERS[key].note, each) for key, each in runs.items()}


def _once(kafka: Kafka, peer: Peer, key: str, turn: int, records: int, bar: Bar) -> Measured:
    count = records // peer.share
    if key == "ours":
        forget(kafka)
    with bar(f"{peer.name}, round {turn + 1}", count) as step:
        return measure(peer, Settings(kafka=kafka), count, f"bench.{key}.{turn}", step)


def processed(kafka: Kafka, options: argparse.Namespace, bar: Bar) -> dict[str, Any]:
    """Ours again on the same topic, with secrets masked and an index of its own for one namespace."""
    tier = Tier(name="payments", namespaces=["payments"])
    runs = []
    with TemporaryDirectory() as folder:
        shutil.copy(MASKING, folder)
        settings = Settings(kafka=kafka, index=Index(tiers=[tier]), process=Process(dir=folder))
        for turn in range(options.rounds):
            forget(kafka)
            with bar(f"Eventsphere, masking, tiers; round {turn + 1}", options.records) as step:
                runs.append(measure(PEERS["ours"], settings, options.records, f"bench.processed.{turn}", step))
    return figures.of_runs("masking and tiers", "", runs)


def forget(kafka: Kafka) -> None:
    """Drop what our group has committed, so that the next run reads everything again."""
    admin = AdminClient(client(kafka))
    for future in admin.delete_consumer_groups([GROUP]).values():
        with suppress(KafkaException):  # there is none before the first run
            future.result()


@contextmanager
def bars(console: Console) -> Iterator[Bar]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:

        @contextmanager
        def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.update(task, completed=done)

        yield bar


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
