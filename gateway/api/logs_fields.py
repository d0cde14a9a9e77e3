"""`GET /api/v1/logs/fields`: which fields matching records have, and their most frequent values."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

import msgspec
from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import BaseModel

from gateway.lists import Names, names
from gateway.log_query import AskedOfTime, Search
from gateway.problems import bad_parameter
from streams.errors import Invalid
from streams.sinks.index.language_fields import LEVELS, pairs
from streams.sinks.index.port import Hit, Index, Query

router = APIRouter(tags=["search"])

USUAL = ("cluster", "namespace", "pod", "container", "level", "stream")
SAMPLE = 200
AT_ONCE = 3
MAX_FIELDS = 20


class Value(BaseModel):
    value: str
    count: int


class Field(BaseModel):
    field: str
    """As the query language names it."""
    records: int
    """Matching records that have it."""
    values: list[Value]


class Fields(BaseModel):
    total: int
    """Matching records."""
    items: list[Field]
    others: list[str]
    """More fields, of the newest matching records: ask for their values by `field`."""


@router.get("/api/v1/logs/fields")
async def fields(
    search: Search, query: AskedOfTime, field: Names = "", top: Annotated[int, FromQuery(ge=1, le=100)] = 10
) -> Fields:
    """Fields of the matching records of a time (the last hour) with their most frequent values: the usual ones, or
    those named by `field` (several by commas)."""
    wanted = names("field", field)
    if len(wanted) > MAX_FIELDS:
        raise bad_parameter("field", f"at most {MAX_FIELDS}")
    return await counted_fields(search, query, wanted, top)


async def counted_fields(index: Index, query: Query, wanted: tuple[str, ...], top: int) -> Fields:
    sample = await index.search(msgspec.structs.replace(query, limit=SAMPLE))
    turn = asyncio.Semaphore(AT_ONCE)

    async def count(name: str) -> Field:
        async with turn:
            try:
                found = await index.top(query, name, top)
            except Invalid as error:
                raise bad_parameter("field", error.detail) if error.reason == "field" else error from None
        values = [Value(value=value, count=count) for value, count in found.values]
        return Field(field=name, records=found.records, values=values)

    items = await asyncio.gather(*(count(name) for name in wanted or USUAL))
    known = set(wanted or USUAL)
    others = [name for name in paths(sample.items) if name not in known]
    return Fields(total=sample.total, items=[each for each in items if each.records or wanted], others=others)


def paths(hits: list[Hit]) -> list[str]:
    """Names of the fields of records, those most have first."""
    counts: Counter[str] = Counter()
    for hit in hits:
        counts.update({"level" if path in LEVELS else path for path, _, _ in pairs(hit.record)})
    return sorted(counts, key=lambda name: (-counts[name], name))
