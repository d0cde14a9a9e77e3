"""Console pages of what was indexed: logs with histogram and context, Kubernetes events, notifications."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import Response

from console import charts, lines
from gateway import times
from gateway.api.logs import counted
from gateway.lists import Cursor, Names, Text, names, of_index, sees, shown, tenants
from gateway.pages import PageRoute, Viewer, typed, viewer
from gateway.problems import Problem
from gateway.records import visible
from schemas.base import rfc3339
from schemas.kube import KubeEvent
from schemas.notifications import Notification, Outcome
from streams.sinks.index.port import Kind, Query

router = APIRouter(include_in_schema=False, route_class=PageRoute)

A_PAGE, AROUND, BARS = 200, 30, 80


@router.get("/logs")
async def logs(
    view: Annotated[Viewer, viewer("logs:read")],
    q: Text = "",
    cluster: Names = "",
    namespace: Names = "",
    workload: Names = "",
    pod: Names = "",
    container: Names = "",
    start: str = "",
    end: str = "",
    cursor: Cursor = "",
    tail: str = "",
) -> Response:
    kit, now = view.kit, view.kit.clock()
    asked = {
        "q": q,
        "cluster": cluster,
        "namespace": namespace,
        "workload": workload,
        "pod": pod,
        "container": container,
        "start": start or "-1h",
        "end": end,
    }
    query = Query(
        kind=Kind.LOGS,
        text=q,
        cluster=names("cluster", cluster),
        namespace=names("namespace", namespace),
        workload=names("workload", workload),
        pod=names("pod", pod),
        container=names("container", container),
        tenants=tenants(view.who),
        start_ms=times.parse("start", asked["start"], now),
        end_ms=times.parse("end", end, now) or now + 1,
        limit=A_PAGE,
        cursor=cursor,
    )
    page = of_index(await kit.index.search(query)).model_dump()
    page["items"] = [lines.shown(item) for item in page["items"]]
    counts = await kit.index.counts(Kind.LOGS, ("cluster", "namespace")) if not tenants(view.who) else {}
    live = {name: asked[name] for name in ("q", "cluster", "namespace", "pod", "container") if asked[name]}
    return view.page(
        "logs.html",
        live=live | {"tail": "1"} if tail else None,
        asked=asked,
        page=page,
        namespaces=sorted({place for _, place in counts if place}),
        clusters=sorted({place for place, _ in counts if place}),
        **await _histogram(view, query, cursor),
    )


async def _histogram(view: Viewer, query: Query, cursor: str) -> dict[str, Any]:
    """The bars above the first page; further pages do without."""
    if cursor or query.end_ms <= query.start_ms:
        return {"histogram": None, "bars": []}
    found = await counted(view.kit.index, query, query.start_ms, query.end_ms, BARS)
    bars = charts.bars([(bar.time_ms, bar.count) for bar in found.items], found.interval_ms)
    about = {
        "total": found.total,
        "interval_ms": found.interval_ms,
        "start": rfc3339(query.start_ms),
        "end": rfc3339(query.end_ms),
    }
    return {"histogram": about, "bars": bars}


@router.get("/logs/context/{topic}/{partition}/{offset}")
async def context(
    topic: str,
    partition: Annotated[int, Path(ge=0)],
    offset: Annotated[int, Path(ge=0, le=2**62)],
    view: Annotated[Viewer, viewer("logs:read")],
) -> Response:
    """The lines of the same container before and after a record."""
    found = await view.kit.reader.one(topic, partition, offset) if topic == "logs" else None
    if found is None or not visible(view.who, found):
        raise Problem(404, "Not found", "the record is not there (any more)")
    record = _object(found.value)
    kubernetes = record.get("kubernetes")
    about = kubernetes if isinstance(kubernetes, dict) else {}
    pod, container = str(about.get("pod_name", "")), str(about.get("container_name", ""))
    at = found.timestamp_ms
    place: dict[str, Any] = {"kind": Kind.LOGS, "tenants": tenants(view.who), "limit": AROUND}
    place |= {"pod": (pod,) if pod else (), "container": (container,) if container else ()}
    search = view.kit.index.search
    before = (await search(Query(**place, end_ms=at + 1))).items
    after = (await search(Query(**place, start_ms=at + 1, oldest_first=True))).items
    items = [lines.shown(shown(hit)) for hit in [*reversed(before), *after]]
    for item in items:
        item["here"] = (item["partition"], item["offset"]) == (partition, offset)
    return view.page("context.html", items=items, pod=pod, container=container)


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


def _object(value: bytes | None) -> dict[str, Any]:
    import orjson

    try:
        record = orjson.loads(value or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return record if isinstance(record, dict) else {}
