"""Console pages of the platform itself: overview, topics, single records, dead letters, the local mailbox."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from console.flow import picture
from gateway import console_stats, dead_letters, letters
from gateway.api.dead_letters import topic_of
from gateway.api.topics import declared_or_404, described
from gateway.deps import audit
from gateway.ledger import shown as shown_ledger
from gateway.lists import Cursor, Text, pack, tenants, unpack
from gateway.lists import shown as shown_hit
from gateway.mail_store import MailStore
from gateway.pages import PageRoute, Sent, Viewer, sent, typed, viewer
from gateway.problems import Problem
from gateway.records import shown, visible
from schemas.alerts import NO_TENANT
from schemas.catalogue import catalogue, declared, dlq_name
from schemas.platform import Gap
from streams.errors import Failure, Retryable
from streams.record import Record
from streams.sinks.index.port import Kind, Query

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MAILS, LETTERS, NEWEST, GAPS = 50, 50, 20, 5
SORTS = ("name", "records", "lag", "dead_letters")
MAIL_CSP = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data:; frame-ancestors 'self'"
)


@router.get("/")
async def overview(view: Annotated[Viewer, viewer("status:read")], request: Request) -> Response:
    checks = await request.app.state.readiness.checks()
    return view.page(
        "overview.html",
        stats=await console_stats.gathered(view.kit, view.who),
        flow=picture(declared().values()),
        checks=checks,
        ready=all(check["ok"] for check in checks.values()),
        ledger=await _ledger(view),
        gaps=await _gaps(view),
    )


async def _ledger(view: Viewer) -> dict[str, Any] | None:
    """Nothing while Kafka or the index is away: the rest of the page stands."""
    if view.who.tenant != NO_TENANT or not view.who.may("ledger:read"):
        return None
    try:
        return shown_ledger(await view.kit.ledger.entries(view.kit.clock()), view.kit.clock())
    except Failure:
        return None


async def _gaps(view: Viewer) -> list[dict[str, Any]]:
    if not view.who.may("gaps:read"):
        return []
    try:
        found = await view.kit.index.search(Query(kind=Kind.GAPS, tenants=tenants(view.who), limit=GAPS))
    except Retryable:
        return []
    return typed([shown_hit(hit) for hit in found.items], Gap)


@router.get("/topics")
async def topics(view: Annotated[Viewer, viewer("status:read")], sort: str = "name") -> Response:
    field = sort.removeprefix("-")
    if field not in SORTS:
        raise Problem(422, "That cannot be", f"sort: expected one of {', '.join(SORTS)}")
    seen = await view.kit.cluster.snapshot()
    items = [described(topic, seen) for topic in declared().values()]
    items.sort(key=lambda item: (item[field], item["name"]), reverse=sort.startswith("-"))
    return view.page("topics.html", items=items, sort=sort)


@router.get("/topics/{topic}")
async def topic(topic: str, view: Annotated[Viewer, viewer("status:read")]) -> Response:
    found = declared_or_404(topic)
    seen = await view.kit.cluster.snapshot()
    may_read = view.who.may(f"topics:{topic}:read") and (found.public or view.who.is_admin)
    newest = await _newest(view, topic) if may_read else []
    example = orjson.loads(found.example) if found.example else None
    return view.page("topic.html", topic=described(found, seen), newest=newest, may_read=may_read, example=example)


async def _newest(view: Viewer, topic: str) -> list[dict[str, Any]]:
    spans = (await view.kit.cluster.snapshot()).topics.get(topic, [])
    each = max(2, NEWEST // max(1, len(spans)))
    reads = [
        view.kit.reader.span(topic, number, max(span.start, span.end - each), span.end)
        for number, span in enumerate(spans)
        if span.end > span.start
    ]
    found: list[Record] = [record for records in await asyncio.gather(*reads) for record in records]
    found.sort(key=lambda record: record.timestamp_ms, reverse=True)
    return [shown(record) for record in found if visible(view.who, record)][:NEWEST]


@router.get("/records/{topic}/{partition}/{offset}")
async def record(
    topic: str,
    partition: Annotated[int, Path(ge=0, le=100_000)],
    offset: Annotated[int, Path(ge=0, le=2**62)],
    view: Annotated[Viewer, viewer("topics:{topic}:read")],
) -> Response:
    found = await view.kit.reader.one(topic, partition, offset) if topic in catalogue() else None
    if found is None or not visible(view.who, found):
        raise Problem(404, "Not found", f"{topic} has no record at partition {partition}, offset {offset} (any more).")
    return view.page("record.html", r=shown(found))


@router.get("/dead-letters")
async def dlq(view: Annotated[Viewer, viewer("dlq:read")], topic: str = "", cursor: Cursor = "") -> Response:
    if view.who.tenant != NO_TENANT:
        raise Problem(403, "Not for you", "Dead letters are for the platform's own people.")
    names = [each.name for each in declared().values() if each.dead_letters]
    seen = await view.kit.cluster.snapshot()
    held = {name: seen.held(dlq_name(name)) for name in names}
    wanted = [topic_of(topic)] if topic else [name for name, count in held.items() if count]
    before = unpack(cursor, dict[str, int]) if cursor else None
    found = await letters.newest(view.kit.cluster, view.kit.reader, wanted, LETTERS, before)
    page = {
        "items": [dead_letters.shown(record) for record in found.items],
        "next": pack(found.next) if found.next else "",
    }
    return view.page("dead_letters.html", page=page, held=held, topic=topic, may_replay=view.who.may("dlq:write"))


@router.post("/dead-letters/replay")
async def replay(request: Request, data: Annotated[Sent, sent("dlq:write")]) -> Response:
    view, fields = data
    if view.who.tenant != NO_TENANT or not fields.get("offset", "").isdigit():
        raise Problem(422, "That cannot be", "Name the dead letter to send again.")
    topic, offset = topic_of(fields.get("topic", "")), int(fields["offset"][:18])
    done = await letters.replay(view.kit.cluster, view.kit.reader, view.kit.producer, topic, [offset])
    audit(request, verb="replay", object=f"dlq/{topic}", after=done._asdict() | {"offset": offset})
    if done.refused:
        raise Problem(422, "Not sent", f"It was not sent: {next(iter(done.refused.values()))}.")
    return data.back("replayed", "/dead-letters")


@router.get("/mailbox")
@router.get("/mailbox/{mail}")
async def mailbox(
    view: Annotated[Viewer, viewer("mailbox:read")], request: Request, mail: str = "", q: Text = "", cursor: Cursor = ""
) -> Response:
    store = _store(view)
    before = unpack(cursor, int) if cursor else 0
    items, total, after = await asyncio.to_thread(store.page, q, MAILS, max(0, before))
    page = {"items": items, "total": total, "next": pack(after) if after else ""}
    chosen = await asyncio.to_thread(store.get, mail) if mail else None
    if mail and chosen is None:
        raise Problem(404, "Not found", "There is no such mail (any more).")
    return view.page("mailbox.html", asked={"q": q}, page=page, mail=chosen)


@router.get("/mailbox/{mail}/body")
async def body(mail: str, view: Annotated[Viewer, viewer("mailbox:read")]) -> Response:
    """The mail's HTML for the frame: no script, no request to anywhere, links in a tab of their own."""
    found = await asyncio.to_thread(_store(view).get, mail)
    if found is None:
        raise Problem(404, "Not found", "There is no such mail (any more).")
    return HTMLResponse('<base target="_blank">' + found["html"], headers={"content-security-policy": MAIL_CSP})


def _store(view: Viewer) -> MailStore:
    if view.who.tenant != NO_TENANT:
        raise Problem(403, "Not for you", "The local mailbox is the platform's.")
    store: MailStore = view.request.app.state.mailbox
    return store
