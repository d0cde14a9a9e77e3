"""`eventsphere archive`: the compressed copy of the logs: what there is, whether it is whole, and bringing it back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import context

if TYPE_CHECKING:
    from streams.archive.format import Manifest, Name
    from streams.archive.reading import Wanted
    from streams.settings import Settings

app = typer.Typer(help="The archive of logs: list, verify, restore.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Since = Annotated[str, typer.Option(help="From this time on: RFC 3339, or `-2d`, `-3h` before now.")]
Until = Annotated[str, typer.Option(help="Before this time.")]
Namespace = Annotated[str, typer.Option(help="Only records of this namespace.")]


@app.command("list")
def list_(since: Since = "", until: Until = "", namespace: Namespace = "", as_json: AsJson = False) -> None:
    """Show the objects that hold records of a time and namespace.

    Examples: `eventsphere archive list` · `eventsphere archive list --since -7d --namespace shop --json`
    """
    settings = _settings()
    with context.reported():
        found = asyncio.run(_listed(settings, _wanted(since, until, namespace)))
    if as_json:
        _print([_row(name, told) for name, told in found])
        return
    from schemas.base import rfc3339

    for name, told in found:
        if told is None:
            typer.echo(f"{name}  no manifest")
        else:
            typer.echo(
                f"{name}  {rfc3339(told.from_ms)} .. {rfc3339(told.to_ms)}  {told.records:,} records  "
                f"{told.nbytes:,} bytes"
            )
    records = sum(told.records for _, told in found if told is not None)
    typer.echo(f"{len(found)} objects, {records:,} records")


@app.command()
def verify(since: Since = "", until: Until = "", namespace: Namespace = "") -> None:
    """Read objects whole and compare them with their manifests; ends with code 1 when one is damaged.

    Example: `eventsphere archive verify --since -30d`
    """
    settings = _settings()
    with context.reported():
        checked, bad = asyncio.run(_verified(settings, _wanted(since, until, namespace)))
    for name, why in bad.items():
        typer.echo(f"{name}: {why}", err=True)
    typer.echo(f"{checked} objects, {len(bad)} damaged")
    if bad:
        raise typer.Exit(1)


@app.command()
def restore(
    since: Annotated[str, typer.Option(help="From this time on: RFC 3339, or `-2d` before now.")],
    until: Until = "now",
    namespace: Namespace = "",
    data_dir: context.DataDir = "",
) -> None:
    """Write archived records into the search index again, under the ids they had: what is there already stays one.

    Elasticsearch: while everything runs. Embedded: the instance must be stopped, or name another --data-dir.

    Examples: `eventsphere archive restore --since 2026-11-01T00:00:00Z --until 2026-11-02T00:00:00Z` ·
    `eventsphere archive restore --since -90d --namespace shop --data-dir ./old-logs`
    """
    settings = _settings(data_dir)
    wanted = _wanted(since, until, namespace)
    _warn_of_retention(settings, wanted)
    with context.reported():
        restored, bad = asyncio.run(_restored(settings, wanted))
    for name, why in bad.items():
        typer.echo(f"not restored: {name}: {why}", err=True)
    typer.echo(f"restored {restored:,} records")
    if bad:
        raise typer.Exit(1)


def _settings(data_dir: str = "") -> Settings:
    settings = context.settings(data_dir)
    if not settings.archive.url:
        context.fail("no archive is set (EVENTSPHERE_ARCHIVE__URL)")
    return settings


def _wanted(since: str, until: str, namespace: str) -> Wanted:
    from gateway import times
    from gateway.problems import Problem
    from gateway.services import now_ms
    from streams.archive.reading import Wanted

    now = now_ms()
    try:
        since_ms = times.parse("since", since, now) if since else 0
        until_ms = times.parse("until", until, now) if until else 0
    except Problem as problem:
        context.fail(problem.detail, 2)
    return Wanted(since_ms, until_ms, namespace)


def _warn_of_retention(settings: Settings, wanted: Wanted) -> None:
    from gateway.services import now_ms
    from streams.retention.policy import Policy
    from streams.sinks.index.port import Kind

    if wanted.since_ms < Policy(settings.retention, settings.index.tiers).newest_expired_ms(Kind.LOGS, now_ms()):
        context.warn(
            "retention hides and deletes some of what is asked for: restore it into another --data-dir or "
            "index.prefix with EVENTSPHERE_RETENTION__DEFAULT_DAYS=0 and no rules"
        )


async def _listed(settings: Settings, wanted: Wanted) -> list[tuple[Name, Manifest | None]]:
    from streams.archive.reading import manifests
    from streams.archive.store import open_store

    store = open_store(settings.archive)
    try:
        return [each async for each in manifests(store, wanted)]
    finally:
        await store.close()


async def _verified(settings: Settings, wanted: Wanted) -> tuple[int, dict[str, str]]:
    from streams.archive import reading
    from streams.archive.store import open_store

    store, count, bad = open_store(settings.archive), 0, {}
    try:
        async for name, _ in reading.manifests(store, wanted):
            count += 1
            if why := await reading.verify(store, name):
                bad[str(name)] = why
    finally:
        await store.close()
    return count, bad


async def _restored(settings: Settings, wanted: Wanted) -> tuple[int, dict[str, str]]:
    from streams.archive.restoring import restore
    from streams.archive.store import open_store
    from streams.errors import Fatal
    from streams.sinks.index.port import open_index

    store, index = open_store(settings.archive), open_index(settings, writer=True)
    try:
        try:
            await index.open()
        except Fatal as error:
            hint = "stop the instance that runs there, or restore into another --data-dir"
            raise Fatal(error.reason, f"{error.detail}: {hint}") from None
        return await restore(store, index, wanted, lambda _: None)
    finally:
        await index.close()
        await store.close()


def _row(name: Name, told: Manifest | None) -> dict[str, Any]:
    import msgspec

    return dict(msgspec.to_builtins(told)) if told is not None else {"name": str(name)}


def _print(value: Any) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
