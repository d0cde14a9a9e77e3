"""`GET /api/v1/streams/{topic}`: a topic live, as server-sent events; several by commas are one stream. Its `/poll` is
the same for shells: what is there, or comes while one waits, in one answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi import Query as FromQuery
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from gateway import resume, stream_filter, times
from gateway.authentication import authenticate
from gateway.deps import Kit, Principal, need
from gateway.documents import LOGS, as_indexed
from gateway.lists import Names, Text
from gateway.problems import Problem, bad_parameter
from gateway.services import Services
from gateway.tail import Tail, Wanted, gap
from schemas.catalogue import DLQ_SUFFIX, catalogue
from streams.errors import Failure
from streams.metrics import STREAMS

router = APIRouter(tags=["streams"])

HEARTBEAT_S = 15.0
CHECK_S = 2.0
"""How often it is seen to that whoever listens still may: a revocation ends streams within this time."""
WAIT_S = 1.0
SETTLE_S = 0.05
"""How long a poll that has something waits for what comes right behind it."""
FOUND_S = 10.0
"""How long it may take to find the partitions."""
MAX_TOPICS = 8
ALSO = {
    "logs": "logs:read",
    "kube.events": "events:read",
    "alerts": "alerts:read",
    "alerts.state": "alerts:read",
    "notifications": "notifications:read",
    "notifications.outcomes": "notifications:read",
    "gaps": "gaps:read",
    "platform.audit": "audit:read",
    "silences": "silences:read",
}
"""A list's scope lets its topic be followed live as well."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get("/api/v1/streams/{topic}", response_class=StreamingResponse)
async def stream(
    topic: str,
    request: Request,
    kit: Kit,
    who: Annotated[Principal, Depends(need())],
    condition: Annotated[str, FromQuery(alias="filter", max_length=8192)] = "",
    q: Text = "",
    cluster: Names = "",
    namespace: Names = "",
    pod: Names = "",
    container: Names = "",
    start: str = "",
    overflow: Literal["wait", "skip"] = "wait",
    last_event_id: Annotated[str, Header(max_length=resume.MAX_LENGTH)] = "",
) -> Response:
    """Records as they come. `data` is `{topic, partition, offset, key, time, record}`; `id` is where to go on: send it
    back as `Last-Event-ID`. `q` is in the query language of the logs list. `event: gap` `{topic, partition, from, to,
    reason}` says what is not in the stream. `start` (a time, or like `-15m`) begins in the past; `overflow=skip` leaves
    out what a slow reader would only get late. Who may read logs but not their topic (`topics:logs:read`) gets them as
    processing documents have them indexed."""
    places = {"cluster": cluster, "namespace": namespace, "pod": pod, "container": container}
    wanted = _wanted(request, kit, who, topic, condition, places, q, start, last_event_id)._replace(
        skip=overflow == "skip"
    )
    topics = wanted.topics
    lost = gap(topics[0], -1, -1, -1, "resume_point") if last_event_id and wanted.start is None else b""

    async def still_allowed() -> bool:
        with suppress(Problem):
            return _allowed(await authenticate(request, kit), topics)
        return False

    return StreamingResponse(
        live(kit, open_tail(kit, wanted), still_allowed, lost), media_type="text/event-stream", headers=HEADERS
    )


class Polled(BaseModel):
    items: list[dict[str, Any]]
    """`{topic, partition, offset, key, time, record}`, as in a stream."""
    gaps: list[dict[str, Any]]
    """`{topic, partition, from, to, reason}`: what is not among them."""
    next: str
    """What to ask with as `after` the next time."""


@router.get("/api/v1/streams/{topic}/poll")
async def poll(
    topic: str,
    request: Request,
    kit: Kit,
    who: Annotated[Principal, Depends(need())],
    after: Annotated[str, FromQuery(max_length=resume.MAX_LENGTH)] = "",
    wait: Annotated[float, FromQuery(ge=1, le=60)] = 20.0,
    limit: Annotated[int, FromQuery(ge=1, le=1000)] = 100,
    condition: Annotated[str, FromQuery(alias="filter", max_length=8192)] = "",
    q: Text = "",
    cluster: Names = "",
    namespace: Names = "",
    pod: Names = "",
    container: Names = "",
    start: str = "",
) -> Polled:
    """What came after `after` (the `next` of the answer before), at once when there is something, else when something
    comes, but after `wait` seconds at the latest. Without `after` it begins now, or at `start`."""
    places = {"cluster": cluster, "namespace": namespace, "pod": pod, "container": container}
    wanted = _wanted(request, kit, who, topic, condition, places, q, start, after)
    if after and wanted.start is None:
        raise bad_parameter("after", "expected the `next` of an answer before")
    tail = open_tail(kit, wanted)
    kit.tails.add(tail)
    try:
        tail.start()
        return await _polled(tail, wait, limit)
    finally:
        kit.tails.discard(tail)
        await tail.close()


async def _polled(tail: Tail, wait_s: float, limit: int) -> Polled:
    """Up to `limit` records of `tail`, and the point after the last. Raises 503 when the bus does not answer."""
    out = Polled(items=[], gaps=[], next="")
    if not _taken(out, await tail.next(FOUND_S), limit):
        raise Problem(503, "Service unavailable", "the bus does not answer", headers={"Retry-After": "5"})
    until = time.monotonic() + wait_s
    while not tail.stopped and len(out.items) < limit and (left := until - time.monotonic()) > 0:
        piece = await tail.next(min(left, SETTLE_S if out.items else WAIT_S))
        if not _taken(out, piece, limit) and out.items:
            break
    return out


def _taken(out: Polled, piece: bytes, limit: int) -> bool:
    """Whether there is a piece; its events are in `out` now, as many as fit."""
    for event in filter(None, piece.split(b"\n\n")):
        if len(out.items) < limit:
            _take(out, event)
    return bool(piece)


def _take(out: Polled, event: bytes) -> None:
    """Add one server-sent event of a tail; the place it names is where to go on."""
    fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line)
    if b"data" in fields:
        (out.gaps if fields.get(b"event") == b"gap" else out.items).append(orjson.loads(fields[b"data"]))
    if b"id" in fields:
        out.next = fields[b"id"].decode()


def _wanted(
    request: Request,
    kit: Services,
    who: Principal,
    topic: str,
    condition: str,
    places: dict[str, str],
    q: str,
    start: str,
    point: str,
) -> Wanted:
    """What is asked for, as far as the caller may. `start` is None for a `point` that is not ours."""
    topics = _topics(topic, who)
    keep = {t: stream_filter.keep(t, who, condition=condition, places=places, text=q) for t in topics}
    positions = resume.unpack(point, kit.sign_point) if point else None
    since_ms = times.parse("start", start, kit.clock())
    raw = who.may(f"topics:{LOGS}:read")
    return Wanted(topics, positions, since_ms, keep, shape=None if raw else as_indexed(request))


def open_tail(kit: Services, wanted: Wanted) -> Tail:
    """Raises 503 when as many streams are open as settings allow."""
    if len(kit.tails) >= kit.settings.gateway.max_streams:
        raise Problem(503, "Service unavailable", "too many live streams are open", headers={"Retry-After": "5"})
    return Tail(kit.settings.kafka, wanted, kit.sign_point)


async def live(
    kit: Services, tail: Tail, still_allowed: Callable[[], Awaitable[bool]], first: bytes = b""
) -> AsyncIterator[bytes]:
    """The event stream of `tail`: heartbeats between its pieces; ends when the reader's rights do."""
    STREAMS.inc()
    kit.tails.add(tail)
    try:
        tail.start()
        yield b"retry: 2000\n\n" + first
        beat = checked = time.monotonic()
        while not tail.stopped:
            if piece := await tail.next(WAIT_S):
                yield piece
            if time.monotonic() - checked >= CHECK_S:
                checked = time.monotonic()
                with suppress(Failure):  # the database being away ends nobody's stream
                    if not await still_allowed():
                        return
            if time.monotonic() - beat >= HEARTBEAT_S:
                beat = time.monotonic()
                yield f": heartbeat\nid: {tail.point}\n\n".encode()
    finally:
        kit.tails.discard(tail)
        STREAMS.dec()
        await tail.close()


def _topics(text: str, who: Principal) -> tuple[str, ...]:
    """The topics asked for. Raises 404 for an unknown one, 403 for one the caller may not read."""
    topics = tuple(dict.fromkeys(part for part in text.split(",") if part))[:MAX_TOPICS]
    if not topics or (unknown := [topic for topic in topics if topic not in catalogue()]):
        raise Problem(404, "Not found", f"there is no topic {(unknown or [text])[0][:128]!r} in the catalogue")
    for topic in topics:
        if not _allowed(who, (topic,)):
            raise Problem(403, "Forbidden", f"this needs the scope topics:{topic}:read", scope=f"topics:{topic}:read")
    return topics


def _allowed(who: Principal, topics: tuple[str, ...]) -> bool:
    return all(who.may(f"topics:{topic}:read") or (topic in ALSO and who.may(ALSO[topic])) for topic in topics) and (
        who.is_admin or not any(topic.endswith(DLQ_SUFFIX) or not catalogue()[topic].public for topic in topics)
    )
