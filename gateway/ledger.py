"""The ledger: of every record received, what became of it. `GET /api/v1/ledger`, and whether it adds up.

`received` = what the topic was ever given (end offsets). What the indexing agent's accounts (streams/accounts.py) say
of what it committed is `indexed`, `dropped`, `joined` and `dead_lettered`; what it has not committed is `in_flight`;
committed and never seen by it (retention was faster, or markers of transactions) is `expired`. Bytes are those of
record values; of records that nobody read yet they are estimated from the mean of those that were. The index's own
count of documents is compared with it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from gateway.cluster import OURS, Cluster, Snapshot
from gateway.reader import MAX_RECORDS, Reader
from gateway.usage import Subject, Usage, minutes_of
from schemas.base import rfc3339
from schemas.catalogue import dlq_name
from streams.account import Note
from streams.accounts import HOUR_MS, Fate, Line, Sum, Tally, by_fate
from streams.dead_letters import parse
from streams.latency import quantile, recent
from streams.retention.policy import Policy
from streams.sinks.index.port import Index, Kind, Stored

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


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    records: int = 0
    bytes: int = 0


class Searchable(msgspec.Struct, frozen=True, kw_only=True):
    """How late records were searchable in the last minutes, in seconds after their own time; null without any."""

    p50_s: float | None
    p99_s: float | None
    records: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ledger: records, and the same in bytes. `adds_up`: received = indexed + dropped + joined +
    dead_lettered + in_flight + expired, none negative, and nothing contradicts it; else `problems` says what."""

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
    removed: int = 0
    """Indexed and no document any more: of hours whose retention is over, or whose day the index does not hold now."""
    adds_up: bool
    places: list[Count] = []
    joined: int = 0
    """Lines that became part of another record's document."""
    bytes: dict[str, int] = {}
    """The same in bytes, by the same names. `in_flight` and `expired` are estimates."""
    dropped_by: dict[str, Amount] = {}
    dead_lettered_by: dict[str, Amount] = {}
    former: dict[str, int] = {}
    """Records of topics of that name that were deleted since, by what became of them."""
    searchable: Searchable | None = None
    problems: list[str] = []


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

    def __init__(self, index: Index, reader: Reader, cluster: Cluster, usage: Usage, policy: Policy) -> None:
        self._index = index
        self._policy = policy
        self._cluster = cluster
        self.usage = usage
        self._dead = DeadLetterCounts(reader)

    async def entries(self, now_ms: int) -> list[Entry]:
        """Documents are counted first, so that what Kafka says afterwards covers all of them."""
        counts = await asyncio.gather(*(self._index.counts(each.kind, each.places) for each in INDEXED))
        stored = await self._index.stored()
        seen = await self._cluster.snapshot(max_age_s=0)
        lines = await self.usage.lines(seen)
        return [
            await self._entry(what, seen, lines, found, stored, now_ms)
            for what, found in zip(INDEXED, counts, strict=True)
        ]

    async def lines(self) -> dict[Subject, Tally]:
        """All lines of all accounts, as of a moment ago."""
        return await self.usage.lines(await self._cluster.snapshot())

    async def _entry(
        self,
        what: Indexed,
        seen: Snapshot,
        lines: Mapping[Subject, Mapping[Line, Sum]],
        counts: Mapping[tuple[str, ...], int],
        stored: Sequence[Stored],
        now_ms: int,
    ) -> Entry:
        dead = await self._dead.of(what.topic, seen)
        places = [
            Count(place=dict(zip(what.places, values, strict=True)), documents=number)
            for values, number in sorted(counts.items(), key=lambda item: -item[1])
        ]
        return entry(
            what,
            seen,
            lines,
            refused=dead.get("source", 0),
            documents=sum(counts.values()),
            places=places if what.places else [],
            now_ms=now_ms,
            gone=gone_of(self._policy, what.kind, stored, now_ms),
        )


def gone_of(policy: Policy, kind: Kind, stored: Sequence[Stored], now_ms: int) -> Callable[[Line], bool]:
    """Whether documents of a line may have been removed: their retention is over, or a size limit took their day."""
    oldest_ms = min((part.from_ms for part in stored if part.kind is kind and part.dated), default=0)

    def gone(line: Line) -> bool:
        time_ms = line.hour * HOUR_MS
        return time_ms < oldest_ms or policy.expired(kind, (line.cluster,), (line.namespace,), time_ms, now_ms)

    return gone


class _Totals(NamedTuple):
    fates: dict[str, Sum]
    before: int
    """Records committed before accounts were kept."""
    in_flight: int
    expired: int
    received: int


def totals(seen: Snapshot, agent: str, topic: str) -> _Totals:
    """What became of the records of a topic, over its partitions. Pure."""
    committed = seen.committed.get(OURS + agent, {}).get(topic, {})
    notes = seen.notes.get(OURS + agent, {}).get(topic, {})
    fates: dict[str, Sum] = {}
    before = in_flight = expired = received = 0
    for partition, span in enumerate(seen.topics.get(topic, ())):
        offset = committed.get(partition, 0)
        end = max(span.end, offset)  # asked for earlier
        received += end
        in_flight += end - max(offset, span.start)
        expired += max(0, span.start - offset)
        note = notes.get(partition) or Note(b=offset)
        before += note.b
        expired += offset - note.b - sum(sum_.records for sum_ in note.totals.values())
        for fate, sum_ in note.totals.items():
            fates[fate] = fates.get(fate, Sum()).plus(sum_)
    return _Totals(fates, before, in_flight, expired, received)


def entry(
    what: Indexed,
    seen: Snapshot,
    lines: Mapping[Subject, Mapping[Line, Sum]],
    *,
    refused: int,
    documents: int,
    places: list[Count],
    now_ms: int,
    gone: Callable[[Line], bool] = lambda _line: False,
) -> Entry:
    """The line of one topic; `gone`: see `gone_of`. Pure."""
    found = totals(seen, what.agent, what.topic)
    own = lines.get(Subject(what.agent, what.topic, seen.ids.get(what.topic, "")), {})
    former = _former(what, seen, lines)
    of = {fate: found.fates.get(fate, Sum()) for fate in Fate}
    indexed = of[Fate.INDEXED].records + found.before
    missing = max(0, indexed + former.get(Fate.INDEXED.value, 0) - documents)
    removed = min(missing, _removable(what, lines, gone))
    problems = _problems(found, own, documents - indexed - found.in_flight, bool(former))
    return Entry(
        topic=what.topic,
        agent=what.agent,
        received=found.received,
        indexed=indexed,
        dropped=of[Fate.DROPPED].records,
        joined=of[Fate.JOINED].records,
        dead_lettered=of[Fate.DEAD_LETTERED].records,
        in_flight=found.in_flight,
        expired=found.expired,
        refused_at_source=refused,
        documents=documents,
        repeats=missing - removed,
        removed=removed,
        adds_up=not problems,
        places=places,
        bytes=_bytes(found, of),
        dropped_by=_by(own, Fate.DROPPED),
        dead_lettered_by=_by(own, Fate.DEAD_LETTERED),
        former=former,
        searchable=searchable(seen, what.agent, now_ms),
        problems=problems,
    )


def _problems(found: _Totals, own: Mapping[Line, Sum], extra: int, remade: bool) -> list[str]:
    out = []
    if found.expired < 0:
        out.append(f"{-found.expired} records were counted more than once")
    if extra > 0 and not remade:
        out.append(f"the index holds {extra} documents more than were indexed")
    counted = {fate: sum_.records for fate, sum_ in by_fate(own).items()}
    wanted = {fate: sum_.records for fate, sum_ in found.fates.items()}
    if any(counted.get(fate, 0) > number for fate, number in wanted.items()) or counted.keys() - wanted.keys():
        out.append("the lines by place and hour hold more than the totals")
    return out


def _removable(what: Indexed, lines: Mapping[Subject, Mapping[Line, Sum]], gone: Callable[[Line], bool]) -> int:
    """Records that were indexed and may have been removed since, of this topic and former ones of its name."""
    return sum(
        sum_.records
        for subject, tally in lines.items()
        if (subject.agent, subject.topic, subject.source) == (what.agent, what.topic, False)
        for line, sum_ in tally.items()
        if line.fate == Fate.INDEXED and gone(line)
    )


def _former(what: Indexed, seen: Snapshot, lines: Mapping[Subject, Mapping[Line, Sum]]) -> dict[str, int]:
    """What became of records of this name's topics that are gone."""
    out: Counter[str] = Counter()
    for subject, tally in lines.items():
        if (subject.agent, subject.topic, subject.source) != (what.agent, what.topic, False):
            continue
        if subject.topic_id != seen.ids.get(what.topic):
            out.update({fate: sum_.records for fate, sum_ in by_fate(tally).items()})
    return dict(out)


def _bytes(found: _Totals, of: Mapping[Fate, Sum]) -> dict[str, int]:
    known = Sum(sum(s.records for s in of.values()), sum(s.bytes for s in of.values()))
    mean = known.bytes / known.records if known.records else 0.0
    out = {fate.value: of[fate].bytes for fate in Fate}
    out[Fate.INDEXED.value] += int(found.before * mean)
    out |= {"in_flight": int(found.in_flight * mean), "expired": int(max(0, found.expired) * mean)}
    return {"received": sum(out.values())} | out


def _by(lines: Mapping[Line, Sum], fate: Fate) -> dict[str, Amount]:
    out: dict[str, Sum] = {}
    for line, sum_ in lines.items():
        if line.fate == fate:
            out[line.by] = out.get(line.by, Sum()).plus(sum_)
    return {by: Amount(records=sum_.records, bytes=sum_.bytes) for by, sum_ in sorted(out.items())}


def shown(entries: list[Entry], now_ms: int) -> dict[str, object]:
    items = [msgspec.to_builtins(each) for each in entries]
    adds_up = all(each.adds_up for each in entries)
    return {"at": rfc3339(now_ms), "adds_up": adds_up, "items": items, "total": len(items), "next": ""}


def searchable(seen: Snapshot, agent: str, now_ms: int) -> Searchable:
    found = recent(minutes_of(seen, agent), now_ms)
    return Searchable(p50_s=quantile(found, 0.5), p99_s=quantile(found, 0.99), records=sum(found))
