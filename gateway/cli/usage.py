"""`eventsphere usage`: how much log data each namespace, workspace, tenant or cluster sent."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import context

if TYPE_CHECKING:
    from streams.settings import Settings

ANSWER_S = 30.0


class By(StrEnum):
    NAMESPACE = "namespace"
    WORKSPACE = "workspace"
    TENANT = "tenant"
    CLUSTER = "cluster"


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def usage(
    by: Annotated[By, typer.Option(help="What is told apart.")] = By.NAMESPACE,
    since: Annotated[str, typer.Option(metavar="TIME", help="How far back: 24h, 7d, or a time (RFC 3339).")] = "24h",
    form: Annotated[Form, typer.Option("--format", help="How it is written.")] = Form.TABLE,
    data_dir: context.DataDir = "",
) -> None:
    """Show how many log records and bytes each namespace (workspace, tenant, cluster) sent, most first.

    Examples: `eventsphere usage` · `eventsphere usage --by workspace --since 7d --format csv`
    """
    settings = context.connected(data_dir)
    with context.reported():
        items = asyncio.run(gathered(settings, by.value, since, time.time_ns() // 1_000_000))
    if form is Form.JSON:
        import orjson

        typer.echo(orjson.dumps(items, option=orjson.OPT_INDENT_2).decode())
    elif form is Form.CSV:
        typer.echo(as_csv(items), nl=False)
    else:
        _table(items)


async def gathered(settings: Settings, by: str, since: str, now_ms: int) -> list[dict[str, Any]]:
    """Rows of `GET /api/v1/usage`, most bytes first. Raises Retryable when Kafka or the index does not answer."""
    from gateway.account_lines import by_place, span_of
    from gateway.api.usage import TOPICS, row
    from gateway.cluster import Cluster
    from gateway.usage import Usage, workspaces
    from streams.errors import Retryable
    from streams.sinks.index.port import open_index

    span = span_of(context.since(since, now_ms), 0, 0)
    known = None
    if by == By.WORKSPACE:
        index = open_index(settings, writer=False)
        await index.open()
        try:
            known = await workspaces(index)
        finally:
            await index.close()
    cluster, accounts = Cluster(settings.kafka), Usage(settings.kafka)
    try:
        async with asyncio.timeout(ANSWER_S):
            seen, _ = await asyncio.gather(cluster.snapshot(), accounts.view.start())
    except TimeoutError:
        raise Retryable("bus_away", f"Kafka did not answer within {ANSWER_S:.0f} s") from None
    finally:
        await accounts.view.close()
        cluster.close()
    found = by_place(await accounts.lines(seen), by, span, topics=TOPICS, workspaces=known)
    return sorted((row(item.shown()) for item in found), key=lambda item: -item["bytes"])


def as_csv(items: list[dict[str, Any]]) -> str:
    """With a header; names that begin like a formula are quoted for spreadsheets."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if items:
        writer.writerow(items[0])
    writer.writerows([_safe(value) for value in item.values()] for item in items)
    return out.getvalue()


def _safe(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _table(items: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not items:
        typer.echo("no log records were counted in that time")
        return
    table = Table(*(name.replace("_", " ") for name in items[0]), box=None, header_style="bold")
    for item in items:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else value or "(none)" for value in item.values()))
    Console(highlight=False, width=max(100, Console().width)).print(table)
