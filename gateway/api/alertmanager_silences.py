"""Alertmanager's API v2: silences. `silences` is written; read from this process's copy of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as FromPath
from fastapi.responses import JSONResponse

from gateway import am_silences
from gateway.alerting import Filters, matchers_of, refuse
from gateway.deps import Clock, Kit, Principal, Views, audit, need
from gateway.lists import sees
from gateway.services import Services
from schemas.alerts import NO_TENANT, Silence
from schemas.base import parse_time
from streams.errors import Retryable
from streams.views import View

SEEN_S = 3.0
"""How long an answer waits until this process itself sees what was written."""
Reader = Annotated[Principal, Depends(need("silences:read"))]
Writer = Annotated[Principal, Depends(need("silences:write"))]
Identity = Annotated[str, FromPath(max_length=128)]
router = APIRouter(tags=["alertmanager"])


@router.get("/api/v2/silences")
async def get_silences(
    views: Views,
    clock: Clock,
    who: Reader,
    filters: Filters = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    try:
        matchers = matchers_of(filters)
    except ValueError as error:
        return refuse(400, str(error))
    return JSONResponse(am_silences.listed(_visible(views.silences, who), matchers, clock()))


@router.post("/api/v2/silences")
async def post_silence(request: Request, kit: Kit, who: Writer) -> Response:
    """Make a silence or change one; answers once it holds here. `{silenceID}`: a change may need another id."""
    now_ms = kit.clock()
    try:
        posted = am_silences.read(await request.body())
        silence = am_silences.wanted(
            posted,
            identity=_new_id(kit),
            tenant=_tenant(who),
            cluster=kit.settings.cluster.name or "local",
            now_ms=now_ms,
        )
    except ValueError as error:
        return refuse(400, str(error))
    writes = [silence]
    if posted.id:
        old = _own(kit.views.silences, posted.id, who)
        if old is None:
            return refuse(404, "silence not found")
        starts = parse_time(posted.startsAt)
        writes = am_silences.changed(old, silence, starts_at_ms=starts, identity=silence.id)
    audit(request, verb="silence", object=writes[-1].id, after=am_silences.document(writes[-1], now_ms))
    await _write(kit, writes)
    return JSONResponse({"silenceID": writes[-1].id})


@router.get("/api/v2/silence/{identity}")
async def get_silence(identity: Identity, views: Views, clock: Clock, who: Reader) -> Response:
    found = next((each for each in _visible(views.silences, who) if each.id == identity), None)
    return JSONResponse(am_silences.document(found, clock())) if found else refuse(404, "silence not found")


@router.delete("/api/v2/silence/{identity}")
async def delete_silence(identity: Identity, request: Request, kit: Kit, who: Writer) -> Response:
    """End it now. It can be looked up for some days more."""
    now_ms = kit.clock()
    silence = _own(kit.views.silences, identity, who)
    if silence is None:
        return refuse(404, "silence not found")
    audit(request, verb="silence.expire", object=identity, before=am_silences.document(silence, now_ms))
    if silence.ends_at_ms > now_ms:
        await _write(kit, [am_silences.expired(silence, now_ms)])
    return Response(status_code=200)


def _tenant(who: Principal) -> str:
    """Whose silence a caller makes: the platform's covers everybody."""
    return "" if who.tenant == NO_TENANT else who.tenant


def _visible(view: View[Silence], who: Principal) -> list[Silence]:
    """A tenant sees its own silences and those over everybody."""
    if not view.ready:
        raise Retryable("views", "the silences are still being read from Kafka", 1.0)
    return [each for each in view.values() if not each.tenant or sees(who, each.tenant)]


def _own(view: View[Silence], identity: str, who: Principal) -> Silence | None:
    """A silence the caller may change."""
    found = next((each for each in _visible(view, who) if each.id == identity), None)
    return found if found is not None and sees(who, found.tenant or NO_TENANT) else None


def _new_id(kit: Services) -> str:
    """Alertmanager's ids are UUIDs, and its clients insist."""
    return str(uuid.UUID(kit.new_id()))


async def _write(kit: Services, silences: Sequence[Silence]) -> None:
    """Return once Kafka has them and this process sees them, so that a caller finds what it made."""
    await kit.producer.send([am_silences.outgoing(each) for each in silences])
    view = kit.views.silences
    with suppress(TimeoutError):
        async with asyncio.timeout(SEEN_S):
            while not all(_holds(view, each) for each in silences):  # noqa: ASYNC110 - a view has no way to wait
                await asyncio.sleep(0.01)


def _holds(view: View[Silence], silence: Silence) -> bool:
    seen = view.get(silence.id)
    return seen is not None and seen.updated_at_ms >= silence.updated_at_ms
