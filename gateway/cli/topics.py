"""`eventsphere topics`: the catalogue against a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import context

app = typer.Typer(help="Topics as the catalogue declares them, against the cluster.", no_args_is_help=True)


@app.command()
def diff(data_dir: context.DataDir = "") -> None:
    """Show what on the cluster is not as declared; ends with code 1 when something is not.

    Example: `EVENTSPHERE_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 eventsphere topics diff`
    """
    from streams import topics

    kafka = context.connected(data_dir).kafka
    with context.reported(), context.reaching(kafka):
        found = topics.diff(kafka)
    for each in found:
        typer.echo(str(each))
    if found:
        typer.echo(f"{len(found)} differences; `eventsphere topics apply` creates what is missing", err=True)
        raise typer.Exit(1)
    typer.echo("as declared")


@app.command()
def apply(data_dir: context.DataDir = "") -> None:
    """Create the topics that are missing and wait for their leaders; existing ones are left as they are.

    Example: `EVENTSPHERE_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 eventsphere topics apply`
    """
    from streams import topics

    kafka = context.connected(data_dir).kafka
    with context.reported(), context.reaching(kafka):
        created = topics.apply(kafka)
        left = topics.diff(kafka)
    for name in created:
        typer.echo(f"created {name}")
    for each in left:
        typer.echo(f"left as it is: {each}")
    if not created:
        typer.echo("nothing was missing")


@app.command("connect-schema")
def connect_schema(
    topic: Annotated[str, typer.Argument(help="A topic of the catalogue.")],
    table: Annotated[
        bool, typer.Option("--table", help="One column a field: lists and texts by name left out.")
    ] = False,
    column: Annotated[
        list[str] | None, typer.Option(help="With --table: this text has a column, like labels.severity.")
    ] = None,
) -> None:
    """Print the topic's schema in Kafka Connect's form, in one line: what JsonConverter takes as `schema.content`.

    Example: `eventsphere topics connect-schema alerts.state --table --column labels.severity`
    """
    import json

    from schemas import connect
    from schemas.catalogue import declared

    found = declared().get(topic)
    if found is None:
        context.fail(f"there is no topic {topic!r} in the catalogue; it has: {', '.join(declared())}")
    try:
        form = connect.table_schema(found, column or []) if table or column else connect.connect_schema(found)
    except ValueError as error:
        context.fail(str(error))
    typer.echo(json.dumps(form, separators=(",", ":"), ensure_ascii=False))


@app.command("publish-schemas")
def publish_schemas(
    registry: Annotated[str, typer.Option(metavar="URL", help="A Confluent-compatible schema registry.")],
    username: Annotated[str, typer.Option(help="For basic authentication.")] = "",
    password_file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its password.")] = None,
) -> None:
    """Register the JSON Schema of every public topic as subject `<topic>-value`; again changes nothing.

    Example: `eventsphere topics publish-schemas --registry https://registry:8081`
    """
    from gateway import schema_registry

    if not registry.startswith(("http://", "https://")):
        context.fail("--registry: expected a URL like https://registry:8081")
    password = password_file.read_text("utf-8").strip() if password_file else ""
    with context.reported():
        for each in schema_registry.publish(registry, username, password):
            typer.echo(f"{each.subject} {each.id}")
