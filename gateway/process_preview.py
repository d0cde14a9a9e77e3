"""What processing documents would do to log records that really came: before, after, and shares. Shared by the API and
the command line.

The newest records of topic `logs` are read, so that also is seen what the documents in force drop. Who belongs to the
platform sees its new documents in the place of those of the same name, on the records as they came. A tenant's caller
sees its own records only, and them as they are indexed now: nothing the platform masks can be had by asking for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from pydantic import BaseModel

from gateway.cluster import Cluster
from gateway.principal import Principal
from gateway.reader import MAX_RECORDS, Reader
from gateway.records import visible
from schemas.alerts import NO_TENANT
from schemas.base import rfc3339
from schemas.process_document import Document, Step
from streams.process.document import parse_document
from streams.process.joining import Joiner
from streams.process.processor import Processor, Touch, Volume
from streams.record import Record
from streams.sinks.index import fields
from streams.sinks.index.ids import key_id, place_id
from streams.sinks.index.port import Kind

TOPIC = "logs"
MAX_DOCUMENTS = 20
MAX_TEXT = 256 << 10


class Wanted(NamedTuple):
    """`records`: how many of the newest are looked at; `examples`: how many are shown of those that change."""

    start_ms: int = 0
    namespace: str = ""
    records: int = 1000
    examples: int = 20


class Done(BaseModel):
    """What one step of one document did; `percent` of the records looked at."""

    document: str
    step: str
    records: int
    bytes: int
    percent: float


class Example(BaseModel):
    """A record that would be indexed otherwise than now. `before`, `after`: null where it is not indexed."""

    partition: int
    offset: int
    time: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    by: list[str]
    """`document/step` of what is done to it."""


class Preview(BaseModel):
    """`changed` counts records that would be indexed otherwise, or not at all (dropped, or joined to another). `bytes`
    are those of the records as they came, `bytes_after` of what would be indexed."""

    records: int
    bytes: int
    changed: int
    dropped: int
    dropped_percent: float
    bytes_after: int
    bytes_saved_percent: float
    unreadable: int
    steps: list[Done]
    items: list[Example]


def read(text: str) -> tuple[list[Document], list[str]]:
    """The documents of a text, and all that is wrong with them."""
    if len(text) > MAX_TEXT:
        return [], [f"document:1: longer than {MAX_TEXT} characters"]
    documents, errors = parse_document(text, "document")
    if len(documents) > MAX_DOCUMENTS:
        errors = [f"document:1: at most {MAX_DOCUMENTS} documents at a time"]
    return documents, errors


async def preview(
    cluster: Cluster,
    reader: Reader,
    who: Principal,
    new: Sequence[Document],
    wanted: Wanted,
    in_force: Sequence[Document] = (),
) -> Preview:
    """Raises Retryable when Kafka does not answer."""
    topic_id = await cluster.topic_id(TOPIC)
    spans = (await cluster.snapshot(max_age_s=0)).topics.get(TOPIC, [])
    share = min(MAX_RECORDS, -(-wanted.records // max(1, len(spans))))
    found: list[Record] = []
    for partition, span in enumerate(spans):
        found += await reader.span(TOPIC, partition, max(span.start, span.end - share), span.end)

    def work() -> Preview:
        mine = [record for record in found if _asked(record, who, wanted)]
        return shown(mine, topic_id, new, in_force, own=who.tenant == NO_TENANT, examples=wanted.examples)

    return await asyncio.to_thread(work)


def _asked(record: Record, who: Principal, wanted: Wanted) -> bool:
    if record.value is None or record.timestamp_ms < wanted.start_ms or not visible(who, record):
        return False
    if not wanted.namespace:
        return True
    try:
        return wanted.namespace in fields.draw(Kind.LOGS, fields.decode(record.value)).namespace
    except ValueError:
        return False


class _Outcome(NamedTuple):
    """A record in the index; `value` None: it is not there."""

    value: bytes | None
    by: tuple[Touch, ...] = ()


Outcomes = dict[tuple[int, int], _Outcome]


def shown(
    records: Sequence[Record],
    topic_id: str,
    new: Sequence[Document],
    in_force: Sequence[Document],
    *,
    own: bool,
    examples: int,
) -> Preview:
    """`own`: whether new documents stand in the place of those of the same name that are in force. Pure."""
    before, bad, _ = _run(records, topic_id, in_force)
    if own:
        names = {document.name for document in new}
        kept = [document for document in in_force if document.name not in names]
        after, bad, steps = _run(records, topic_id, [*kept, *new])
        steps = {touch: volume for touch, volume in steps.items() if touch.document in names}
    else:
        left = [_with(record, before) for record in records if before.get(_place(record), _Outcome(None)).value]
        after, more, steps = _run(left, topic_id, new)
        bad |= more
    items: list[Example] = []
    changed = dropped = 0
    readable = [record for record in records if _place(record) not in bad]
    newest = sorted(readable, key=lambda record: -record.timestamp_ms)
    for record in newest:
        was, will = before.get(_place(record), _Outcome(None)), after.get(_place(record), _Outcome(None))
        if was.value == will.value:
            continue
        changed += 1
        dropped += will.value is None and bool(will.by)
        if len(items) < examples and (will.value or will.by):  # else it became part of another
            items.append(_example(record, was, will))
    size, left_size = _size(_values(before, readable)), _size(_values(after, readable))
    return Preview(
        records=len(records),
        bytes=sum(len(record.value or b"") for record in records),
        changed=changed,
        dropped=dropped,
        dropped_percent=_percent(dropped, len(records)),
        bytes_after=left_size,
        bytes_saved_percent=_percent(size - left_size, size),
        unreadable=len(bad),
        steps=[
            Done(document=name, step=step, records=v.records, bytes=v.bytes, percent=_percent(v.records, len(records)))
            for (name, step), v in sorted(steps.items())
        ],
        items=items,
    )


def _run(
    records: Sequence[Record], topic_id: str, documents: Sequence[Document]
) -> tuple[Outcomes, set[tuple[int, int]], dict[Touch, Volume]]:
    """What becomes of the records, which of them are none, and what was done."""
    joined, lines = _joined(records, documents)
    out: Outcomes = {}
    bad: set[tuple[int, int]] = set()
    counts: Counter[Touch] = Counter({Touch(name, Step.JOIN): count for name, count in lines.items()})
    sizes: Counter[Touch] = Counter()
    processor = Processor(documents)
    for record, by in joined:
        value = record.value or b""
        try:
            done = processor.one(value, _id(record, topic_id))
        except ValueError:
            bad.add(_place(record))
            continue
        out[_place(record)] = _Outcome(done.value, (*by, *done.touches))
        for touch in done.touches:
            counts[touch] += 1
            sizes[touch] += len(value)
    return out, bad, {touch: Volume(count, sizes[touch]) for touch, count in counts.items()}


def _joined(
    records: Sequence[Record], documents: Sequence[Document]
) -> tuple[list[tuple[Record, tuple[Touch, ...]]], Counter[str]]:
    """Records as sources would join them (those of one chunk or request, as their keys tell), and how many each
    document took into others."""
    joiner = Joiner(documents)
    lines: Counter[str] = Counter()
    if not joiner:
        return [(record, ()) for record in records], lines
    found: list[tuple[Record, tuple[Touch, ...]]] = []
    for _, group in groupby(sorted(records, key=_chunk), key=lambda record: _chunk(record)[:-1]):
        chunk = list(group)
        joined = joiner.join([record.value or b"" for record in chunk])
        if joined is None:
            found += [(record, ()) for record in chunk]
            continue
        lines.update(joined.lines)
        for value, at in zip(joined.values, joined.places, strict=True):
            by = (Touch(joined.by[at], Step.JOIN),) if at in joined.by else ()
            found.append((chunk[at]._replace(value=value), by))
    return found, lines


def _chunk(record: Record) -> tuple[str, int, int]:
    """What a record's key says of where it came from: (chunk, where it was in it); by itself without such a key."""
    stem, dash, number = (record.key or b"").decode("utf-8", "replace").rpartition("-")
    if dash and number.isdecimal() and len(number) < 10:
        return (stem, 0, int(number))
    return (f"{record.partition}", record.offset, 0)


def _with(record: Record, outcomes: Outcomes) -> Record:
    return record._replace(value=outcomes[_place(record)].value)


def _place(record: Record) -> tuple[int, int]:
    return record.partition, record.offset


def _id(record: Record, topic_id: str) -> str:
    return key_id(record.key) or place_id(topic_id, record.partition, record.offset)


def _values(outcomes: Outcomes, records: Sequence[Record]) -> list[bytes]:
    return [value for record in records if (value := outcomes.get(_place(record), _Outcome(None)).value)]


def _size(values: Sequence[bytes]) -> int:
    return sum(map(len, values))


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _example(record: Record, was: _Outcome, will: _Outcome) -> Example:
    return Example(
        partition=record.partition,
        offset=record.offset,
        time=rfc3339(max(0, record.timestamp_ms)),
        before=_object(was.value),
        after=_object(will.value),
        by=[f"{touch.document}/{touch.step}" for touch in will.by],
    )


def _object(value: bytes | None) -> dict[str, Any] | None:
    return None if value is None else fields.decode(value)
