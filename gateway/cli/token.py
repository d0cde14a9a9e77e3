"""`eventsphere token`: machine tokens, straight in the database, so that the first one needs no login."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import context

if TYPE_CHECKING:
    from sqlmodel import Session

app = typer.Typer(help="Machine tokens: create, list, revoke.", no_args_is_help=True)

UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@app.command()
def create(
    scope: Annotated[
        list[str], typer.Option("--scope", help="What it may do, such as logs:write or topics:alerts:read; repeatable.")
    ],
    name: Annotated[str, typer.Option(help="What it is for; shown in lists and in the audit.")] = "",
    tenant: Annotated[str, typer.Option(help="Bind it to a tenant (default: the platform, which sees all).")] = "",
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="How long it lasts: 12h, 30d (default: until revoked).")
    ] = "",
    data_dir: context.DataDir = "",
) -> None:
    """Make a token and print it, once.

    Examples: `eventsphere token create --scope logs:write --name fluent-bit` ·
    `eventsphere token create --scope alerts:write --expires 90d`
    """
    from gateway import tokens
    from schemas.alerts import NO_TENANT

    now = _now_ms()
    with context.reported(), _database(data_dir, create=True) as session:
        issued = tokens.issue(
            session,
            name=name,
            scopes=scope,
            entropy=secrets.token_bytes(tokens.ID_BYTES + tokens.SECRET_BYTES),
            now_ms=now,
            tenant=tenant or NO_TENANT,
            created_by="cli",
            expires_ms=now + _seconds(expires) * 1000 if expires else 0,
        )
    typer.echo(issued.text)


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False, data_dir: context.DataDir = ""
) -> None:
    """Show all tokens, without their secrets.

    Example: `eventsphere token list`
    """
    from gateway import tokens
    from gateway.api.tokens import shown

    with context.reported(), _database(data_dir) as session:
        items = [shown(row, _now_ms()) for row in tokens.listed(session)]
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode([item.model_dump() for item in items]).decode())
        return
    if not items:
        typer.echo("no tokens; make one with `eventsphere token create --scope logs:write`")
    for item in items:
        until = f"until {item.expires}" if item.expires else "until revoked"
        typer.echo(f"{item.id}  {item.state:<8} {item.name:<20} {item.tenant:<12} {' '.join(item.scopes)}  {until}")


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as in `eventsphere token list`.")],
    data_dir: context.DataDir = "",
) -> None:
    """Revoke a token: within a second or two every gateway refuses it.

    Example: `eventsphere token revoke 4fd0c1a2b3c4`
    """
    from gateway import tokens

    presented = tokens.parse(token_id)
    with context.reported(), _database(data_dir) as session:
        row = tokens.revoke(session, presented.id if presented else token_id, _now_ms())
    if row is None:
        context.fail(f"there is no token {token_id[:32]!r}; `eventsphere token list` shows their ids")
    typer.echo(f"revoked {row.id} ({row.name})")


@contextmanager
def _database(data_dir: str, *, create: bool = False) -> Iterator[Session]:
    from sqlmodel import Session

    from gateway.database import FILE, ready
    from gateway.files import folder

    settings = context.settings(data_dir)
    if not settings.database.url.get_secret_value() and not (folder(settings) / FILE).exists():
        if not create:
            context.fail(f"nothing has run on {folder(settings)} yet: name the --data-dir of an instance that has")
        context.warn(f"nothing has run on {folder(settings)} yet; --data-dir names another instance's")
    before = os.umask(0o077)
    engine = ready(settings)
    os.umask(before)
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


def _seconds(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not number.isdigit() or unit not in UNITS_S or not 0 < int(number) <= 100_000:
        context.fail(f"--expires {text!r}: expected a number and m, h, d or w, such as 30d", 2)
    return int(number) * UNITS_S[unit]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
