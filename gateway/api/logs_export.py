"""`GET /api/v1/logs/export`: every matching record as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter
from fastapi import Query as FromQuery
from fastapi.responses import StreamingResponse

from gateway.deps import Kit
from gateway.lists import Sort, oldest_first
from gateway.log_export import A_PAGE, TYPES, streamed
from gateway.log_query import Asked, Search
from gateway.problems import Problem
from gateway.services import Services
from streams.sinks.index.port import Query

router = APIRouter(tags=["search"])

MAX_EXPORTS = 8
TOTAL = "Eventsphere-Total"
ENDINGS = {"text": "log", "lines": "log", "csv": "csv", "ndjson": "ndjson"}


@router.get("/api/v1/logs/export", response_class=StreamingResponse)
async def export(
    kit: Kit,
    search: Search,
    query: Asked,
    form: Annotated[Literal["text", "csv", "ndjson"], FromQuery(alias="format")] = "text",
    limit: Annotated[int, FromQuery(ge=0, description="Records at most; 0: all.")] = 0,
    sort: Sort = "time",
) -> StreamingResponse:
    """All matching records, oldest first, of any number. `Eventsphere-Total` says how many match. A failure on the way
    is told in the last line and by a connection that is cut instead of ended."""
    asked = msgspec.structs.replace(query, oldest_first=oldest_first(sort))
    return await exported(kit, asked, limit, form)


async def exported(kit: Services, query: Query, limit: int, form: str) -> StreamingResponse:
    """Raises what the first page raises, and 503 when as many exports are under way as may be."""
    if kit.exports >= MAX_EXPORTS:
        raise Problem(503, "Service unavailable", "too many exports are under way", headers={"Retry-After": "5"})
    asked = msgspec.structs.replace(query, limit=min(A_PAGE, limit) if limit else A_PAGE)
    first = await kit.index.search(asked)

    async def body() -> AsyncIterator[bytes]:
        kit.exports += 1
        try:
            async for piece in streamed(kit.index, asked, first, limit, form):
                yield piece
        finally:
            kit.exports -= 1

    headers = {
        TOTAL: str(first.total),
        "Content-Disposition": f'attachment; filename="logs.{ENDINGS[form]}"',
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }
    return StreamingResponse(body(), media_type=TYPES[form], headers=headers)
