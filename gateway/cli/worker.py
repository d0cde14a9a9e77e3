"""`eventsphere worker`: becomes the worker process. Agents are not imported here: gateway and agents do not meet."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from gateway.cli import context


def worker(
    agents: Annotated[
        list[str] | None, typer.Argument(metavar="[AGENT]...", help="Names of agents, like `index-logs`; none: all.")
    ] = None,
    name: Annotated[str, typer.Option(help="This worker's name in logs and on Kafka.")] = "",
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve /metrics, /livez and /readyz there (0: not at all).")
    ] = None,
) -> None:
    """Run agents: they turn records of Kafka topics into effects.

    Several workers share the partitions. The topics must exist (`eventsphere topics apply`).

    Examples: `eventsphere worker` · `eventsphere worker index-logs index-events --metrics-port 8090`
    """
    context.check_documents(context.startable())
    if name:
        os.environ["EVENTSPHERE_WORKER__NAME"] = name
    if metrics_port is not None:
        os.environ["EVENTSPHERE_WORKER__METRICS_PORT"] = str(metrics_port)
    os.execv(sys.executable, [sys.executable, "-m", "agents.run", *(agents or [])])  # noqa: S606
