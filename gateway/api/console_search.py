"""The console's page of logs: a search in the query language with histogram, fields, export and saved searches, and the
lines around one record. All state is in the URL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Path
from fastapi.responses import RedirectResponse, Response

from console import charts, lines
from gateway import saved_queries
from gateway.api.logs import counted
from gateway.api.logs_fields import counted_fields
from gateway.api.logs_queries import Asks, checked
from gateway.lists import Cursor, Names, Text, names, of_index, shown, tenants
from gateway.log_query import PLACES, around, place_of, query_of
from gateway.pages import PageRoute, Sent, Viewer, sent, viewer
from gateway.problems import Problem
from schemas.base import rfc3339
from schemas.tables import NAME_LENGTH, SavedQuery
from streams.sinks.index.language import QueryError
from streams.sinks.index.language_parser import parse
from streams.sinks.index.port import Kind, Query

router = APIRouter(include_in_schema=False, route_class=PageRoute)

A_PAGE, AROUND, BARS, TOP, CHOICES = 200, 30, 80, 5, 200
FORMATS = ("text", "csv", "ndjson")
HERE = "/logs"


@router.get(HERE)
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
    field: Names = "",
    tail: str = "",
) -> Response:
    places = dict(zip(PLACES, (cluster, namespace, workload, pod, container), strict=True))
    asked = {"q": q, **places, "start": start or "-1h", "end": end}
    problem = _problem(q)
    query = _query(view, asked | ({"q": ""} if problem else {}), cursor)
    found = {} if problem else await _found(view, query, names("field", field))
    live = {name: value for name, value in asked.items() if value and name not in ("start", "end", "workload")}
    if owners := names("workload", workload):
        wanted = " OR ".join(_quoted(owner) for owner in owners)
        live["q"] = _narrowed(q, f"workload:({wanted})")
    return view.page(
        "logs.html",
        live=live | {"tail": "1"} if tail and not problem else None,
        asked=asked,
        problem=problem,
        saved=await _saved(view),
        exports={form: _export(asked, form) for form in FORMATS},
        **NOTHING | await _places(view, query) | found,
    )


NOTHING: dict[str, Any] = {
    "page": {"items": [], "total": 0, "next": ""},
    "histogram": None,
    "bars": [],
    "fields": [],
    "others": [],
}


def _query(view: Viewer, asked: Mapping[str, str], cursor: str) -> Query:
    now = view.kit.clock()
    query = query_of(asked, view.who, now)
    return msgspec.structs.replace(query, end_ms=query.end_ms or now + 1, limit=A_PAGE, cursor=cursor)


def _problem(q: str) -> dict[str, str] | None:
    """What is wrong with a query, and the query cut in two where."""
    try:
        parse(q)
    except QueryError as error:
        return {"before": q[: error.position], "after": q[error.position :] or " ", "why": error.why}
    return None


async def _found(view: Viewer, query: Query, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The page; above the first one, the bars and the fields too."""
    index = view.kit.index
    if query.cursor or query.end_ms <= query.start_ms:
        return {"page": _shown(await index.search(query))}
    page, histogram, fields = await asyncio.gather(
        index.search(query),
        counted(index, query, query.start_ms, query.end_ms, BARS),
        counted_fields(index, query, wanted, TOP),
    )
    bars = charts.bars([(bar.time_ms, bar.count) for bar in histogram.items], histogram.interval_ms)
    about = {
        "total": histogram.total,
        "interval_ms": histogram.interval_ms,
        "start": rfc3339(query.start_ms),
        "end": rfc3339(query.end_ms),
    }
    listed = [
        {
            "name": each.field,
            "records": each.records,
            "values": [_value(query.text, each.field, v.value, v.count) for v in each.values],
        }
        for each in fields.items
    ]
    return {"page": _shown(page), "histogram": about, "bars": bars, "fields": listed, "others": fields.others}


def _shown(found: Any) -> dict[str, Any]:
    page = of_index(found).model_dump()
    page["items"] = [lines.shown(item) for item in page["items"]]
    return page


def _value(q: str, field: str, value: str, count: int) -> dict[str, Any]:
    """A value of a field, and the queries that narrow `q` down to it and to all but it."""
    asks = f"{field}:{_quoted(value)}"
    return {
        "value": value,
        "count": count,
        "asks": asks,
        "only": _narrowed(q, asks),
        "without": _narrowed(q, f"NOT {asks}"),
    }


def _narrowed(q: str, condition: str) -> str:
    """What `q` finds of what `condition` holds for; OR binds less than standing beside each other."""
    return f"({q}) {condition}" if " OR " in q else f"{q} {condition}".strip()


def _quoted(value: str) -> str:
    """A value of a field as the query language writes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


async def _places(view: Viewer, query: Query) -> dict[str, Any]:
    """Names to choose from: those of the time looked at."""
    index = view.kit.index
    anywhere = Query(kind=Kind.LOGS, tenants=query.tenants, start_ms=query.start_ms, end_ms=query.end_ms)
    found = await asyncio.gather(*(index.top(anywhere, field, CHOICES) for field in ("namespace", "cluster")))
    namespaces, clusters = (sorted(value for value, _ in each.values) for each in found)
    return {"namespaces": namespaces, "clusters": clusters}


async def _saved(view: Viewer) -> list[dict[str, Any]]:
    rows = await view.kit.accounts.work(lambda session: saved_queries.seen_by(session, view.who))
    return [_link(row, view) for row in rows]


def _link(row: SavedQuery, view: Viewer) -> dict[str, Any]:
    mine = row.owner == saved_queries.owner(view.who)
    to = f"{HERE}?{urlencode(saved_queries.asked(row))}"
    return {"id": row.id, "name": row.name, "href": to, "mine": mine, "owner": row.owner, "shared": row.shared}


def _export(asked: Mapping[str, str], form: str) -> str:
    return "/api/v1/logs/export?" + urlencode({k: v for k, v in asked.items() if v} | {"format": form})


@router.post("/logs/saved")
async def save(form: Annotated[Sent, sent("logs:read")]) -> RedirectResponse:
    """Keep the search of the page the form is on."""
    view, fields = form.viewer, form.fields
    name = fields.get("name", "").strip()[:NAME_LENGTH]
    if not name:
        raise Problem(422, "That cannot be", "A saved search needs a name.")
    asks = checked(Asks(**{each: fields.get(each, "")[:1024] for each in Asks.model_fields}), view.kit.clock())
    shared, id_, now = fields.get("shared") == "on", view.kit.new_id(), view.kit.clock()
    await view.kit.accounts.work(
        lambda session: saved_queries.create(session, view.who, id_, name, asks, now, shared=shared)
    )
    return form.back("saved", HERE)


@router.post("/logs/saved/{id}/delete")
async def forget(id: str, form: Annotated[Sent, sent("logs:read")]) -> RedirectResponse:  # noqa: A002
    view = form.viewer
    await view.kit.accounts.work(lambda session: saved_queries.remove(session, view.who, id))
    return form.back("forgotten", HERE)


@router.get("/logs/context/{topic}/{partition}/{offset}")
async def context(
    topic: str,
    partition: Annotated[int, Path(ge=0)],
    offset: Annotated[int, Path(ge=0, le=2**62)],
    view: Annotated[Viewer, viewer("logs:read")],
) -> Response:
    """The lines of the same container before and after a record."""
    index = view.kit.index
    wanted = Query(kind=Kind.LOGS, partition=partition, offset=offset, tenants=tenants(view.who), limit=1)
    found = (await index.search(wanted)).items if topic == "logs" else []
    if not found:
        raise Problem(404, "Not found", "the record is not there (any more)")
    hit, place = found[0], place_of(found[0], view.who)
    before, after = await around(index, place, hit, before=AROUND, after=AROUND)
    items = [lines.shown(shown(each)) for each in [*before, hit, *after]]
    items[len(before)]["here"] = True
    pod, container = ("".join(getattr(place, name)) for name in ("pod", "container"))
    return view.page("context.html", items=items, pod=pod, container=container)
