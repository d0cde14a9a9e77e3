"""Accounts: what became of the records of each batch, counted exactly once, in records and bytes. Pure.

**What a handler reports.** `handle(batch)` of an agent may leave `batch.report`, which says by position in that batch
which records were not stored and why (a `Report`; without one all were stored). A handler that is tried again reports
again; what counts is the report of the call that succeeded. Dead letters are added by streams/delivery.py.

    report = batch.report = Report()
    report.dropped("cut-debug", [0, 7, 8])        # by the document (or quota) of that name
    report.joined("stack-traces", [3, 4])         # became part of another record's document

**How it becomes durable.** The account of a partition at offset X is a function of the records before X and of how
they were processed. Its totals, and what the topic `platform.accounts` does not hold yet, are the metadata of the very
commit that says X (streams/account.py): atomic with it, so a batch that comes again is counted where it is committed.

Bytes are those of record values, uncompressed. Hours are of record time (Kafka's timestamp).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from operator import itemgetter
from typing import Any, NamedTuple, cast

import msgspec

from streams.batch import Batch, Message

HOUR_MS = 3_600_000
MAX_NAME = 100
"""Characters of a name that are kept."""
MAX_LINES = 2000
"""Lines of one hour of one partition; places beyond them are counted together as `*`."""
OTHER = "*"


class Fate(StrEnum):
    """What became of a record. One a record."""

    INDEXED = "indexed"
    DROPPED = "dropped"
    JOINED = "joined"
    DEAD_LETTERED = "dead_lettered"


Place = tuple[str, str, str]
"""Whose a record is: cluster, namespace, tenant; each empty where it does not say."""
NOWHERE: Place = ("", "", "")


class Line(NamedTuple):
    """What is counted together: hour since the epoch, place, fate, and by which rule (or for which reason)."""

    hour: int
    cluster: str
    namespace: str
    tenant: str
    fate: str
    by: str


class Sum(NamedTuple):
    records: int = 0
    bytes: int = 0

    def plus(self, other: Sum) -> Sum:
        return Sum(self.records + other.records, self.bytes + other.bytes)


Tally = dict[Line, Sum]


class Report:
    """Which records of a batch were not stored as they came, by position in it."""

    __slots__ = ("fates",)

    def __init__(self) -> None:
        self.fates: dict[int, tuple[Fate, str]] = {}

    def dropped(self, by: str, positions: Iterable[int]) -> None:
        """Left out by the document, or the quota, of that name. A record dropped by two counts for the first."""
        for position in positions:
            self.fates.setdefault(position, (Fate.DROPPED, by))

    def joined(self, by: str, positions: Iterable[int]) -> None:
        """Became part of another record's document (its own place in the topic has none)."""
        for position in positions:
            self.fates.setdefault(position, (Fate.JOINED, by))


class _About(msgspec.Struct, frozen=True, gc=False):
    namespace_name: str = ""


class _Log(msgspec.Struct, frozen=True, gc=False):
    cluster: str = ""
    tenant: str = ""
    kubernetes: _About | None = None
    specversion: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_log = msgspec.json.Decoder(_Log).decode


def plain_places(batch: Batch) -> Sequence[Place | None]:
    """The places of a batch's log records; None of what has to be drawn as the index does it (fields of other types
    than usual, very long names, a CloudEvent in structured mode). Read once a batch, whoever asks.

    Decodes three fields of each, 0.7 us a record: the rest of it is only passed over.
    """
    if batch.places is None:
        batch.places = list(map(plain_place, map(type(batch.messages[0]).value, batch.messages)))
    return batch.places


def plain_place(value: Any) -> Place | None:
    try:
        record = _decode_log(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return None
    about, tenant = record.kubernetes, record.tenant
    namespace = "" if about is None else about.namespace_name
    if record.specversion is not msgspec.UNSET or len(namespace) > MAX_NAME or len(tenant) > MAX_NAME:
        return None
    return record.cluster, namespace, tenant


def log_places(batch: Batch) -> Sequence[Place]:
    """The places of log records."""
    found = plain_places(batch)
    if None not in found:
        return cast(Sequence[Place], found)
    return [
        _odd_place(message.value()) if place is None else place
        for place, message in zip(found, batch.messages, strict=True)
    ]


def value_place(value: bytes) -> Place:
    """The place of one log record."""
    found = plain_place(value)
    return _odd_place(value) if found is None else found


def no_places(batch: Batch) -> list[Place]:
    """For records that are not to be told apart."""
    return [NOWHERE] * len(batch)


class _Involved(msgspec.Struct, frozen=True, gc=False):
    namespace: str | None = None


class _Event(msgspec.Struct, frozen=True, gc=False):
    cluster: str = ""
    tenant: str = ""
    namespace: str | None = None
    involved: _Involved | None = None


_decode_event = msgspec.json.Decoder(_Event).decode


def event_places(batch: Batch) -> list[Place]:
    """The places of records that have `cluster`, `tenant`, and `namespace` of their own or of what they are about."""
    out: list[Place] = []
    for message in batch.messages:
        try:
            record = _decode_event(message.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            out.append(NOWHERE)
            continue
        namespace = (record.involved and record.involved.namespace) or record.namespace or ""
        out.append((record.cluster, namespace, record.tenant))
    return out


def _odd_place(value: bytes | None) -> Place:
    """Of a record whose fields are of other types than usual: as the index would draw them."""
    from streams.sinks.index import fields
    from streams.sinks.index.port import Kind

    try:
        drawn = fields.draw(Kind.LOGS, fields.decode(value or b""))
    except ValueError:
        return NOWHERE
    cluster, namespace, tenant = (next(iter(each), "") for each in (drawn.cluster, drawn.namespace, drawn.tenants))
    return cluster, namespace, tenant


_TIME = itemgetter(1)


def times_of(messages: Sequence[Message]) -> list[int]:
    return list(map(_TIME, map(type(messages[0]).timestamp, messages)))


def tally(
    messages: Sequence[Message],
    places: Sequence[Place],
    fates: Mapping[int, tuple[Fate, str]],
    times: Sequence[int],
) -> Tally:
    """Count records: each under its hour, place and fate (by position; `INDEXED` where there is none)."""
    sizes = list(map(len, messages))
    first, last = hour_of(min(times)), hour_of(max(times))
    out: Tally = {}
    if first == last and not fates:
        for place, sum_ in _sums(places, sizes).items():
            _add(out, _line(first, place, Fate.INDEXED, ""), sum_)
        return out
    for position, (place, size, time) in enumerate(zip(places, sizes, times, strict=True)):
        fate, by = fates.get(position, (Fate.INDEXED, ""))
        _add(out, _line(hour_of(time), place, fate, by), Sum(1, size))
    return out


def _sums(places: Sequence[Place], sizes: Sequence[int]) -> dict[Place, Sum]:
    found: dict[Place, list[int]] = {}
    for place, size in zip(places, sizes, strict=True):
        if (entry := found.get(place)) is None:
            entry = found[place] = [0, 0]
        entry[0] += 1
        entry[1] += size
    return {place: Sum(*entry) for place, entry in found.items()}


def hour_of(time_ms: int) -> int:
    return max(time_ms, 0) // HOUR_MS


def _line(hour: int, place: Place, fate: Fate, by: str) -> Line:
    cluster, namespace, tenant = place
    return Line(hour, cluster[:MAX_NAME], namespace[:MAX_NAME], tenant[:MAX_NAME], fate.value, by[:MAX_NAME])


def _add(into: Tally, line: Line, sum_: Sum) -> None:
    known = into.get(line)
    into[line] = sum_ if known is None else known.plus(sum_)


def merge(into: Tally, more: Mapping[Line, Sum], limit: int = MAX_LINES) -> None:
    """Add `more` to `into`, which grows to about `limit` lines; what has no line of its own then shares one."""
    for line, sum_ in more.items():
        if line not in into and len(into) >= limit:
            line = line._replace(cluster=OTHER, namespace=OTHER, tenant="")
        _add(into, line, sum_)


def by_fate(lines: Mapping[Line, Sum]) -> dict[str, Sum]:
    out: dict[str, Sum] = {}
    for line, sum_ in lines.items():
        out[line.fate] = out.get(line.fate, Sum()).plus(sum_)
    return out
