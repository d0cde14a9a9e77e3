"""A worker process for tests: `python -m tests.worker.child AGENT TOPIC` prints what it hears and gets.

`got N` for each batch, `heard TYPE by BY` for each control message, `ready` once.
"""

from __future__ import annotations

import os
import sys

import faust

from schemas.platform import Control
from streams.batch import Batch
from streams.lifecycle import run
from streams.logs import configure
from streams.settings import load
from streams.worker import Worker


def register(worker: Worker, agent: str, topic: str) -> None:
    source = worker.source(agent, [topic])

    async def got(batch: Batch) -> None:
        print(f"got {len(batch)}", flush=True)

    @worker.app.agent(source.channel, name=agent)
    async def printing(batches: faust.StreamT[Batch]) -> None:
        async for batch in batches:
            await worker.deliver(source, batch, got)

    async def heard(message: Control) -> None:
        print(f"heard {message.type} by {message.by}", flush=True)

    worker.on_control(heard)


def main(agent: str, topic: str) -> int:
    settings = load()
    configure(settings, "worker")
    return run(settings, lambda worker: register(worker, agent, topic), lambda _worker: print("ready", flush=True))


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
