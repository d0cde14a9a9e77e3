"""The processing documents of a gateway: what its requests ask of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, Request

from streams.process.held import Documents
from streams.record import Record
from streams.sinks.index.ids import key_id, place_id

LOGS = "logs"


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Hold them, and look whether they change. Wrong ones are told in the log: a worker that indexes stops at them."""
    documents = Documents(app.state.services.settings.process.dir)
    await asyncio.to_thread(documents.refresh)
    app.state.documents = documents
    looking = asyncio.create_task(documents.keep(), name="process-documents")
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def held(request: Request) -> Documents:
    documents = getattr(request.app.state, "documents", None)
    return documents if isinstance(documents, Documents) else Documents("")


def as_indexed(request: Request) -> Callable[[Record], Record | None] | None:
    """Shows log records as documents have them indexed: masked, parsed, or not at all. None: there never are any.

    Which records without a key are sampled may differ from the index: their ids hold more than is known here.
    """
    documents = held(request)

    def shape(record: Record) -> Record | None:
        processor, value = documents.processor, record.value
        if processor is None or record.topic != LOGS or value is None or not processor.candidates([value]):
            return record
        try:
            done = processor.one(value, key_id(record.key) or place_id("", record.partition, record.offset))
        except ValueError:
            return None  # a dead letter, perhaps with what is to be masked
        return None if done.value is None else record._replace(value=done.value)

    return shape if documents.folder else None
