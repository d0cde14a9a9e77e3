"""`eventsphere status`: is everything there, does it keep up, what could not be processed."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import context

if TYPE_CHECKING:
    from gateway.cluster import Snapshot
    from streams.settings import Settings

ASK_S = 10


def status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False, data_dir: context.DataDir = ""
) -> None:
    """Show each part, the lag of each agent, and how many dead letters there are; ends with code 1 when not ready.

    Examples: `eventsphere status` · `eventsphere status --json --data-dir ./data`
    """
    settings = context.connected(data_dir)
    with context.reported():
        found = gathered(settings)
    if as_json:
        import orjson

        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(found)
    if not found["ready"]:
        raise typer.Exit(1)


def gathered(settings: Settings) -> dict[str, Any]:
    """What there is to say. Raises Retryable when Kafka does not answer."""
    import asyncio

    from gateway.cluster import Cluster

    cluster = Cluster(settings.kafka)
    try:
        seen = asyncio.run(cluster.snapshot())
    finally:
        cluster.close()
    url, children = _instance(settings)
    return {"gateway": url, "children": children} | _readiness(url) | lags(seen)


def lags(seen: Snapshot) -> dict[str, Any]:
    """Agents with their lag by topic, topics with their records and dead letters. Pure."""
    from gateway.cluster import OURS
    from schemas.catalogue import declared, dlq_name

    agents = {
        agent: {topic: seen.lag(OURS + agent, topic) for topic in sorted(seen.committed[OURS + agent])}
        for agent in seen.agents
    }
    topics = {
        topic.name: {"records": seen.produced(topic.name), "dead_letters": seen.held(dlq_name(topic.name))}
        for topic in declared().values()
    }
    return {"agents": agents, "topics": topics}


def _instance(settings: Settings) -> tuple[str, dict[str, int]]:
    """Where the gateway is, and the processes of the instance on this machine if there is one."""
    from deploy.local import instance
    from gateway.files import data_dir

    running = instance.running(Path(data_dir(settings)))
    if running is not None:
        return running.gateway, running.children
    return settings.gateway.public_url or f"http://{settings.gateway.host}:{settings.gateway.port}", {}


def _readiness(url: str) -> dict[str, Any]:
    import orjson

    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=ASK_S) as answer:  # noqa: S310
            raw = answer.read()
    except urllib.error.HTTPError as error:
        raw = error.read()
    except (OSError, ValueError) as error:
        return {"ready": False, "checks": {"gateway": {"ok": False, "detail": f"{url} does not answer: {error}"}}}
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {"ready": False, "checks": {"gateway": {"ok": False, "detail": f"{url} is no gateway of ours"}}}
    return {"ready": document.get("status") == "ready", "checks": document.get("checks", {})}


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"gateway  {found['gateway']}  {'[green]ready' if found['ready'] else '[red]not ready'}")
    for name, check in found["checks"].items():
        console.print(f"  {'[green]ok  ' if check['ok'] else '[red]no  '}[/] {name}  {check['detail']}")
    for name, pid in found["children"].items():
        console.print(f"  process {pid:>8}  {name}")
    agents = Table("agent", "topic", "lag", box=None, header_style="bold")
    for agent, lag in found["agents"].items():
        for topic, records in lag.items():
            agents.add_row(agent, topic, f"{records:,}")
    console.print(agents)
    topics = Table("topic", "records", "dead letters", box=None, header_style="bold")
    for topic, counts in found["topics"].items():
        dead = f"[red]{counts['dead_letters']:,}" if counts["dead_letters"] else "0"
        topics.add_row(topic, f"{counts['records']:,}", dead)
    console.print(topics)
