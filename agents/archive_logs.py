"""logs -> archive (`archive.url`; without one this agent does nothing).

Key: none needed. Guarantee: every record is in exactly one object of the archive, under a name that says which offsets
are in it, before its offset is committed. What processing documents drop is left out, what they mask is masked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import faust

from streams.archive.archiver import Archiver
from streams.archive.store import open_store
from streams.batch import Batch
from streams.process.held import Documents
from streams.source import BatchSource

if TYPE_CHECKING:
    from streams.worker import Worker

NAME = "archive-logs"
TOPIC = "logs"
ENOUGH = 5_000
"""Records waiting that are not kept waiting longer: every object written again costs what is in it already."""
STEP_S = 1.0


def left_by(documents: Documents, batch: Batch) -> Batch | None:
    """What the processing documents leave of a batch."""
    if documents.processor is None:
        return batch
    done = documents.processor.run(batch)
    if not done.bad:
        return done.batch
    # What should be masked and cannot be read is a dead letter of index-logs.
    return documents.processor.run(batch.without(done.bad)).batch if len(done.bad) < len(batch) else None


def register(worker: Worker) -> None:
    if not worker.settings.archive.url:
        return
    documents = Documents(worker.settings.process.dir)
    documents.start()
    worker.task("archive-documents", documents.keep)
    store = open_store(worker.settings.archive)
    archiver = Archiver(store, lambda batch: left_by(documents, batch))
    source = worker.source(NAME, [TOPIC])

    async def forget(partitions: Sequence[tuple[str, int]]) -> None:
        for topic, partition in partitions:
            archiver.forget(topic, partition)

    source.on_revoked.append(forget)

    @worker.app.agent(source.channel, name=NAME)
    async def archive_logs(batches: faust.StreamT[Batch]) -> None:
        async for batch in batches:
            await worker.deliver(source, batch, archiver.write)
            await _pause(worker, source)


async def _pause(worker: Worker, source: BatchSource) -> None:
    """Let records gather, as long as no record waits longer than asked for."""
    left = worker.settings.archive.max_wait_s / max(1, len(source.assigned))
    while left > 0 and source.lag < ENOUGH and not source.should_stop:
        worker.watchdog.backing_off(NAME, STEP_S)
        await asyncio.sleep(min(STEP_S, left))
        left -= STEP_S
