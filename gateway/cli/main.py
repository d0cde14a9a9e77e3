"""The command line. Every command has `--help` with examples; what a command needs is imported when it runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from gateway.cli import (
    alerts,
    archive,
    bench,
    context,
    demo,
    dlq,
    index,
    process,
    receivers,
    routes,
    rules,
    size,
    status,
    token,
    topics,
    usage,
    worker,
)
from streams.settings import CONFIG

app = typer.Typer(
    name="eventsphere",
    help="KubeSphere's back end as an event-driven pipeline on Kafka.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)
Offline = Annotated[bool, typer.Option("--offline", help="Use only what an earlier start or `fetch` brought.")]


@app.callback()
def options(
    config: Annotated[str, typer.Option("--config", metavar="FILE", help="A TOML file with settings.")] = "",
) -> None:
    if config:
        os.environ[CONFIG] = config


@app.command()
def up(
    data_dir: context.DataDir = "",
    port_base: Annotated[
        int | None, typer.Option(min=1024, max=65000, help="Gateway port; the other ports follow it one by one.")
    ] = None,
    offline: Offline = False,
) -> None:
    """Start everything on this machine and keep it running.

    Examples: `eventsphere up` · `eventsphere up --data-dir ./data --port-base 9100`
    """
    from deploy.local.instance import CannotStart
    from deploy.local.up import up as run

    settings = context.startable(data_dir)
    context.check_documents(settings)
    context.warn_of_rules(settings)
    try:
        code = run(settings, data_dir=data_dir, port_base=port_base, offline=offline)
    except CannotStart as error:
        context.fail(str(error))
    raise typer.Exit(code)


@app.command()
def fetch() -> None:
    """Bring everything a later `eventsphere up --offline` needs.

    Example: `eventsphere fetch`
    """
    from deploy.local import jars
    from deploy.local.progress import Progress

    progress = Progress()
    try:
        with progress.step("Fetching Apache Kafka 4.3.1 (45 MB, once)", "Apache Kafka is here"):
            jars.fetch()
    except jars.NotFetched as error:
        progress.close()
        context.fail(str(error))
    progress.close()


@app.command()
def gateway() -> None:
    """Serve the HTTP API, the streams and the console.

    Example: `EVENTSPHERE_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 eventsphere gateway`
    """
    from gateway.main import main as serve
    from streams import home_cluster
    from streams.logs import configure

    settings = home_cluster.named(context.startable())
    configure(settings, "gateway")
    serve(settings)


@app.command()
def sources() -> None:
    """Take in forward records and watch Kubernetes clusters.

    Example: `EVENTSPHERE_KUBECONFIGS=~/.kube/config eventsphere sources`
    """
    context.settings()
    os.execv(sys.executable, [sys.executable, "-m", "streams.sources.main"])  # noqa: S606


app.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench.bench)
app.command("size")(size.size)
app.command("worker")(worker.worker)
app.command("demo")(demo.demo)
app.command("status")(status.status)
app.command("usage")(usage.usage)
app.add_typer(topics.app, name="topics")
app.add_typer(rules.app, name="rules")
app.add_typer(process.app, name="process")
app.add_typer(routes.app, name="routes")
app.add_typer(receivers.app, name="receivers")
app.add_typer(alerts.app, name="alerts")
app.add_typer(token.app, name="token")
app.add_typer(dlq.app, name="dlq")
app.add_typer(index.app, name="index")
app.add_typer(archive.app, name="archive")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
