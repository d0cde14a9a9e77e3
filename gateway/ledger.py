"""The ledger: of every record received, what became of it. `GET /api/v1/ledger`, and whether it adds up.

`received` = what the topic was ever given (end offsets); of these the indexing group has committed all but
`in_flight`; `dead_lettered` are its own dead letters, counted one by one; `expired` fell off retention unread. The rest
is `indexed`, and is compared with what the index itself counts: `documents` (fewer where a sender repeated itself).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from gateway.cluster import Cluster, Snapshot
from gateway.reader import MAX_RECORDS, Reader
from schemas.base import rfc3339
from schemas.catalogue import dlq_name
from streams.dead_letters import parse
from streams.sinks.index.port import Index, Kind

GROUP = "eventsphere."
ROUNDS = 20
"""Readings of dead letters at a time (of `MAX_RECORDS` each); what is left is counted next time."""


class Indexed(NamedTuple):
    """A topic that is indexed: by which agent, as which kind of document."""

    topic: str
    agent: str
    kind: Kind
    places: tuple[str, ...] = ("cluster",)


INDEXED = (
    Indexed("logs", "index-logs", Kind.LOGS, ("cluster", "namespace")),
    Indexed("kube.events", "index-events", Kind.EVENTS, ("cluster", "namespace")),
    Indexed("notifications", "index-events", Kind.NOTIFICATIONS, ()),
    Indexed("notifications.outcomes", "index-events", Kind.OUTCOMES, ()),
    Indexed("platform.audit", "index-events", Kind.AUDIT, ()),
    Indexed("gaps", "index-events", Kind.GAPS, ()),
)


class Count(msgspec.Struct, frozen=True, kw_only=True):
    place: dict[str, str]
    documents: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ledger; records. `adds_up`: received = indexed + dropped + dead_lettered + in_flight + expired,
    none negative, and the index holds no more documents than were indexed."""

    topic: str
    agent: str
    received: int
    indexed: int
    dropped: int
    dead_lettered: int
    in_flight: int
    expired: int
    refused_at_source: int
    documents: int
    repeats: int
    """Indexed and no document of its own: a repeat of another one."""
    adds_up: bool
    places: list[Count] = []


class DeadLetterCounts:
    """Dead letters by the stage that wrote them, counted once each, as far as they were still there when first read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._next: dict[str, int] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._lock = asyncio.Lock()

    async def of(self, topic: str, seen: Snapshot) -> Mapping[str, int]:
        """stage -> dead letters of `topic`."""
        async with self._lock:
            counts = self._counts.setdefault(topic, Counter())
            name = dlq_name(topic)
            spans = seen.topics.get(name, [])
            end = spans[0].end if spans else 0
            position = self._next.get(topic, spans[0].start if spans else 0)
            if position > end:  # the topic was made anew
                counts.clear()
                position = 0
            for _ in range(ROUNDS):
                if position >= end:
                    break
                until = min(end, position + MAX_RECORDS)
                for record in await self._reader.span(name, 0, position, until):
                    counts[parse(record).stage] += 1
                position = self._next[topic] = until
            return counts


class Ledger:
    """Raises Retryable when Kafka or the index does not answer."""

    def __init__(self, index: Index, reader: Reader, cluster: Cluster) -> None:
        self._index = index
        self._cluster = cluster
        self._dead = DeadLetterCounts(reader)

    async def entries(self) -> list[Entry]:
        """Documents are counted first, so that what Kafka says afterwards covers all of them."""
        counts = await asyncio.gather(*(self._index.counts(each.kind, each.places) for each in INDEXED))
        seen = await self._cluster.snapshot(max_age_s=0)
        return [await self._entry(what, seen, found) for what, found in zip(INDEXED, counts, strict=True)]

    async def _entry(self, what: Indexed, seen: Snapshot, counts: Mapping[tuple[str, ...], int]) -> Entry:
        dead = await self._dead.of(what.topic, seen)
        places = [
            Count(place=dict(zip(what.places, values, strict=True)), documents=number)
            for values, number in sorted(counts.items(), key=lambda item: -item[1])
        ]
        return entry(what, seen, dead, sum(counts.values()), places if what.places else [])


def entry(what: Indexed, seen: Snapshot, dead: Mapping[str, int], documents: int, places: list[Count]) -> Entry:
    """The line of one topic. Pure."""
    group = GROUP + what.agent
    received, in_flight = seen.produced(what.topic), seen.lag(group, what.topic)
    expired, dead_lettered = seen.expired(group, what.topic), dead.get(what.agent, 0)
    indexed = received - in_flight - expired - dead_lettered
    return Entry(
        topic=what.topic,
        agent=what.agent,
        received=received,
        indexed=indexed,
        dropped=0,
        dead_lettered=dead_lettered,
        in_flight=in_flight,
        expired=expired,
        refused_at_source=dead.get("source", 0),
        documents=documents,
        repeats=max(0, indexed - documents),
        adds_up=indexed >= 0 and documents <= indexed + in_flight,
        places=places,
    )


def shown(entries: list[Entry], now_ms: int) -> dict[str, object]:
    items = [msgspec.to_builtins(each) for each in entries]
    adds_up = all(each.adds_up for each in entries)
    return {"at": rfc3339(now_ms), "adds_up": adds_up, "items": items, "total": len(items), "next": ""}
