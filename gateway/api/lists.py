"""Lists of what was indexed: `GET /api/v1/events`, `/notifications` (with their outcomes), `/gaps`, `/audit`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from gateway import times
from gateway.deps import Clock, Principal, Search, need
from gateway.lists import (
    Cursor,
    Limit,
    Names,
    Page,
    Sort,
    Text,
    names,
    of_index,
    oldest_first,
    page_instead,
    sees,
    shown,
    tenants,
)
from gateway.problems import Problem
from streams.sinks.index.port import Kind, Query

router = APIRouter(tags=["search"])

MAX_OUTCOMES = 200


class NotificationOut(BaseModel):
    """A notification, and each attempt at delivering it, oldest first."""

    notification: dict[str, Any]
    outcomes: list[dict[str, Any]]


@router.get("/api/v1/events")
async def events(
    search: Search,
    clock: Clock,
    who: Annotated[Principal, Depends(need("events:read"))],
    q: Text = "",
    cluster: Names = "",
    namespace: Names = "",
    workload: Names = "",
    pod: Names = "",
    type: Names = "",  # noqa: A002
    reason: Names = "",
    start: str = "",
    end: str = "",
    limit: Limit = 100,
    cursor: Cursor = "",
    sort: Sort = "-time",
) -> Page:
    """Kubernetes events, newest first."""
    query = Query(
        kind=Kind.EVENTS,
        text=q,
        cluster=names("cluster", cluster),
        namespace=names("namespace", namespace),
        workload=names("workload", workload),
        pod=names("pod", pod),
        names=names("reason", reason) or names("type", type),
        tenants=tenants(who),
        start_ms=times.parse("start", start, clock()),
        end_ms=times.parse("end", end, clock()),
        limit=limit,
        cursor=cursor,
        oldest_first=oldest_first(sort),
    )
    page = await search.search(query)
    return of_index(page)


async def asked(
    clock: Clock,
    q: Text = "",
    cluster: Names = "",
    name: Names = "",
    start: str = "",
    end: str = "",
    limit: Limit = 100,
    cursor: Cursor = "",
    sort: Sort = "-time",
) -> dict[str, Any]:
    """What the simpler lists take, as fields of a query."""
    return {
        "text": q,
        "cluster": names("cluster", cluster),
        "names": names("name", name),
        "start_ms": times.parse("start", start, clock()),
        "end_ms": times.parse("end", end, clock()),
        "limit": limit,
        "cursor": cursor,
        "oldest_first": oldest_first(sort),
    }


Asked = Annotated[dict[str, Any], Depends(asked)]


@router.get("/api/v1/notifications")
async def notifications(
    search: Search, by: Asked, who: Annotated[Principal, Depends(need("notifications:read"))]
) -> Page:
    """Decisions to notify and not to, newest first. `name`: an id, receiver or decision."""
    return of_index(await search.search(Query(kind=Kind.NOTIFICATIONS, tenants=tenants(who), **by)))


@router.get("/api/v1/gaps")
async def gaps(search: Search, by: Asked, who: Annotated[Principal, Depends(need("gaps:read"))]) -> Page:
    """What may be missing and why, newest first. `name`: a source."""
    return of_index(await search.search(Query(kind=Kind.GAPS, tenants=tenants(who), **by)))


@router.get("/api/v1/audit")
async def audit_log(search: Search, by: Asked, who: Annotated[Principal, Depends(need("audit:read"))]) -> Page:
    """What was done through the gateway, newest first. `name`: an actor, verb or result."""
    return of_index(await search.search(Query(kind=Kind.AUDIT, tenants=tenants(who), **by)))


@router.get("/api/v1/notifications/{id}", dependencies=[page_instead("/notifications/{id}")])
async def notification(
    id: str,  # noqa: A002
    search: Search,
    who: Annotated[Principal, Depends(need("notifications:read"))],
) -> NotificationOut:
    """One notification and what became of it. A browser that follows a link from a mail is shown the page instead."""
    hit = await search.get(Kind.NOTIFICATIONS, id)
    if hit is None or not sees(who, str(hit.record.get("tenant", ""))):
        raise Problem(404, "Not found", f"there is no notification {id[:64]}")
    attempts = Query(kind=Kind.OUTCOMES, names=(id,), tenants=tenants(who), limit=MAX_OUTCOMES, oldest_first=True)
    return NotificationOut(
        notification=shown(hit), outcomes=[shown(each) for each in (await search.search(attempts)).items]
    )
