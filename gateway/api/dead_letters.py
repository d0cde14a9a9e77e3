"""Dead letters: what could not be processed, with the reason and the original bytes, and sending it round again."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi import Query as FromQuery
from pydantic import BaseModel, Field

from gateway import dead_letters
from gateway.deps import Kit, Principal, audit, need
from gateway.lists import Cursor, Limit, Page, pack, unpack
from gateway.problems import Problem, bad_parameter
from gateway.services import Services
from schemas.alerts import NO_TENANT
from schemas.catalogue import declared, dlq_name
from streams.dead_letters import parse
from streams.record import Outgoing, Record
from streams.sinks.index.ids import place_id

router = APIRouter(tags=["dead letters"])

MAX_REPLAY = 1000
Topic = Annotated[str, FromQuery(max_length=128, description="Of this topic only.")]
Offset = Annotated[int, Path(ge=0, le=2**62)]


class Replay(BaseModel):
    """Which dead letters of `topic` to send again: `offsets` of its dead-letter topic."""

    topic: str = Field(max_length=128)
    offsets: list[int] = Field(default=[], max_length=MAX_REPLAY)


class Replayed(BaseModel):
    replayed: int
    refused: dict[str, str]
    """Offset -> why it was not sent."""


def platform(who: Annotated[Principal, Depends(need("dlq:read"))]) -> Principal:
    """Dead letters are raw bytes of shared topics: not for a tenant's callers."""
    if who.tenant != NO_TENANT:
        raise Problem(403, "Forbidden", "dead letters are for the platform's own callers")
    return who


@router.get("/api/v1/dlq")
async def dlq(
    kit: Kit, who: Annotated[Principal, Depends(platform)], topic: Topic = "", limit: Limit = 50, cursor: Cursor = ""
) -> Page:
    """Dead letters of all topics, or of one, newest first."""
    names = [topic_of(topic)] if topic else [each.name for each in declared().values() if each.dead_letters]
    before = unpack(cursor, dict[str, int]) if cursor else {}
    seen = await kit.cluster.snapshot()
    ends = {name: _end(seen.topics.get(dlq_name(name), []), before.get(name)) for name in names}
    total = sum(seen.held(dlq_name(name)) for name in names)
    reads = [kit.reader.span(dlq_name(name), 0, max(0, end - limit), end) for name, end in ends.items() if end > 0]
    found = [letter for letters in await asyncio.gather(*reads) for letter in letters]
    found.sort(key=lambda record: (record.timestamp_ms, record.topic, record.offset), reverse=True)
    page = found[:limit]
    left = {name: min([r.offset for r in page if r.topic == dlq_name(name)], default=end) for name, end in ends.items()}
    more = len(found) > limit or any(left[n] > _start(seen.topics.get(dlq_name(n), [])) for n in names)
    return Page(items=[dead_letters.shown(record) for record in page], total=total, next=pack(left) if more else "")


@router.get("/api/v1/dlq/{topic}/{offset}")
async def dead_letter(
    topic: str, offset: Offset, kit: Kit, who: Annotated[Principal, Depends(platform)]
) -> dict[str, Any]:
    """One dead letter whole: `topic` is the original's, `offset` the dead letter's own."""
    record = await kit.reader.one(dlq_name(topic_of(topic)), 0, offset)
    if record is None:
        raise Problem(404, "Not found", f"{dlq_name(topic)} has nothing at offset {offset} (any more)")
    return dead_letters.shown(record, whole=True)


@router.post("/api/v1/dlq/replay")
async def replay(
    body: Replay, request: Request, kit: Kit, who: Annotated[Principal, Depends(need("dlq:write"))]
) -> Replayed:
    """Produce the original bytes to their topic again. The dead letters stay where they are, as history."""
    platform(who)
    if not body.offsets:
        raise bad_parameter("offsets", "name at least one")
    out = await replayed(kit, topic_of(body.topic), body.offsets)
    audit(request, verb="replay", object=f"dlq/{body.topic}", after=out.model_dump())
    return out


async def replayed(kit: Services, topic: str, offsets: list[int]) -> Replayed:
    refused: dict[str, str] = {}
    records = []
    for offset in sorted(set(offsets)):
        found = await kit.reader.one(dlq_name(topic), 0, offset)
        why = "it is not there (any more)" if found is None else dead_letters.not_replayable(found)
        if found is None or why:
            refused[str(offset)] = why
        else:
            records.append(await _same(kit, dead_letters.original(found), found))
    await kit.producer.send(records)
    return Replayed(replayed=len(records), refused=refused)


async def _same(kit: Services, again: Outgoing, letter: Record) -> Outgoing:
    """A log record without a key has its place as its id: give it that as key, so that no second document comes of it,
    as long as the record still stands there (the topic may have been made anew, and then it is another one)."""
    if again.key is not None or again.topic != "logs":
        return again
    place = parse(letter)
    standing = await kit.reader.one(place.topic, place.partition, place.offset) if place.offset >= 0 else None
    if standing is None or standing.key is not None or standing.value != again.value:
        return again
    id_ = place_id(await kit.cluster.topic_id(place.topic), place.partition, place.offset)
    return again._replace(key=id_.encode())


def topic_of(name: str) -> str:
    """The topic whose dead letters are meant; `logs.dlq` is taken for `logs`. Raises 404."""
    topic = declared().get(name.removesuffix(".dlq"))
    if topic is None or not topic.dead_letters:
        raise Problem(404, "Not found", f"there is no topic {name[:128]!r} with dead letters")
    return topic.name


def _end(spans: list[Any], before: int | None) -> int:
    end = int(spans[0].end) if spans else 0
    return end if before is None else min(end, max(0, before))


def _start(spans: list[Any]) -> int:
    return int(spans[0].start) if spans else 0
