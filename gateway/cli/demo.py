"""`eventsphere demo`: plays a bad rollout through the instance on this machine."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import context
from streams.settings import Settings

SCOPES = (
    "alerts:write",
    "alerts:read",
    "logs:read",
    "mailbox:read",
    "topics:kube.events:write",
    "topics:kube.objects:write",
)
LIFETIME_MS = 3_600_000
LINES, CHAOS_LINES = 200, 5000


def demo(
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill worker, sources and broker meanwhile.")] = False,
    data_dir: context.DataDir = "",
    lines: Annotated[
        int | None, typer.Option(min=10, help="Log records to send (default 200; with --chaos 5000).")
    ] = None,
) -> None:
    """Play a bad rollout: logs, events, an alert, one mail that groups them, and one more when it is over.

    Examples: `eventsphere demo` · `eventsphere demo --chaos` · `eventsphere demo --data-dir ./data`
    """
    from rich.console import Console

    from deploy.demo.api import Api, Refused
    from deploy.demo.chaos import Chaos
    from deploy.demo.forward import ForwardSender, NotAcknowledged
    from deploy.demo.play import NotArrived, Play
    from deploy.demo.scenario import Scenario
    from deploy.local import instance

    settings = context.connected(data_dir)
    folder = Path(settings.data_dir)
    running = instance.running(folder)
    if running is None or not running.ready:
        context.fail(
            "no instance is ready on this machine: start one with `eventsphere up` and wait for `gateway: ...`"
        )
    token = secrets.token_hex(3)
    scenario = Scenario(settings.cluster.name or "local", token, _now_ms(), lines or (CHAOS_LINES if chaos else LINES))
    sender = ForwardSender(running.forward, f"kube.demo.{token}")
    console = Console(highlight=False, soft_wrap=True)
    killer = Chaos(lambda: instance.running(folder)) if chaos else None
    with _access(settings) as secret:
        play = Play(
            Api(running.gateway, secret), sender, scenario, console, now_ms=_now_ms, pace_s=0.2 if chaos else 0.0
        )
        try:
            if killer:
                killer.start()
            result = play.run()
        except (NotArrived, NotAcknowledged, Refused) as error:
            context.fail(f"demo: {error}")
        finally:
            if killer:
                killer.stop()
            sender.close()
    if killer:
        console.print(f"  chaos        kill -9: {', '.join(killer.killed)}; chunks sent again: {sender.resent}")
    console.print(str(result))
    raise typer.Exit(0 if result.adds_up else 1)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def _access(settings: Settings) -> Iterator[str]:
    """A token for the demo alone, revoked at its end."""
    from sqlmodel import Session

    from gateway import tokens
    from gateway.database import connect

    engine = connect(settings)
    entropy = secrets.token_bytes(tokens.ID_BYTES + tokens.SECRET_BYTES)
    now_ms = _now_ms()
    with Session(engine) as session:
        issued = tokens.issue(
            session, name="demo", scopes=SCOPES, entropy=entropy, now_ms=now_ms, expires_ms=now_ms + LIFETIME_MS
        )
        text, id_ = issued.text, issued.row.id
    try:
        yield text
    finally:
        with Session(engine) as session:
            tokens.revoke(session, id_, _now_ms())
        engine.dispose()
