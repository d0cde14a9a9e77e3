"""The console's one event stream a page: numbers every two seconds, which topics have news, and a live tail of logs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi import Query as FromQuery
from fastapi.responses import StreamingResponse

from gateway import console_stats, stream_filter
from gateway.api.streams import HEADERS, HEARTBEAT_S, open_tail
from gateway.authentication import from_cookie
from gateway.documents import as_indexed
from gateway.lists import Names, Text
from gateway.pages import Viewer, viewer
from gateway.problems import Problem
from gateway.tail import Tail, Wanted
from streams.errors import Failure
from streams.metrics import STREAMS

router = APIRouter(include_in_schema=False)

EVERY_S = 2.0
MAX_PAGES = 256
TOPIC = "logs"


@router.get("/console/live")
async def live(
    view: Annotated[Viewer, viewer()],
    tail: Annotated[bool, FromQuery()] = False,
    q: Text = "",
    cluster: Names = "",
    namespace: Names = "",
    pod: Names = "",
    container: Names = "",
) -> Response:
    """`event: stats`, `event: news {topics}`, and with `tail` log records as `GET /api/v1/streams/logs` gives them."""
    kit, who = view.kit, view.who
    if kit.pages >= MAX_PAGES:
        raise Problem(503, "Service unavailable", "too many pages are open", headers={"Retry-After": "5"})
    following = None
    if tail:
        if not who.may("logs:read"):
            raise Problem(403, "Forbidden", "this needs the scope logs:read", scope="logs:read")
        places = {"cluster": cluster, "namespace": namespace, "pod": pod, "container": container}
        keep = stream_filter.keep(TOPIC, who, condition="", places=places, text=q)
        following = open_tail(kit, Wanted((TOPIC,), None, 0, {TOPIC: keep}, skip=True, shape=as_indexed(view.request)))
    return StreamingResponse(_events(view, following), media_type="text/event-stream", headers=HEADERS)


async def _events(view: Viewer, tail: Tail | None) -> AsyncIterator[bytes]:
    kit = view.kit
    kit.pages += 1
    STREAMS.inc()
    if tail is not None:
        kit.tails.add(tail)
        tail.start()
    try:
        yield b"retry: 2000\n\n"
        async for piece in _ticks(view, tail):
            yield piece
    finally:
        kit.pages -= 1
        STREAMS.dec()
        if tail is not None:
            kit.tails.discard(tail)
            await tail.close()


async def _ticks(view: Viewer, tail: Tail | None) -> AsyncIterator[bytes]:
    """Until the session ends, or the gateway."""
    kit, seen = view.kit, dict[str, Any]()
    due = checked = time.monotonic()
    while not kit.ending and not (tail is not None and tail.stopped):
        if time.monotonic() >= due:
            due = time.monotonic() + EVERY_S
            with suppress(Failure):  # the bus is away: the numbers stand still
                now = await console_stats.gathered(kit, view.who)
                yield b"event: stats\ndata: %b\n\n" % orjson.dumps(now)
                if topics := console_stats.news(seen, now):
                    yield b"event: news\ndata: %b\n\n" % orjson.dumps({"topics": topics})
                seen = now
        if time.monotonic() - checked > HEARTBEAT_S:
            checked = time.monotonic()
            if not await _still_in(view.request, view):
                return
        wait_s = min(0.5, max(0.0, due - time.monotonic()))
        if tail is None:
            await asyncio.sleep(wait_s)
        elif piece := await tail.next(wait_s):
            yield piece


async def _still_in(request: Request, view: Viewer) -> bool:
    with suppress(Failure):
        return await from_cookie(request, view.kit) is not None
    return True
