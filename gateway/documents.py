"""The processing documents of a gateway: what its requests ask of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request

from streams.process.held import Documents


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
