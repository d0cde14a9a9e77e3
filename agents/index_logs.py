"""logs -> search index (`logs`).

Key: none needed. Guarantee: every record is in the index once, under an id that is a function of the record, before
its offset is committed; what is no JSON object is a dead letter. Batches go as they are read, their bytes unparsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import faust

from streams.batch import Batch
from streams.sinks.index.port import Kind

if TYPE_CHECKING:
    from streams.worker import Worker

NAME = "index-logs"
TOPIC = "logs"
READERS = 4
"""Partitions written side by side: the index makes their batches durable together."""


def register(worker: Worker) -> None:
    index = worker.index()
    source = worker.source(NAME, [TOPIC])

    async def write(batch: Batch) -> None:
        await index.write(Kind.LOGS, batch)

    @worker.app.agent(source.channel, name=NAME, concurrency=READERS)
    async def index_logs(batches: faust.StreamT[Batch]) -> None:
        async for batch in batches:
            await worker.deliver(source, batch, write)
