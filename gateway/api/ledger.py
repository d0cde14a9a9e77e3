"""`GET /api/v1/ledger`: what became of everything that was received, and whether it adds up."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends

from gateway.deps import Clock, Kit, Principal, need
from gateway.ledger import Entry
from gateway.lists import Cursor, Limit, Page, Sort, of_memory
from gateway.problems import Problem, bad_parameter
from schemas.alerts import NO_TENANT
from schemas.base import rfc3339

router = APIRouter(tags=["ledger"])

SORTS = ("topic", "received", "indexed", "dead_lettered", "in_flight", "documents")


class LedgerPage(Page):
    """`adds_up`: whether every line does, of all pages, at the time `at`."""

    at: str
    adds_up: bool


@router.get("/api/v1/ledger")
async def ledger(
    kit: Kit,
    clock: Clock,
    who: Annotated[Principal, Depends(need("ledger:read"))],
    limit: Limit = 100,
    cursor: Cursor = "",
    sort: Sort = "",
) -> LedgerPage:
    """A line for each indexed topic, in records: received = indexed + dropped + dead-lettered + in flight + expired.
    `sort`: `topic` or one of the numbers, `-` for the other way; without it in the order of the pipeline."""
    if who.tenant != NO_TENANT:
        raise Problem(403, "Forbidden", "the ledger is for the platform's own callers")
    field = sort.removeprefix("-")
    if sort and field not in SORTS:
        raise bad_parameter("sort", f"expected one of {', '.join(SORTS)}, with - in front for the other way")
    entries = await kit.ledger.entries()
    places = {entry.topic: place for place, entry in enumerate(entries)}

    def order(entry: Entry) -> tuple[object, ...]:
        return (getattr(entry, field), entry.topic) if field else (places[entry.topic],)

    page = of_memory(
        entries, order=order, reverse=sort.startswith("-"), limit=limit, cursor=cursor, show=msgspec.to_builtins
    )
    adds_up = all(entry.adds_up for entry in entries)
    return LedgerPage(**page.model_dump(), at=rfc3339(clock()), adds_up=adds_up)
