"""`eventsphere index`: how large the search index is, and building it anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import context

if TYPE_CHECKING:
    from rich.progress import Progress

    from streams.rebuild.staging import Outcome
    from streams.settings import Settings
    from streams.sinks.index.port import Kind, Stored

app = typer.Typer(help="The search index: its size, and building it anew.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
GIB = 1 << 30


class Source(StrEnum):
    TOPIC = "topic"
    ARCHIVE = "archive"


@app.command()
def size(
    by: Annotated[str, typer.Option(help="`kind`, or `part`: each day's index by itself.")] = "part",
    as_json: AsJson = False,
    data_dir: context.DataDir = "",
) -> None:
    """Show documents, bytes and bytes a record of the index, whether something runs or not.

    Examples: `eventsphere index size` · `eventsphere index size --by kind --json`
    """
    if by not in ("kind", "part"):
        context.fail("--by is kind or part", 2)
    settings = context.settings(data_dir)
    with context.reported():
        parts = asyncio.run(_stored(settings))
    rows = list(_rows(parts, by))
    if as_json:
        _print(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(by, "documents", "MiB", "bytes a record", box=None, header_style="bold")
    for row in [*rows, _row("all", parts)]:
        mib = f"{row['bytes'] / (1 << 20):,.1f}"
        table.add_row(row["name"], f"{row['documents']:,}", mib, f"{row['bytes_a_record']:,.0f}")
    Console(highlight=False).print(table)


@app.command()
def rebuild(
    kind: Annotated[str, typer.Option(help="Which documents: logs, events, objects, gaps, audit, ...")] = "logs",
    source: Annotated[
        Source, typer.Option("--from", help="What to build from (the archive: logs only).")
    ] = Source.TOPIC,
    force: Annotated[
        bool, typer.Option("--force", help="Replace days even by ones that hold fewer documents than now.")
    ] = False,
    as_json: AsJson = False,
    data_dir: context.DataDir = "",
) -> None:
    """Build the index anew beside the one in use and put it in its place, day by day.

    A day is replaced only when the new one holds no fewer documents: Kafka may have forgotten what the index still
    has. Elasticsearch: while everything runs. Embedded: the instance must be stopped (its worker is the only writer);
    the broker is started for as long as it is read.

    Examples: `eventsphere index rebuild` · `eventsphere index rebuild --kind events --data-dir ./data` ·
    `eventsphere index rebuild --from archive`
    """
    from streams.sinks.index.port import Kind

    if kind not in list(Kind):
        context.fail(f"--kind is one of {', '.join(Kind)}", 2)
    if source is Source.ARCHIVE and kind != Kind.LOGS:
        context.fail("the archive holds logs only", 2)
    settings = context.settings(data_dir)
    with context.reported():
        outcomes = asyncio.run(_rebuild(settings, Kind(kind), source, force=force))
    if as_json:
        _print([_shown(each) for each in outcomes])
        return
    for each in outcomes:
        before = f"was {each.before:,}" if each.before else "new"
        typer.echo(f"{each.part}: {each.fate.value}: {each.documents:,} documents, {before}")
    if not outcomes:
        typer.echo("there was nothing to build from")


async def _stored(settings: Settings) -> list[Stored]:
    from streams.sinks.index.port import open_index

    index = open_index(settings, writer=False)
    try:
        return await index.stored()
    finally:
        await index.close()


def _rows(parts: list[Stored], by: str) -> Iterator[dict[str, Any]]:
    if by == "part":
        yield from (_row(part.name, [part]) for part in parts)
        return
    for kind in dict.fromkeys(part.kind for part in parts):
        yield _row(kind.value, [part for part in parts if part.kind is kind])


def _row(name: str, parts: list[Stored]) -> dict[str, Any]:
    documents, nbytes = sum(part.documents for part in parts), sum(part.nbytes for part in parts)
    return {
        "name": name,
        "documents": documents,
        "bytes": nbytes,
        "bytes_a_record": round(nbytes / documents, 1) if documents else 0,
    }


async def _rebuild(settings: Settings, kind: Kind, source: Source, *, force: bool) -> list[Outcome]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from streams.process.held import Documents
    from streams.rebuild.staging import staging
    from streams.sinks.index.port import Kind as Kinds

    documents = Documents(settings.process.dir) if kind is Kinds.LOGS else None
    if documents is not None:
        documents.start()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    place = staging(settings)
    await place.open()
    try:
        with Progress(*columns, transient=True) as bar:
            if source is Source.ARCHIVE:
                return await _of_archive(settings, place, kind, documents, bar, force=force)
            with _bus(settings) as kafka:
                return await _of_topic(kafka, place, kind, documents, bar, force=force)
    finally:
        await place.close()


async def _of_topic(kafka: Any, place: Any, kind: Kind, documents: Any, bar: Progress, *, force: bool) -> list[Outcome]:
    from streams.rebuild.rebuilding import Feed, from_topic
    from streams.rebuild.topic import TopicReader
    from streams.retention.duty import TOPICS

    async with TopicReader(kafka, TOPICS[kind]) as reader:
        starts, ends = await reader.ends()
        task = bar.add_task(f"{kind.value} from Kafka", total=sum(ends.values()) - sum(starts.values()))
        feed = Feed(kind, documents, lambda count: bar.advance(task, count))
        return await from_topic(place, reader, feed, kind, force=force)


async def _of_archive(
    settings: Settings, place: Any, kind: Kind, documents: Any, bar: Progress, *, force: bool
) -> list[Outcome]:
    from streams.archive.store import open_store
    from streams.rebuild.rebuilding import Feed, from_archive

    if not settings.archive.url:
        context.fail("no archive is set (EVENTSPHERE_ARCHIVE__URL)")
    store = open_store(settings.archive)
    try:
        task = bar.add_task(f"{kind.value} from the archive", total=None)
        feed = Feed(kind, documents, lambda count: bar.advance(task, count))
        return await from_archive(place, store, feed, kind, force=force)
    finally:
        await store.close()


@contextmanager
def _bus(settings: Settings) -> Iterator[Any]:
    """The Kafka of the settings; else the stopped instance's own broker, for as long as it is needed."""
    if settings.kafka.bootstrap_servers:
        yield settings.kafka
        return
    from deploy.local.broker import Broker, BrokerFailed
    from deploy.local.jars import NotFetched
    from gateway.files import data_dir

    folder = Path(data_dir(settings)) / "broker"
    if not folder.exists():
        context.fail(f"there is no broker in {folder}: name the instance's --data-dir")
    port, controller = _free_ports()
    broker = Broker(folder, port, controller)
    try:
        broker.start()
        broker.wait_ready()
        yield broker.kafka
    except (BrokerFailed, NotFetched) as error:
        context.fail(str(error))
    finally:
        broker.stop()


def _free_ports() -> tuple[int, int]:
    import socket

    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _shown(outcome: Outcome) -> dict[str, Any]:
    import msgspec

    return dict(msgspec.to_builtins(outcome))


def _print(value: Any) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
