"""Bulk bodies (NDJSON) of a batch: `create` with our own id, so that a document written again is answered 409. Pure.

The hot way (logs) never parses a record: where it stands is spliced into its JSON text before the last brace. What
that cannot express is rendered record by record; what Elasticsearch then refuses is stored in its fallback form, made
of the values drawn from the record, with the original text beside them in `_where.unparsed`, and in `_where.fallback`
which field was refused and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from streams.accounts import Place, plain_places
from streams.batch import Batch
from streams.sinks.index import fields
from streams.sinks.index.elasticsearch.reply import field_of
from streams.sinks.index.elasticsearch.templates import WHERE
from streams.sinks.index.elasticsearch.tiers import Names
from streams.sinks.index.fields import APP_LABELS
from streams.sinks.index.ids import DAY_MS, MAX_ID_BYTES, day_of, document_id, index_name, place_id, sort_time
from streams.sinks.index.language_fields import FIXED, NAME
from streams.sinks.index.port import Kind

_SAFE = bytes(range(48, 58)) + bytes(range(65, 91)) + bytes(range(97, 123)) + b"-_.:/+=@"
"""Bytes of a key that stand for themselves in JSON text."""
_TIME = itemgetter(1)
_encode = msgspec.json.Encoder().encode


class Body(NamedTuple):
    """One bulk request to index `target` (empty: each action names its own); `positions`: those of its items."""

    target: str
    positions: Sequence[int]
    payload: bytes


class Rendered(NamedTuple):
    body: Body
    bad: dict[int, str]
    """Positions that can never be stored, and why."""


Render = Callable[[Kind, Names, Batch, Sequence[int]], Rendered]


def plain(kind: Kind, names: Names, batch: Batch, positions: Sequence[int]) -> Rendered:
    """Documents as the records came, plus where they stand."""
    if kind is Kind.LOGS and isinstance(positions, range):
        body = _spliced(names, batch, positions)
        if body is not None:
            return Rendered(body, {})
    return _one_by_one(_document, kind, names, batch, positions)


def fallback(why: Mapping[int, str]) -> Render:
    """Documents that no mapping of ours refuses: the values drawn, and the original text unsearched beside them.
    `why`: what Elasticsearch said of each position."""

    def render(kind: Kind, names: Names, batch: Batch, positions: Sequence[int]) -> Rendered:
        return _one_by_one(_fallback_document, kind, names, batch, positions, why)

    return render


def _spliced(names: Names, batch: Batch, positions: range) -> Body | None:
    """The hot way, 0.5 us a record (0.9 with tiers); None when a record among them needs the other: no value, a line
    break, a key to be escaped, a time that cannot be right. Whether a value is a JSON object at all is Elasticsearch's
    to find out."""
    messages = batch.messages[positions.start : positions.stop]
    of = type(messages[0])
    values: list[Any] = list(map(of.value, messages))
    times = list(map(_TIME, map(of.timestamp, messages)))
    offsets = list(map(of.offset, messages))
    ids: list[Any] = list(map(of.key, messages))
    first, last = day_of(min(times)), day_of(max(times))
    if first < 0 or last < 0 or not all(values):
        return None
    for value in values:
        if b"\n" in value:
            return None
    if not any(ids):
        stem = place_id(batch.topic_id, batch.partition, 0)[:-1].encode()
        ids = [b"%b%d" % (stem, offset) for offset in offsets]
    if not all(ids) or max(map(len, ids)) > MAX_ID_BYTES or b"".join(ids).translate(None, _SAFE):
        return None
    line = b'%%b,"%b":{"topic":%b,"partition":%d,"offset":%%d,"time":%%d}}\n' % (
        WHERE.encode(),
        _encode(batch.topic),
        batch.partition,
    )
    if first == last and not names.tiers:
        line = b'{"create":{"_id":"%b"}}\n' + line
        lines = [line % (a, value[:-1], b, c) for a, value, b, c in zip(ids, values, offsets, times, strict=True)]
        return Body(index_name(names.prefix, Kind.LOGS, first), positions, b"".join(lines))
    line = b'{"create":{"_index":"%b","_id":"%b"}}\n' + line
    places = plain_places(batch)[positions.start : positions.stop] if names.tiers else [None] * len(values)
    indices = _indices(names, values, places, times)
    rows = zip(indices, ids, values, offsets, times, strict=True)
    return Body("", positions, b"".join([line % (index, a, value[:-1], b, c) for index, a, value, b, c in rows]))


def _indices(
    names: Names, values: Sequence[bytes], places: Sequence[Place | None], times: Sequence[int]
) -> list[bytes]:
    """The index of each log record; `times` are such as can be right."""
    known: dict[tuple[int, Place | None], bytes] = {}
    out = []
    for value, place, time in zip(values, places, times, strict=True):
        at = time // DAY_MS, place
        index = known.get(at)
        if index is None:
            index = index_name(names.prefix, Kind.LOGS, at[0], names.tiers.of(value, place)).encode()
            if place is not None or not names.tiers:
                known[at] = index
        out.append(index)
    return out


def _one_by_one(
    document: Callable[[Kind, bytes, dict[str, Any], dict[str, Any]], bytes],
    kind: Kind,
    names: Names,
    batch: Batch,
    positions: Sequence[int],
    why: Mapping[int, str] | None = None,
) -> Rendered:
    bad: dict[int, str] = {}
    stored: list[int] = []
    lines: list[bytes] = []
    for position in positions:
        message = batch.messages[position]
        value = message.value()
        if value is None and kind is Kind.OBJECTS:
            continue  # a tombstone: the change `deleted` before it says it all
        record: dict[str, Any] = {}
        if kind is not Kind.LOGS or why is not None:
            # A log record as it came is for Elasticsearch to judge, here as on the hot way: what becomes of it must
            # not depend on the records it is sent with.
            try:
                record = fields.decode(value or b"")
            except ValueError as error:
                bad[position] = str(error)
                continue
        time = message.timestamp()[1]
        where = {
            "topic": batch.topic,
            "partition": batch.partition,
            "offset": message.offset(),
            "time": sort_time(time),
        }
        if why is not None:
            where["fallback"] = {"field": field_of(why.get(position, "")), "why": why.get(position, "")}
        target = {
            "_index": names.of(kind, time, value or b""),
            "_id": document_id(kind, batch.topic_id, batch.partition, message, record),
        }
        lines += [_encode({"create": target}), document(kind, value or b"", record, where)]
        stored.append(position)
    return Rendered(Body("", stored, b"\n".join([*lines, b""])), bad)


def _document(kind: Kind, value: bytes, record: dict[str, Any], where: dict[str, Any]) -> bytes:
    """The record's own text with `where` spliced in; a line break outside of strings is white space in JSON."""
    if kind is not Kind.LOGS:
        where = msgspec.to_builtins(fields.draw(kind, record)) | where
    text = value.strip().replace(b"\n", b" ")[:-1]
    return b'%b%b"%b":%b}' % (text, b"" if text.rstrip() == b"{" else b",", WHERE.encode(), _encode(where))


def _fallback_document(kind: Kind, value: bytes, record: dict[str, Any], where: dict[str, Any]) -> bytes:
    drawn = fields.draw(kind, record)
    where = where | {"unparsed": value.decode("utf-8", "replace")}
    if kind is not Kind.LOGS:
        return _encode({WHERE: msgspec.to_builtins(drawn) | where})
    about = {
        "namespace_name": drawn.namespace,
        "pod_name": drawn.pod,
        "container_name": drawn.container,
        "labels": {APP_LABELS[-1]: drawn.workload},
    }
    simple = (name for name in record if name[:1] != "_" and "." not in name and NAME.fullmatch(name))
    own = {name: record[name] for name in simple if _is_plain(record[name])}
    ours = {"cluster": drawn.cluster, "tenant": drawn.tenants, "log": drawn.text, "kubernetes": about, WHERE: where}
    return _encode({name: value for name, value in own.items() if name not in FIXED} | ours)


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float)) or (isinstance(value, list) and all(map(_is_scalar, value)))


def _is_scalar(value: object) -> bool:
    return isinstance(value, (str, int, float))


def restored(source: Mapping[str, Any]) -> dict[str, Any]:
    """The record a document was made of, from its `_source`."""
    where = source.get(WHERE, {})
    unparsed = where.get("unparsed") if isinstance(where, dict) else None
    if isinstance(unparsed, str):
        return fields.decode(unparsed.encode())
    return {name: value for name, value in source.items() if name != WHERE}


def note_of(where: Mapping[str, Any]) -> str:
    """Why a document is in its fallback form; empty when it is not."""
    fallback = where.get("fallback")
    return str(fallback.get("why", "")) if isinstance(fallback, dict) else ""
