"""`GET /api/v1/usage`: how much log data each namespace, workspace, tenant or cluster sent; and its quotas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi import Query as FromQuery

from gateway import times
from gateway.account_lines import by_place, span_of
from gateway.api.ledger import Time, Window, window_ms
from gateway.deps import Clock, Kit, Principal, need
from gateway.lists import Cursor, Limit, Page, Sort, of_memory, tenants
from gateway.problems import bad_parameter
from gateway.quotas import shown
from gateway.usage import workspaces
from schemas.base import rfc3339

router = APIRouter(tags=["ledger"])

By = Annotated[
    Literal["namespace", "workspace", "tenant", "cluster"],
    FromQuery(
        description="What is told apart. Workspaces are KubeSphere's, by a watched namespace's label; else tenants."
    ),
]
NUMBERS = ("records", "bytes", "indexed_records", "indexed_bytes")
PLACES = ("workspace", "cluster", "namespace", "tenant")
SORTS = (*PLACES, "start", *NUMBERS)
TOPICS = {"logs": "index-logs"}
FOREVER = 253_402_300_800 // 3600 - 1
"""The last hour of the year 9999."""


class UsagePage(Page):
    """Logs received in `[start, end)`, in whole hours of record time."""

    start: str
    end: str


@router.get("/api/v1/usage")
async def usage(
    kit: Kit,
    clock: Clock,
    who: Annotated[Principal, Depends(need("ledger:read"))],
    by: By = "namespace",
    start: Time = "-24h",
    end: Time = "now",
    window: Window = "",
    limit: Limit = 100,
    cursor: Cursor = "",
    sort: Sort = "-bytes",
) -> UsagePage:
    """Log records and bytes by namespace, tenant or cluster, most first: received, and of these indexed (the rest was
    dropped, joined or dead-lettered). A tenant's callers see what is theirs."""
    field = sort.removeprefix("-")
    if field not in SORTS:
        raise bad_parameter("sort", f"expected one of {', '.join(SORTS)}, with - in front for the other way")
    now_ms = clock()
    span = span_of(times.parse("start", start, now_ms), times.parse("end", end, now_ms), window_ms(window))
    lines = await kit.ledger.usage.complete(await kit.cluster.snapshot())
    known = await workspaces(kit.index) if by == "workspace" else None
    found = by_place(lines, by, span, topics=TOPICS, tenants=tenants(who), workspaces=known)
    items = [row(item.shown()) for item in found]

    def order(item: dict[str, Any]) -> tuple[object, ...]:
        return (item.get(field, 0 if field in NUMBERS else ""), *map(str, item.values()))

    page = of_memory(
        items, order=order, reverse=sort.startswith("-"), limit=limit, cursor=cursor, show=lambda item: item
    )
    return UsagePage(**page.model_dump(), start=_time(span.since), end=_time(min(span.until, FOREVER)))


@router.get("/api/v1/quotas")
async def quotas(kit: Kit, who: Annotated[Principal, Depends(need("ledger:read"))], limit: Limit = 100) -> Page:
    """Today's use of each quota, most used first. A tenant's callers see what is theirs."""
    only = tenants(who)
    items = [item for item in shown(kit.quotas.used) if not only or item["tenant"] in only]
    items.sort(key=lambda item: (-float(str(item["ratio"])), str(item["quota"])))
    return Page(items=items[:limit], total=len(items))


def row(item: dict[str, Any]) -> dict[str, Any]:
    """An item of the ledger as usage shows it."""
    about = {name: item[name] for name in (*PLACES, "start", "end") if name in item}
    return about | {
        "records": item["received"],
        "bytes": item["bytes"]["received"],
        "indexed_records": item["indexed"],
        "indexed_bytes": item["bytes"]["indexed"],
    }


def _time(hour: int) -> str:
    return rfc3339(hour * 3_600_000)
