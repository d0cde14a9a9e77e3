"""Dead letters: what could not be processed, with the reason and the original bytes, and sending it round again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi import Query as FromQuery
from pydantic import BaseModel, Field

from gateway import dead_letters, letters, times
from gateway.deps import Clock, Kit, Principal, audit, need
from gateway.lists import Cursor, Limit, Page, Sort, oldest_first, pack, unpack
from gateway.problems import Problem
from schemas.alerts import NO_TENANT
from schemas.catalogue import declared, dlq_name
from streams.errors import Invalid

router = APIRouter(tags=["dead letters"])

MAX_REPLAY = 1000
Topic = Annotated[str, FromQuery(max_length=128, description="Of this topic only.")]
Reason = Annotated[str, FromQuery(max_length=128, description="Of this reason only, such as `refused`.")]
Stage = Annotated[str, FromQuery(max_length=128, description="Written by this agent only, or by a `source`.")]
Offset = Annotated[int, Path(ge=0, le=2**62)]


class Replay(BaseModel):
    """Which dead letters of `topic` to send again: `offsets` of its dead-letter topic, or without them the oldest
    `limit` of `reason` written from `start` to `end`. `dry_run`: only say which."""

    topic: str = Field(max_length=128)
    offsets: list[Annotated[int, Field(ge=0, le=2**62)]] | None = Field(None, min_length=1, max_length=MAX_REPLAY)
    reason: str = Field("", max_length=128)
    start: str = Field("", max_length=64)
    end: str = Field("", max_length=64)
    limit: int = Field(MAX_REPLAY, ge=1, le=MAX_REPLAY)
    dry_run: bool = False


class Replayed(BaseModel):
    """`more`: there are others, beyond `limit` or what one search looks at."""

    replayed: int
    refused: dict[str, str]
    """Offset -> why it was not sent."""
    offsets: list[int]
    """Those looked at."""
    dry_run: bool = False
    more: bool = False


def platform(who: Principal) -> None:
    """Dead letters are raw bytes of shared topics: not for a tenant's callers."""
    if who.tenant != NO_TENANT:
        raise Problem(403, "Forbidden", "dead letters are for the platform's own callers")


@router.get("/api/v1/dlq")
async def dlq(
    kit: Kit,
    who: Annotated[Principal, Depends(need("dlq:read"))],
    clock: Clock,
    topic: Topic = "",
    reason: Reason = "",
    stage: Stage = "",
    start: str = "",
    end: str = "",
    limit: Limit = 50,
    cursor: Cursor = "",
    sort: Sort = "-time",
) -> Page:
    """Dead letters of all topics, or of one, newest first. With a filter, `total` counts what was found so far; it is
    complete when `next` is empty, and a page may hold fewer than `limit` before."""
    platform(who)
    topics = [topic_of(topic)] if topic else [each.name for each in declared().values() if each.dead_letters]
    place = unpack(cursor, dict[str, int]) if cursor else None
    which = letters.Which(reason, stage, times.parse("start", start, clock()), times.parse("end", end, clock()))
    found = await letters.search(kit.cluster, kit.reader, topics, which, limit, place, oldest_first=oldest_first(sort))
    return Page(
        items=[dead_letters.shown(record) for record in found.items],
        total=found.total,
        next=pack(found.next) if found.next else "",
    )


@router.get("/api/v1/dlq/{topic}/{offset}")
async def dead_letter(
    topic: str, offset: Offset, kit: Kit, who: Annotated[Principal, Depends(need("dlq:read"))]
) -> dict[str, Any]:
    """One dead letter whole: `topic` is the original's, `offset` the dead letter's own."""
    platform(who)
    record = await kit.reader.one(dlq_name(topic_of(topic)), 0, offset)
    if record is None:
        raise Problem(404, "Not found", f"{dlq_name(topic)} has nothing at offset {offset} (any more)")
    return dead_letters.shown(record, whole=True)


@router.post("/api/v1/dlq/replay")
async def replay(
    body: Replay, request: Request, kit: Kit, clock: Clock, who: Annotated[Principal, Depends(need("dlq:write"))]
) -> Replayed:
    """Produce the original bytes to their topic again, under the ids they have or always get: replaying twice makes no
    second document. The dead letters stay where they are, as history."""
    platform(who)
    topic, more = topic_of(body.topic), False
    offsets = body.offsets
    if offsets is None:
        start, end = times.parse("start", body.start, clock()), times.parse("end", body.end, clock())
        which = letters.Which(body.reason, "", start, end)
        found = await letters.search(kit.cluster, kit.reader, [topic], which, body.limit, oldest_first=True)
        offsets, more = [record.offset for record in found.items], bool(found.next)
    done = await letters.replay(
        kit.cluster, kit.reader, kit.producer, topic, offsets[: body.limit], dry_run=body.dry_run
    )
    out = Replayed(
        replayed=done.replayed,
        refused={str(offset): why for offset, why in done.refused.items()},
        offsets=offsets[: body.limit],
        dry_run=body.dry_run,
        more=more or len(offsets) > body.limit,
    )
    audit(request, verb="replay", object=f"dlq/{body.topic}", after=out.model_dump(exclude={"offsets"}))
    return out


def topic_of(name: str) -> str:
    """Raises 404 for a topic without dead letters."""
    try:
        return letters.topic_of(name)
    except Invalid as error:
        raise Problem(404, "Not found", error.detail) from None
