"""Bulk bodies (NDJSON) of a batch: `create` with our own id, so that a document written again is answered 409. Pure.

The hot way (logs) never parses a record: where it stands is spliced into its JSON text before the last brace. What
that cannot express is rendered record by record; what Elasticsearch then refuses is stored in its fallback form, made
of the values drawn from the record, with the original text beside them in `_where.unparsed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from streams.batch import Batch
from streams.sinks.index import fields
from streams.sinks.index.elasticsearch.templates import WHERE
from streams.sinks.index.fields import APP_LABELS
from streams.sinks.index.ids import MAX_ID_BYTES, day_of, document_id, index_name, place_id, sort_time
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


Render = Callable[[Kind, str, Batch, Sequence[int]], Rendered]


def plain(kind: Kind, prefix: str, batch: Batch, positions: Sequence[int]) -> Rendered:
    """Documents as the records came, plus where they stand."""
    if kind is Kind.LOGS and isinstance(positions, range):
        body = _spliced(prefix, batch, positions)
        if body is not None:
            return Rendered(body, {})
    return _one_by_one(_document, kind, prefix, batch, positions)


def fallback(kind: Kind, prefix: str, batch: Batch, positions: Sequence[int]) -> Rendered:
    """Documents that no mapping of ours refuses: the values drawn, and the original text unsearched beside them."""
    return _one_by_one(_fallback_document, kind, prefix, batch, positions)


def _spliced(prefix: str, batch: Batch, positions: range) -> Body | None:
    """The hot way, 0.5 us a record; None when a record among them needs the other: no value, a line break, a key to
    be escaped, different days. Whether a value is a JSON object at all is Elasticsearch's to find out."""
    messages = batch.messages[positions.start : positions.stop]
    of = type(messages[0])
    values: list[Any] = list(map(of.value, messages))
    times = list(map(_TIME, map(of.timestamp, messages)))
    offsets = list(map(of.offset, messages))
    ids: list[Any] = list(map(of.key, messages))
    day = day_of(min(times))
    if day < 0 or day != day_of(max(times)) or not all(values):
        return None
    for value in values:
        if b"\n" in value:
            return None
    if not any(ids):
        stem = place_id(batch.topic_id, batch.partition, 0)[:-1].encode()
        ids = [b"%b%d" % (stem, offset) for offset in offsets]
    if not all(ids) or max(map(len, ids)) > MAX_ID_BYTES or b"".join(ids).translate(None, _SAFE):
        return None
    line = b'{"create":{"_id":"%%b"}}\n%%b,"%b":{"topic":%b,"partition":%d,"offset":%%d,"time":%%d}}\n' % (
        WHERE.encode(),
        _encode(batch.topic),
        batch.partition,
    )
    lines = [line % (a, value[:-1], b, c) for a, value, b, c in zip(ids, values, offsets, times, strict=True)]
    return Body(index_name(prefix, Kind.LOGS, day), positions, b"".join(lines))


def _one_by_one(
    document: Callable[[Kind, bytes, dict[str, Any], dict[str, Any]], bytes],
    kind: Kind,
    prefix: str,
    batch: Batch,
    positions: Sequence[int],
) -> Rendered:
    bad: dict[int, str] = {}
    stored: list[int] = []
    lines: list[bytes] = []
    for position in positions:
        message = batch.messages[position]
        value = message.value()
        if value is None and kind is Kind.OBJECTS:
            continue  # a tombstone: the change `deleted` before it says it all
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
        target = {
            "_index": index_name(prefix, kind, day_of(time)),
            "_id": document_id(kind, batch.topic_id, batch.partition, message, record),
        }
        lines += [_encode({"create": target}), document(kind, value or b"", record, where)]
        stored.append(position)
    return Rendered(Body("", stored, b"\n".join([*lines, b""])), bad)


def _document(kind: Kind, value: bytes, record: dict[str, Any], where: dict[str, Any]) -> bytes:
    """The record's own text with `where` spliced in; a line break outside of strings is white space in JSON."""
    if kind is not Kind.LOGS:
        where = msgspec.to_builtins(fields.draw(kind, record)) | where
    text = value.strip().replace(b"\n", b" ")
    return b'%b%b"%b":%b}' % (text[:-1], b"," if record else b"", WHERE.encode(), _encode(where))


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
    return _encode(
        {"cluster": drawn.cluster, "tenant": drawn.tenants, "log": drawn.text, "kubernetes": about, WHERE: where}
    )


def restored(source: Mapping[str, Any]) -> dict[str, Any]:
    """The record a document was made of, from its `_source`."""
    where = source.get(WHERE, {})
    unparsed = where.get("unparsed") if isinstance(where, dict) else None
    if isinstance(unparsed, str):
        return fields.decode(unparsed.encode())
    return {name: value for name, value in source.items() if name != WHERE}
