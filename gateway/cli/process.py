"""`eventsphere process`: check processing documents, and see what they would do to records that really came."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import context

if TYPE_CHECKING:
    from gateway.process_preview import Preview, Wanted
    from schemas.process_document import Document
    from streams.settings import Settings

app = typer.Typer(help="Processing documents: what is dropped, sampled, masked, parsed, joined.", no_args_is_help=True)


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders with *.yaml files.")],
) -> None:
    """Read processing documents and tell everything that is wrong with them: file, line, field, what is expected.

    Ends with code 1 when something is. Example: `eventsphere process check process/`
    """
    from streams.process.held import checked

    results = [result for path in paths for result in checked(path)]
    errors = [line for result in results for line in result.errors]
    if not results:
        context.fail("expected *.yaml files there")
    for line in errors:
        typer.echo(line, err=True)
    if errors:
        typer.echo(f"{len(errors)} errors in {sum(bool(r.errors) for r in results)} of {len(results)} files", err=True)
        raise typer.Exit(1)
    typer.echo(f"{sum(result.documents for result in results)} documents in {len(results)} files: all right")


@app.command()
def preview(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of processing documents.")],
    since: Annotated[str, typer.Option(help="Records of this last time, such as 15m or 2h.")] = "15m",
    namespace: Annotated[str, typer.Option(help="Of this namespace only.")] = "",
    records: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the newest are looked at.")] = 1000,
    examples: Annotated[int, typer.Option(min=0, max=200, help="How many changed records are shown.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    data_dir: context.DataDir = "",
) -> None:
    """Show what the documents of a file would do to the newest log records: shares, and records before and after.

    Nothing is changed. Example: `eventsphere process preview mask.yaml --since 1h --namespace shop`
    """
    import time

    from gateway.process_preview import Wanted, read
    from streams.yaml_nodes import parse_duration

    try:
        text = file.read_text("utf-8")
        start_ms = time.time_ns() // 1_000_000 - parse_duration(since.removeprefix("-"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        context.fail(str(error))
    documents, errors = read(text)
    if errors:
        context.fail("\n".join(line.replace("document:", f"{file}:", 1) for line in errors))
    with context.reported():
        settings = context.connected(data_dir)
        found = asyncio.run(_preview(settings, documents, Wanted(start_ms, namespace, records, examples)))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found)


async def _preview(settings: Settings, documents: list[Document], wanted: Wanted) -> Preview:
    from gateway.cluster import Cluster
    from gateway.principal import Principal
    from gateway.process_preview import preview
    from gateway.reader import Reader
    from streams.process.held import Documents

    in_force = Documents(settings.process.dir)
    in_force.refresh()
    cluster, reader = Cluster(settings.kafka), Reader(settings.kafka)
    try:
        return await preview(cluster, reader, Principal("command line"), documents, wanted, in_force.current)
    finally:
        await reader.close()
        cluster.close()


def _print(found: Preview) -> None:
    import orjson

    for item in found.items:
        typer.echo(f"{item.time}  logs-{item.partition}@{item.offset}  {', '.join(item.by) or 'as it came'}")
        for sign, record in (("-", item.before), ("+", item.after)):
            typer.echo(f"  {sign} {'not indexed' if record is None else orjson.dumps(record).decode()}")
    typer.echo(
        f"{found.records} records looked at, {found.changed} change, {found.dropped} are no more indexed", nl=False
    )
    typer.echo(f" ({found.dropped_percent} %); {found.bytes_saved_percent} % of bytes saved")
    for step in found.steps:
        typer.echo(f"  {step.document:<24} {step.step:<7} {step.records:>7} records  {step.percent:>6} %")
    if found.unreadable:
        typer.echo(f"  {found.unreadable} are no JSON objects: they become dead letters")
