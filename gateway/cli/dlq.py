"""`eventsphere dlq`: dead letters on the command line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import context

if TYPE_CHECKING:
    from gateway.cluster import Cluster
    from gateway.letters import Replayed
    from gateway.reader import Reader
    from streams.settings import Kafka

app = typer.Typer(help="Dead letters: list, show, replay.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
OfReason = Annotated[str, typer.Option("--reason", help="Only those of this reason.")]
Since = Annotated[str, typer.Option(metavar="TIME", help="Only those written since: 2h, 7d, or a time (RFC 3339).")]
Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic they were of, such as logs.")]


@app.command("list")
def list_(
    topic: Annotated[str, typer.Argument(metavar="[TOPIC]", help="Of this topic only.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    reason: OfReason = "",
    since: Since = "",
    as_json: AsJson = False,
    data_dir: context.DataDir = "",
) -> None:
    """Show the newest dead letters.

    Examples: `eventsphere dlq list` · `eventsphere dlq list logs --reason refused --since 2h --json`
    """
    which = (reason, _since(since))
    with context.reported():
        items = asyncio.run(_newest(context.connected(data_dir).kafka, topic, limit, *which))
    if as_json:
        _print(items)
        return
    for item in items:
        typer.echo(f"{item['time']}  {item['topic']:<16} {item['offset']:>6}  {item['reason']}: {item['detail'][:100]}")
    if not items:
        typer.echo("no dead letters")


@app.command()
def show(
    topic: Topic,
    offset: Annotated[int, typer.Argument(min=0, help="Its offset, as in `eventsphere dlq list`.")],
    data_dir: context.DataDir = "",
) -> None:
    """Show one dead letter whole, as JSON.

    Example: `eventsphere dlq show logs 17`
    """
    with context.reported():
        found = asyncio.run(_one(context.connected(data_dir).kafka, topic, offset))
    if found is None:
        context.fail(
            f"there is no dead letter of {topic} at offset {offset}; `eventsphere dlq list {topic}` shows them"
        )
    _print(found)


@app.command()
def replay(
    topic: Topic,
    offsets: Annotated[
        list[int] | None, typer.Argument(min=0, help="Their offsets, as in `eventsphere dlq list`.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that are still there (at most 1000 at a time).")
    ] = False,
    reason: OfReason = "",
    since: Since = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="With --all: the oldest so many.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; say how many would be sent.")] = False,
    data_dir: context.DataDir = "",
) -> None:
    """Produce the original bytes to their topic again; the dead letters stay, as history. Replaying twice makes no
    second document.

    Examples: `eventsphere dlq replay logs 17 18` · `eventsphere dlq replay alerts --all --reason schema --dry-run`
    """
    if bool(offsets) == everything:
        context.fail("name either offsets or --all", 2)
    which = (reason, _since(since))
    with context.reported():
        done = asyncio.run(_replay(context.connected(data_dir).kafka, topic, offsets, *which, limit, dry_run))
    for offset, why in done.refused.items():
        typer.echo(f"not sent: {offset}: {why}", err=True)
    typer.echo(f"{'would send' if dry_run else 'sent'} {done.replayed}")
    if done.refused:
        raise typer.Exit(1)


def _since(text: str) -> int:
    """`2h`, or a time, as ms since the epoch; 0 for an empty text."""
    return context.since(text, time.time_ns() // 1_000_000) if text else 0


async def _newest(kafka: Kafka, topic: str, limit: int, reason: str, start_ms: int) -> list[dict[str, Any]]:
    from gateway import dead_letters, letters
    from schemas.catalogue import declared

    topics = [letters.topic_of(topic)] if topic else [each.name for each in declared().values() if each.dead_letters]
    which = letters.Which(reason=reason, start_ms=start_ms)
    async with _bus(kafka) as (cluster, reader):
        found = await letters.search(cluster, reader, topics, which, limit)
    return [dead_letters.shown(record) for record in found.items]


async def _one(kafka: Kafka, topic: str, offset: int) -> dict[str, Any] | None:
    from gateway import dead_letters, letters
    from schemas.catalogue import dlq_name

    async with _bus(kafka) as (_, reader):
        record = await reader.one(dlq_name(letters.topic_of(topic)), 0, offset)
    return None if record is None else dead_letters.shown(record, whole=True)


async def _replay(
    kafka: Kafka, topic: str, offsets: list[int] | None, reason: str, start_ms: int, limit: int, dry_run: bool
) -> Replayed:
    from gateway import letters
    from gateway.dead_letters import not_replayable
    from streams.producer import Producer

    name = letters.topic_of(topic)
    producer = Producer(kafka, "eventsphere-dlq")
    await producer.start()
    try:
        async with _bus(kafka) as (cluster, reader):
            if offsets is None:
                which = letters.Which(reason=reason, start_ms=start_ms)
                found = await letters.search(cluster, reader, [name], which, limit, oldest_first=True)
                offsets = [record.offset for record in found.items if not not_replayable(record)]
            return await letters.replay(cluster, reader, producer, name, offsets, dry_run=dry_run)
    finally:
        await producer.close()


@asynccontextmanager
async def _bus(kafka: Kafka) -> AsyncIterator[tuple[Cluster, Reader]]:
    from gateway.cluster import Cluster
    from gateway.reader import Reader

    cluster, reader = Cluster(kafka), Reader(kafka)
    try:
        yield cluster, reader
    finally:
        await reader.close()
        cluster.close()


def _print(value: Any) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
