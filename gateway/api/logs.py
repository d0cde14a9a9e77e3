"""`GET /api/v1/logs`: search in container logs, and their histogram over time."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import BaseModel

from gateway.lists import Cursor, Limit, Page, Sort, of_index, oldest_first
from gateway.log_query import Asked, AskedOfTime, Search
from schemas.base import rfc3339
from streams.sinks.index.port import Index, Query

router = APIRouter(tags=["search"])

STEPS_MS = (1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000)
LONG_STEPS_MS = (3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000, 604_800_000)


class Bar(BaseModel):
    time: str
    """Start of the interval, RFC 3339."""
    time_ms: int
    count: int


class Histogram(BaseModel):
    interval_ms: int
    total: int
    items: list[Bar]


@router.get("/api/v1/logs")
async def logs(search: Search, query: Asked, limit: Limit = 100, cursor: Cursor = "", sort: Sort = "-time") -> Page:
    """Log records, newest first. `q` is in the query language (docs/concepts/search.md): words that must all occur,
    `"phrases"`, `field:value`, AND, OR, NOT, ranges, `/patterns/`; `end` is exclusive."""
    page = msgspec.structs.replace(query, limit=limit, cursor=cursor, oldest_first=oldest_first(sort))
    return of_index(await search.search(page))


@router.get("/api/v1/logs/histogram")
async def histogram(
    search: Search, query: AskedOfTime, bars: Annotated[int, FromQuery(ge=1, le=120)] = 60
) -> Histogram:
    """How many matching records there are in each interval of the time asked for (the last hour), at most `bars`."""
    return await counted(search, query, query.start_ms, query.end_ms, bars)


async def counted(index: Index, query: Query, from_ms: int, to_ms: int, bars: int) -> Histogram:
    """The histogram of `query` over [from_ms, to_ms)."""
    step = step_ms(from_ms, to_ms, bars)
    found = await index.histogram(msgspec.structs.replace(query, start_ms=from_ms, end_ms=to_ms), step)
    counts = {edge: found.get(edge, 0) for edge in _edges(from_ms, to_ms, step)}
    items = [Bar(time=rfc3339(edge), time_ms=edge, count=count) for edge, count in counts.items()]
    return Histogram(interval_ms=step, total=sum(counts.values()), items=items)


def step_ms(from_ms: int, to_ms: int, bars: int) -> int:
    """The shortest round interval that needs no more than `bars` of them."""
    wanted = (to_ms - from_ms) / bars
    for step in (*STEPS_MS, *LONG_STEPS_MS):
        if step >= wanted and len(_edges(from_ms, to_ms, step)) <= bars:
            return step
    weeks = -(-(to_ms - from_ms) // (max(1, bars - 1) * LONG_STEPS_MS[-1]))
    return int(weeks) * LONG_STEPS_MS[-1]


def _edges(from_ms: int, to_ms: int, step: int) -> list[int]:
    return list(range(from_ms // step * step, to_ms, step))
