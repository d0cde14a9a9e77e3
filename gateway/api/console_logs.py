"""Console pages of what was indexed: Kubernetes events, notifications."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response

from gateway import times
from gateway.lists import Cursor, Names, Text, names, of_index, sees, shown, tenants
from gateway.pages import PageRoute, Viewer, typed, viewer
from gateway.problems import Problem
from schemas.kube import KubeEvent
from schemas.notifications import Notification, Outcome
from streams.sinks.index.port import Kind, Query

router = APIRouter(include_in_schema=False, route_class=PageRoute)

A_PAGE = 200


@router.get("/events")
async def events(
    view: Annotated[Viewer, viewer("events:read")],
    q: Text = "",
    cluster: Names = "",
    namespace: Names = "",
    pod: Names = "",
    name: Names = "",
    start: str = "",
    end: str = "",
    cursor: Cursor = "",
) -> Response:
    now = view.kit.clock()
    asked = {"q": q, "cluster": cluster, "namespace": namespace, "pod": pod, "name": name, "start": start, "end": end}
    query = Query(
        kind=Kind.EVENTS,
        text=q,
        cluster=names("cluster", cluster),
        namespace=names("namespace", namespace),
        pod=names("pod", pod),
        names=names("name", name),
        tenants=tenants(view.who),
        start_ms=times.parse("start", start, now),
        end_ms=times.parse("end", end, now),
        cursor=cursor,
    )
    page = of_index(await view.kit.index.search(query)).model_dump()
    page["items"] = typed(page["items"], KubeEvent)
    return view.page("events.html", asked=asked, page=page)


@router.get("/notifications")
async def notifications(view: Annotated[Viewer, viewer("notifications:read")], cursor: Cursor = "") -> Response:
    query = Query(kind=Kind.NOTIFICATIONS, tenants=tenants(view.who), cursor=cursor)
    page = of_index(await view.kit.index.search(query)).model_dump()
    page["items"] = typed(page["items"], Notification)
    return view.page("notifications.html", page=page)


@router.get("/notifications/{id}")
async def notification(
    id: str,  # noqa: A002
    view: Annotated[Viewer, viewer("notifications:read")],
) -> Response:
    hit = await view.kit.index.get(Kind.NOTIFICATIONS, id)
    if hit is None or not sees(view.who, str(hit.record.get("tenant", ""))):
        raise Problem(404, "Not found", "there is no such notification (yet)")
    attempts = Query(kind=Kind.OUTCOMES, names=(id,), tenants=tenants(view.who), limit=A_PAGE, oldest_first=True)
    outcomes = typed([shown(each) for each in (await view.kit.index.search(attempts)).items], Outcome)
    known = typed([shown(hit)], Notification)
    if not known:
        raise Problem(422, "That cannot be shown", "The record is not a notification as its schema says.")
    return view.page("notification.html", item=known[0], n=known[0]["record"], outcomes=outcomes)
