"""Reads dead-letter topics and sends letters round again: what the API and `eventsphere dlq` share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import islice
from typing import NamedTuple

from gateway.cluster import Cluster, Span
from gateway.dead_letters import not_replayable, original
from gateway.reader import MAX_RECORDS, Reader
from schemas.catalogue import DLQ_SUFFIX, declared, dlq_name
from streams.dead_letters import parse
from streams.errors import Invalid
from streams.producer import Producer
from streams.record import Outgoing, Record
from streams.sinks.index.ids import place_id


class Letters(NamedTuple):
    items: list[Record]
    total: int
    next: dict[str, int]
    """Where the next page goes on, by topic; empty on the last."""


class Replayed(NamedTuple):
    replayed: int
    refused: dict[int, str]
    """Offset -> why it was not sent."""


class Which(NamedTuple):
    """Dead letters to look for; times are when they were written (ms, `end_ms` exclusive, 0: without that bound)."""

    reason: str = ""
    stage: str = ""
    start_ms: int = 0
    end_ms: int = 0

    def holds(self, record: Record) -> bool:
        if self.start_ms and record.timestamp_ms < self.start_ms:
            return False
        if self.end_ms and record.timestamp_ms >= self.end_ms:
            return False
        if not (self.reason or self.stage):
            return True
        found = parse(record)
        return self.reason in ("", found.reason) and self.stage in ("", found.stage)


ALL = Which()
ROUNDS = 20
"""Readings (of `MAX_RECORDS` a topic) one search makes at most; its cursor goes on from there."""


def topic_of(name: str) -> str:
    """The topic whose dead letters are meant; `logs.dlq` is taken for `logs`. Raises Invalid for one without any."""
    topic = declared().get(name.removesuffix(DLQ_SUFFIX))
    if topic is None or not topic.dead_letters:
        known = ", ".join(sorted(topic.name for topic in declared().values() if topic.dead_letters))
        raise Invalid("unknown_topic", f"there is no topic {name[:128]!r} with dead letters; expected one of {known}")
    return topic.name


async def newest(
    cluster: Cluster, reader: Reader, topics: Iterable[str], limit: int, before: dict[str, int] | None = None
) -> Letters:
    """Dead letters of these topics, newest first. Raises Retryable when the cluster is away."""
    seen = await cluster.snapshot()
    spans = {name: seen.topics.get(dlq_name(name), []) for name in topics}
    ends = {name: _end(found, (before or {}).get(name)) for name, found in spans.items()}
    reads = [reader.span(dlq_name(name), 0, max(0, end - limit), end) for name, end in ends.items() if end > 0]
    found = [reversed(records) for records in await asyncio.gather(*reads)]
    page = list(islice(merge(*found, key=_time, reverse=True), limit))
    left = {name: min([r.offset for r in page if r.topic == dlq_name(name)], default=end) for name, end in ends.items()}
    more = any(left[name] > (found[0].start if found else 0) for name, found in spans.items())
    return Letters(page, sum(seen.held(dlq_name(name)) for name in spans), left if more else {})


async def oldest(
    cluster: Cluster, reader: Reader, topics: Iterable[str], limit: int, after: dict[str, int] | None = None
) -> Letters:
    """The same, oldest first; `after` is where the page before ended."""
    seen = await cluster.snapshot()
    spans = {name: seen.topics.get(dlq_name(name), []) for name in topics}
    starts = {name: max((after or {}).get(name, 0), found[0].start if found else 0) for name, found in spans.items()}
    ends = {name: _end(found, None) for name, found in spans.items()}
    reads = [reader.span(dlq_name(name), 0, at, min(at + limit, ends[name])) for name, at in starts.items()]
    page = list(islice(merge(*await asyncio.gather(*reads), key=_time), limit))
    reached = {
        name: max([r.offset + 1 for r in page if r.topic == dlq_name(name)], default=at) for name, at in starts.items()
    }
    more = any(at < ends[name] for name, at in reached.items())
    return Letters(page, sum(seen.held(dlq_name(name)) for name in spans), reached if more else {})


async def search(
    cluster: Cluster,
    reader: Reader,
    topics: Sequence[str],
    which: Which,
    limit: int,
    place: dict[str, int] | None = None,
    *,
    oldest_first: bool = False,
) -> Letters:
    """Those of `which`, newest (or oldest) first. With a filter `total` counts what was found on the way: that is all
    there is when `next` is empty, and a page may be short, or empty, before the last. Raises Retryable."""
    read = oldest if oldest_first else newest
    if which == ALL:
        return await read(cluster, reader, topics, limit, place)
    found: list[Record] = []
    for _ in range(ROUNDS):
        page = await read(cluster, reader, topics, MAX_RECORDS, place)
        for number, record in enumerate(page.items):
            if which.holds(record):
                found.append(record)
            if len(found) == limit:
                rest = _after(page, number, place, oldest_first=oldest_first)
                return Letters(found, len(found), rest)
        place = page.next
        passed = page.items and page.items[-1].timestamp_ms < which.start_ms and not oldest_first
        if not place or passed:
            return Letters(found, len(found), {})
    return Letters(found, len(found), place or {})


def _after(page: Letters, number: int, place: dict[str, int] | None, *, oldest_first: bool) -> dict[str, int]:
    """Where to go on after the item `number` of a page that began at `place`."""
    if number == len(page.items) - 1:
        return page.next
    out = dict(place or {})
    for record in page.items[: number + 1]:
        out[record.topic.removesuffix(DLQ_SUFFIX)] = record.offset + 1 if oldest_first else record.offset
    return out


async def replay(
    cluster: Cluster, reader: Reader, producer: Producer, topic: str, offsets: Sequence[int], *, dry_run: bool = False
) -> Replayed:
    """Produce the originals to `topic` again; the dead letters stay, as history. With `dry_run` nothing is produced,
    and `replayed` is how many would be. Raises Retryable."""
    refused: dict[int, str] = {}
    records: list[Outgoing] = []
    for offset in sorted(set(offsets))[:MAX_RECORDS]:
        found = await reader.one(dlq_name(topic), 0, offset)
        why = "it is not there (any more)" if found is None else not_replayable(found)
        if found is None or why:
            refused[offset] = why
        else:
            records.append(await _same(cluster, reader, original(found), found))
    if not dry_run:
        await producer.send(records)
    return Replayed(len(records), refused)


async def _same(cluster: Cluster, reader: Reader, again: Outgoing, letter: Record) -> Outgoing:
    """A log record without a key has its place as its id: give it that as key, so that no second document comes of it,
    as long as the record still stands there (the topic may have been made anew, and then it is another one). Else the
    letter's own place: replayed again, it stays one document."""
    if again.key is not None or again.topic != "logs":
        return again
    place = parse(letter)
    standing = await reader.one(place.topic, place.partition, place.offset) if place.offset >= 0 else None
    if standing is not None and standing.key is None and standing.value == again.value:
        id_ = place_id(await cluster.topic_id(place.topic), place.partition, place.offset)
    else:
        id_ = place_id(await cluster.topic_id(letter.topic), letter.partition, letter.offset)
    return again._replace(key=id_.encode())


def _time(record: Record) -> tuple[int, str]:
    return (record.timestamp_ms, record.topic)


def _end(spans: Sequence[Span], before: int | None) -> int:
    end = spans[0].end if spans else 0
    return end if before is None else min(end, max(0, before))
