"""`eventsphere receivers`: who is told, and whether that works."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import context

app = typer.Typer(help="Receivers of notifications, and whether they can be reached.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A receiver of the alerting configuration.")]


@app.command("list")
def list_receivers(data_dir: context.DataDir = "") -> None:
    """List receivers: name, tab, channel and target of each.

    Example: `eventsphere receivers list`
    """
    from streams.alerting import load
    from streams.sinks.registry import channels

    settings = context.settings(data_dir)
    with context.reported():
        ways = channels(settings)
        for receiver in load(settings).receivers:
            reached = [f"{each.channel} {each.name}" for way in ways for each in way.targets(receiver)]
            typer.echo(f"{receiver.name}\t{', '.join(reached) or 'nothing: only recorded'}")


@app.command("test")
def try_out(name: Name, data_dir: context.DataDir = "") -> None:
    """Send a notification that says it is a test to everything a receiver names. Ends with code 1 when any did not
    take it. Run it where the worker runs: it goes out from here.

    Example: `eventsphere receivers test ops`
    """
    import asyncio
    import time

    from streams.alerting import load
    from streams.sinks.registry import channels
    from streams.sinks.trial import Tried, sample, try_receiver

    settings = context.settings(data_dir)
    with context.reported():
        receiver = load(settings).receiver(name)
    if receiver is None:
        context.fail(f"there is no receiver {name!r}", 2)

    async def tried() -> list[Tried]:
        ways = channels(settings)
        try:
            now_ms = time.time_ns() // 1_000_000
            return await try_receiver(ways, receiver, sample(name, now_ms, cluster=settings.cluster.name))
        finally:
            for way in ways:
                await way.close()

    results = asyncio.run(tried())
    for each in results:
        typer.echo(
            f"{each.result}\t{each.channel} {each.target}\t{each.ms} ms{f'  {each.reason}' if each.reason else ''}"
        )
    if not results:
        context.fail(f"receiver {name!r} names nobody")
    if any(each.result != "sent" for each in results):
        raise typer.Exit(1)
