"""`GET /api/v1/ledger`: what became of everything that was received, and whether it adds up."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends
from fastapi import Query as FromQuery

from gateway import times
from gateway.account_lines import Span, by_place, by_source, span_of
from gateway.deps import Clock, Kit, Principal, need
from gateway.ledger import INDEXED, Entry
from gateway.lists import Cursor, Limit, Page, Sort, of_memory, tenants
from gateway.problems import Problem, bad_parameter
from gateway.services import Services
from schemas.alerts import NO_TENANT
from schemas.base import rfc3339

router = APIRouter(tags=["ledger"])

SORTS = ("topic", "received", "indexed", "dropped", "dead_lettered", "in_flight", "documents")
LINE_SORTS = ("topic", "start", "source", "cluster", "namespace", "received", "indexed", "dropped", "dead_lettered")
TOPICS = {each.topic: each.agent for each in INDEXED}

By = Annotated[
    Literal["", "source", "cluster", "namespace"],
    FromQuery(description="What is told apart; without it a line a topic."),
]
Window = Annotated[str, FromQuery(max_length=8, description="Hours counted together: `1h`, `6h`, `1d`.")]
Time = Annotated[str, FromQuery(max_length=64)]


class LedgerPage(Page):
    """`adds_up`: whether every line does, of all pages, at the time `at`."""

    at: str
    adds_up: bool


@router.get("/api/v1/ledger")
async def ledger(
    kit: Kit,
    clock: Clock,
    who: Annotated[Principal, Depends(need("ledger:read"))],
    by: By = "",
    window: Window = "",
    start: Time = "",
    end: Time = "",
    limit: Limit = 100,
    cursor: Cursor = "",
    sort: Sort = "",
) -> LedgerPage:
    """A line for each indexed topic, in records and bytes: received = indexed + dropped + joined + dead-lettered + in
    flight + expired. `sort`: `topic` or one of the numbers, `-` for the other way.

    `by` tells sources, clusters or namespaces apart, `window`, `start` and `end` hours of record time: of what was
    processed, so nothing is in flight there. A tenant's callers see their own namespaces' lines only (`by` is
    `namespace` for them, or `cluster`)."""
    now_ms = clock()
    span = span_of(times.parse("start", start, now_ms), times.parse("end", end, now_ms), window_ms(window))
    if who.tenant != NO_TENANT:
        if by == "source":
            raise Problem(403, "Forbidden", "what sources took is for the platform's own callers")
        by = by or "namespace"
    elif not by and span != Span():
        by = "cluster"
    if by:
        return await _lines(kit, who, by, span, limit, cursor, sort)
    field = _field(sort, SORTS)
    entries = await kit.ledger.entries(now_ms)
    places = {entry.topic: place for place, entry in enumerate(entries)}

    def order(entry: Entry) -> tuple[object, ...]:
        return (getattr(entry, field), entry.topic) if field else (places[entry.topic],)

    page = of_memory(
        entries, order=order, reverse=sort.startswith("-"), limit=limit, cursor=cursor, show=msgspec.to_builtins
    )
    adds_up = all(entry.adds_up for entry in entries)
    return LedgerPage(**page.model_dump(), at=rfc3339(now_ms), adds_up=adds_up)


async def _lines(kit: Services, who: Principal, by: str, span: Span, limit: int, cursor: str, sort: str) -> LedgerPage:
    field = _field(sort, LINE_SORTS)
    seen = await kit.cluster.snapshot(max_age_s=0)
    lines = await kit.ledger.usage.complete(seen)
    if by == "source":
        items = by_source(lines, span, seen)
    else:
        items = [item.shown() for item in by_place(lines, by, span, topics=TOPICS, tenants=tenants(who))]
    numbered = list(enumerate(items))

    def order(item: tuple[int, dict[str, Any]]) -> tuple[object, ...]:
        if not field:
            return (item[0],)
        value = item[1].get(field, "")
        return (value if isinstance(value, int) else 0, str(value), item[0])

    page = of_memory(
        numbered, order=order, reverse=sort.startswith("-"), limit=limit, cursor=cursor, show=lambda item: item[1]
    )
    adds_up = all(item["received"] >= 0 for item in items)
    if who.tenant == NO_TENANT:
        adds_up = adds_up and all(entry.adds_up for entry in await kit.ledger.entries(kit.clock()))
    return LedgerPage(**page.model_dump(), at=rfc3339(kit.clock()), adds_up=adds_up)


def _field(sort: str, known: tuple[str, ...]) -> str:
    field = sort.removeprefix("-")
    if sort and field not in known:
        raise bad_parameter("sort", f"expected one of {', '.join(known)}, with - in front for the other way")
    return field


def window_ms(text: str) -> int:
    """`1h` -> ms; 0 for none. Raises 422 for less than an hour, or what is no duration."""
    if not text:
        return 0
    match = re.fullmatch(r"(\d{1,4})([hdw])", text)
    if match is None or int(match[1]) == 0:
        raise bad_parameter("window", "expected whole hours, days or weeks, such as 1h or 7d")
    return int(match[1]) * times.UNITS_MS[match[2]]
