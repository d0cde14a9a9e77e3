"""The worker process: `python -m agents.run [AGENT...]` (what `eventsphere worker` starts)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from agents.registry import chosen
from streams import home_cluster
from streams.errors import Fatal
from streams.lifecycle import run
from streams.logs import configure
from streams.settings import WrongSettings, load
from streams.worker import Worker

USAGE_STATUS = 2


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 after SIGTERM, 1 when it could not go on, 2 for wrong settings or an unknown agent."""
    parser = argparse.ArgumentParser("agents.run", description="Run agents until SIGTERM.")
    parser.add_argument("agents", nargs="*", metavar="AGENT", help="names of agents; none: all")
    names = parser.parse_args(arguments).agents
    try:
        settings = home_cluster.named(load())
        registers = chosen(names)
    except (WrongSettings, Fatal) as error:
        print(f"worker: {getattr(error, 'detail', '') or error}", file=sys.stderr)  # noqa: T201
        return USAGE_STATUS
    configure(settings, "worker")

    def register(worker: Worker) -> None:
        for each in registers.values():
            each(worker)

    def ready(worker: Worker) -> None:
        print(f"worker ready: {worker.name} runs {', '.join(registers)}", flush=True)  # noqa: T201

    return run(settings, register, ready)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that still wait for a broker must not hold the end back.
    os._exit(status)
