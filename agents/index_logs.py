"""logs -> search index (`logs`).

Key: none needed. Guarantee: every record is in the index once, under an id that is a function of the record, before
its offset is committed; what is no JSON object is a dead letter. What processing documents say is done before: records
they drop are counted, those they do not touch go as they were read, their bytes unparsed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import faust
import msgspec

from schemas.accounts import QuotaExceeded
from streams.accounts import Report, log_places, no_places
from streams.batch import Batch
from streams.errors import Invalid
from streams.metrics import PROCESSED, PROCESSED_BYTES
from streams.process.held import Documents
from streams.process.processor import Processed, Processor, Run
from streams.quotas import TOPIC as QUOTAS
from streams.quotas import Limits, limited
from streams.retention.duty import keep
from streams.sinks.index.port import Index, Kind

if TYPE_CHECKING:
    from streams.worker import Handle, Worker

NAME = "index-logs"
TOPIC = "logs"
READERS = 4
"""Partitions written side by side: the index makes their batches durable together."""

AT_ONCE = 2_000
"""Records processed before the event loop may do something else."""


def writer_of(index: Index, documents: Documents) -> Handle:
    """The `handle` of the agent: returns when what the documents leave of a batch is in the index."""

    async def write(batch: Batch) -> None:
        if documents.processor is None:
            await index.write(Kind.LOGS, batch)
            return
        done = await _processed(documents.processor, batch)
        if done.bad:
            raise Invalid("refused", next(iter(done.bad.values())), done.bad)
        await _write(index, done)
        batch.report = _report(done)
        count(done)

    return write


async def _processed(processor: Processor, batch: Batch) -> Processed:
    run = Run(processor, batch)
    for start in range(0, len(batch), AT_ONCE):
        if start:
            await asyncio.sleep(0)
        run.look(start, start + AT_ONCE)
    return run.done()


async def _write(index: Index, done: Processed) -> None:
    """Write what is left. Raises Invalid with positions in the batch as it came."""
    if done.batch is None:
        return
    try:
        await index.write(Kind.LOGS, done.batch)
    except Invalid as error:
        if error.indexes:
            at = {done.origin(position): why for position, why in error.indexes.items()}
            raise Invalid(error.reason, error.detail, at) from error
        raise


def _report(done: Processed) -> Report | None:
    if not done.dropped:
        return None
    report = Report()
    for document, positions in done.dropped.items():
        report.dropped(document, positions)
    return report


def count(done: Processed) -> None:
    for (document, step), (records, nbytes) in done.touched.items():
        PROCESSED.labels(document, step).inc(records)
        PROCESSED_BYTES.labels(document, step).inc(nbytes)


def register(worker: Worker) -> None:
    documents = Documents(worker.settings.process.dir)
    documents.start()
    index = worker.index()
    source = worker.source(NAME, [TOPIC], log_places if worker.settings.worker.count_places else no_places)
    write = writer_of(index, documents)
    if quotas := worker.settings.quotas:
        held = worker.view(QUOTAS, msgspec.json.Decoder(QuotaExceeded).decode)
        write = limited(write, Limits(quotas, held.values, worker.clock))
    worker.task("process-documents", documents.keep)
    keep(worker)

    @worker.app.agent(source.channel, name=NAME, concurrency=READERS)
    async def index_logs(batches: faust.StreamT[Batch]) -> None:
        async for batch in batches:
            await worker.deliver(source, batch, write)
