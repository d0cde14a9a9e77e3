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
    verify_receivers: Annotated[
        str, typer.Option("--verify-receivers", metavar="A,B", help="End with code 1 when it is not these, in order.")
    ] = "",
) -> None:
    """Say which receivers get an alert with these labels, and in which group: receiver, tab, group key.

    Examples: `eventsphere routes test severity=critical namespace=shop` ·
    `eventsphere routes test --verify-receivers pager,team severity=critical`
    """
    from streams.routing import destinations, routes_of

    root, pairs = _config(config_file).route, _pairs(labels)
    for to in destinations(root, pairs):
        typer.echo(f"{to.route.receiver}\t{to.group_key}")
    receivers = [route.receiver for route in routes_of(root, pairs)]
    if verify_receivers and receivers != [name.strip() for name in verify_receivers.split(",")]:
        context.fail(f"expected {verify_receivers}, it goes to {','.join(receivers)}")


def _pairs(labels: list[str]) -> dict[str, str]:
    """Labels as amtool takes them: `name=value`, quotes optional."""
    from streams.matching import parse_matcher

    pairs = {}
    for label in labels:
        try:
            matcher = parse_matcher(label)
        except ValueError as error:
            context.fail(f"{label!r}: expected NAME=VALUE: {error}", 2)
        if matcher.is_regex or not matcher.is_equal:
            context.fail(f"{label!r}: expected NAME=VALUE, an alert has its labels", 2)
        pairs[matcher.name] = matcher.value
    return pairs


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
