"""`eventsphere alerts`: the alerts of this instance beside those of another Alertmanager."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import context

if TYPE_CHECKING:
    from gateway.am_diff import Difference, Side
    from streams.settings import Settings

app = typer.Typer(help="What fires, beside another Alertmanager.", no_args_is_help=True)
ASK_S = 20.0
MAX_BYTES = 256 << 20
CUT = 100


@app.callback()
def _commands() -> None:
    """`diff` is a command of its own, not the whole of `alerts`."""


@app.command()
def diff(
    alertmanager: Annotated[str, typer.Option("--alertmanager", metavar="URL", help="Of a running Alertmanager.")],
    authorization_file: Annotated[
        str, typer.Option(metavar="FILE", help="Holds the value of the Authorization header it wants, if any.")
    ] = "",
    tenant: Annotated[str, typer.Option(help="Whose alerts of ours (default: everybody's).")] = "",
    config_file: Annotated[
        str, typer.Option(metavar="FILE", help="The alertmanager.yml of ours (default: the one in the settings).")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    data_dir: context.DataDir = "",
) -> None:
    """Compare alerts, silences, receivers and groups with a running Alertmanager's. Code 0: they agree, 1: they do
    not, 2: they could not be compared.

    Example: `eventsphere alerts diff --alertmanager http://alertmanager:9093`
    """
    from gateway.am_diff import differences

    settings = context.connected(data_dir)
    if config_file:
        settings = settings.model_copy(
            update={"alerting": settings.alerting.model_copy(update={"config": config_file})}
        )
    header = _header(authorization_file)
    try:
        theirs = of_url(alertmanager, header)
    except (OSError, ValueError) as error:
        context.fail(f"{alertmanager} does not answer as an Alertmanager: {error}", 2)
    with context.reported():
        found = differences(of_topics(settings, tenant), theirs)
    if as_json:
        import orjson

        typer.echo(orjson.dumps([each._asdict() for each in found]).decode())
    else:
        _print(found)
    raise typer.Exit(1 if found else 0)


def _header(file: str) -> dict[str, str]:
    if not file:
        return {}
    try:
        return {"Authorization": Path(file).read_text("utf-8").strip()}
    except (OSError, UnicodeDecodeError) as error:
        context.fail(f"{file} cannot be read: {error}", 2)


def of_url(url: str, header: dict[str, str]) -> Side:
    """Raises OSError and ValueError."""
    from gateway.am_diff import Side

    base = url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise ValueError("expected an http or https URL")
    return Side(
        *(_asked(f"{base}/api/v2/{path}", header) for path in ("alerts", "silences", "receivers", "alerts/groups"))
    )


def _asked(url: str, header: dict[str, str]) -> Any:
    import urllib.request

    import orjson

    request = urllib.request.Request(url, headers=header)  # noqa: S310 - checked to be http or https
    with urllib.request.urlopen(request, timeout=ASK_S) as reply:  # noqa: S310
        body = reply.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
    found = orjson.loads(body)
    if not isinstance(found, list):
        raise ValueError(f"{url}: no list")
    return found


def of_topics(settings: Settings, tenant: str) -> Side:
    """From the topics, as the gateway's API would answer. Raises Retryable when Kafka does not answer."""
    import asyncio
    import time

    import msgspec

    from gateway import am_silences
    from gateway.am_alerts import Choice, Present
    from gateway.am_diff import Side
    from schemas.alerts import NO_TENANT, AlertState
    from streams.alerting import WrongConfig, load
    from streams.canary import RECEIVER
    from streams.errors import Retryable
    from streams.silences import Reading
    from streams.views import View

    async def read(view: View[Any]) -> list[Any]:
        try:
            async with asyncio.timeout(ASK_S):
                await view.start()
            return list(view.values())
        except TimeoutError:
            raise Retryable("views", f"{view.topic} was not read within {ASK_S:.0f} s") from None
        finally:
            await view.close()

    async def both() -> tuple[list[Any], list[Any]]:
        states: View[AlertState] = View(settings.kafka, "alerts.state", msgspec.json.Decoder(AlertState).decode)
        return await read(states), await read(View(settings.kafka, "silences", Reading()))

    states, silences = asyncio.run(both())
    now_ms = time.time_ns() // 1_000_000
    try:
        config = load(settings)
    except WrongConfig as error:
        context.fail(str(error), 2)
    whose = (tenant,) if tenant else ()
    present = Present(config, states, silences, now_ms)
    mine = [each for each in silences if not tenant or each.tenant in ("", NO_TENANT, tenant)]
    return Side(
        alerts=present.alerts(Choice(), whose),
        silences=am_silences.listed(mine, [], now_ms),
        receivers=[{"name": receiver.name} for receiver in config.receivers if receiver.name != RECEIVER],
        groups=present.groups(Choice(), whose),
    )


def _print(found: list[Difference]) -> None:
    for each in found:
        typer.echo(f"{each.kind:<13}{each.what}")
        for name, told in (("ours", each.ours), ("theirs", each.theirs)):
            typer.echo(f"  {name:<8}{told[:CUT] or '-'}")
    typer.echo(f"{len(found)} differences" if found else "no differences")
