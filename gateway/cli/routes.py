"""`eventsphere routes`: where alerts go by an alertmanager.yml, before a worker has to use it."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import context
from schemas.alerting import AlertingConfig, Route

app = typer.Typer(help="Which receiver an alert goes to.", no_args_is_help=True)
File = Annotated[
    str, typer.Option("--config-file", metavar="FILE", help="An alertmanager.yml (default: the one in the settings).")
]


@app.command("test")
def where(
    labels: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="The labels of an alert.")],
    config_file: File = "",
) -> None:
    """Say which receivers get an alert with these labels, and in which group: receiver, tab, group key.

    Example: `eventsphere routes test severity=critical namespace=shop`
    """
    from streams.routing import destinations

    pairs = dict(label.partition("=")[::2] for label in labels)
    if wrong := [label for label in labels if "=" not in label]:
        context.fail(f"{wrong[0]!r}: expected NAME=VALUE", 2)
    for to in destinations(_config(config_file).route, pairs):
        typer.echo(f"{to.route.receiver}\t{to.group_key}")


@app.command()
def show(config_file: File = "") -> None:
    """Show the route tree. Ends with code 1 and file, line and field of everything that is wrong with it.

    Example: `eventsphere routes show --config-file alertmanager.yml`
    """
    for line in _lines(_config(config_file).route, 0):
        typer.echo(line)


def _config(file: str) -> AlertingConfig:
    from streams.alerting import WrongConfig, load
    from streams.settings import Alerting

    settings = context.settings()
    if file:
        settings = settings.model_copy(update={"alerting": Alerting(config=file)})
    try:
        return load(settings)
    except WrongConfig as error:
        context.fail(str(error))


def _lines(route: Route, depth: int) -> list[str]:
    matchers = route.key.rpartition("/{")[2].rstrip("}") if route.matchers else ""
    more = "  continue" if route.continue_ else ""
    own = f"{'  ' * depth}{'{' + matchers + '}' if matchers else 'default'} -> {route.receiver}{more}"
    return [own, *(line for child in route.routes for line in _lines(child, depth + 1))]
