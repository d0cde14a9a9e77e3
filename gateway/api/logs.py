"""`GET /api/v1/logs`: search in container logs, and their histogram over time."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends
from fastapi import Query as FromQuery
from pydantic import BaseModel

from gateway import times
from gateway.deps import Clock, Principal, Search, need
from gateway.lists import Cursor, Limit, Names, Page, Sort, Text, names, of_index, oldest_first, tenants
from gateway.problems import bad_parameter
from schemas.base import rfc3339
from streams.sinks.index.port import Index, Kind, Query

router = APIRouter(tags=["search"])

READ = Depends(need("logs:read"))
STEPS_MS = (1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000)
LONG_STEPS_MS = (3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000, 604_800_000)
COUNTED_AT_ONCE = 8
HOUR_MS = 3_600_000


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
async def logs(
    search: Search,
    clock: Clock,
    who: Annotated[Principal, READ],
    q: Text = "",
    cluster: Names = "",
    namespace: Names = "",
    workload: Names = "",
    pod: Names = "",
    container: Names = "",
    start: str = "",
    end: str = "",
    limit: Limit = 100,
    cursor: Cursor = "",
    sort: Sort = "-time",
) -> Page:
    """Log records, newest first. `q`: words that must all occur (`"quoted phrases"`); `end` is exclusive."""
    query = Query(
        kind=Kind.LOGS,
        text=q,
        cluster=names("cluster", cluster),
        namespace=names("namespace", namespace),
        workload=names("workload", workload),
        pod=names("pod", pod),
        container=names("container", container),
        tenants=tenants(who),
        start_ms=times.parse("start", start, clock()),
        end_ms=times.parse("end", end, clock()),
        limit=limit,
        cursor=cursor,
        oldest_first=oldest_first(sort),
    )
    return of_index(await search.search(query))


@router.get("/api/v1/logs/histogram")
async def histogram(
    search: Search,
    clock: Clock,
    who: Annotated[Principal, READ],
    q: Text = "",
    cluster: Names = "",
    namespace: Names = "",
    workload: Names = "",
    pod: Names = "",
    container: Names = "",
    start: str = "-1h",
    end: str = "now",
    bars: Annotated[int, FromQuery(ge=1, le=120)] = 60,
) -> Histogram:
    """How many matching records there are in each interval of the time asked for, at most `bars` of them."""
    from_ms, to_ms = times.parse("start", start, clock()), times.parse("end", end, clock())
    if to_ms <= from_ms:
        raise bad_parameter("end", "must be after start")
    query = Query(
        kind=Kind.LOGS,
        text=q,
        cluster=names("cluster", cluster),
        namespace=names("namespace", namespace),
        workload=names("workload", workload),
        pod=names("pod", pod),
        container=names("container", container),
        tenants=tenants(who),
        limit=1,
    )
    return await counted(search, query, from_ms, to_ms, bars)


async def counted(index: Index, query: Query, from_ms: int, to_ms: int, bars: int) -> Histogram:
    """The histogram of `query` over [from_ms, to_ms), a search for each bar, a few at a time."""
    edges = intervals(from_ms, to_ms, bars)
    turn = asyncio.Semaphore(COUNTED_AT_ONCE)

    async def count(start_ms: int, end_ms: int) -> int:
        async with turn:
            page = await index.search(msgspec.structs.replace(query, start_ms=start_ms, end_ms=end_ms))
            return page.total

    step = step_ms(from_ms, to_ms, bars)
    counts = await asyncio.gather(*(count(max(edge, from_ms), min(edge + step, to_ms)) for edge in edges))
    items = [Bar(time=rfc3339(edge), time_ms=edge, count=n) for edge, n in zip(edges, counts, strict=True)]
    return Histogram(interval_ms=step, total=sum(counts), items=items)


def histogram_of(query: Query) -> Query:
    """`query` as its histogram asks it: the counts alone matter."""
    return msgspec.structs.replace(query, limit=1, cursor="")


def step_ms(from_ms: int, to_ms: int, bars: int) -> int:
    """The shortest round interval that needs no more than `bars` of them."""
    wanted = (to_ms - from_ms) / bars
    for step in (*STEPS_MS, *LONG_STEPS_MS):
        if step >= wanted and len(_edges(from_ms, to_ms, step)) <= bars:
            return step
    weeks = -(-(to_ms - from_ms) // (max(1, bars - 1) * LONG_STEPS_MS[-1]))
    return int(weeks) * LONG_STEPS_MS[-1]


def intervals(from_ms: int, to_ms: int, bars: int) -> list[int]:
    """Starts of the intervals, on round times."""
    return _edges(from_ms, to_ms, step_ms(from_ms, to_ms, bars))


def _edges(from_ms: int, to_ms: int, step: int) -> list[int]:
    return list(range(from_ms // step * step, to_ms, step))
