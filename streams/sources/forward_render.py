"""Many entries of the forward protocol -> JSON at once: msgpack values are spliced as JSON text. Pure but for a cache.

What costs most of a log record is what it shares with its neighbours: the names of fields, the stream, all the labels
of its pod. So values are first cut, not decoded, and looked at field by field: what was seen before has its JSON in a
cache, the rest of a field is decoded in one call and rendered in another.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
import orjson

from streams.errors import Invalid
from streams.sources.forward_values import (
    MAX_DEPTH,
    SECOND_NS,
    brackets,
    decoded,
    default,
    iso,
    nanoseconds,
    second,
    to_json,
)

CACHED = 4096
"""Values, and names, the cache holds before it begins anew."""
CACHED_BYTES = 8 << 10
"""The largest value worth remembering."""
ENOUGH = 50
"""Different values of a field, and none of them known, that make it one not to look up any more."""
_EVENT_TIMES = struct.Struct(">2xII")
_NEWLINE = orjson.Fragment(b"\n")
"""Stands between values rendered in one call: JSON text has no line feed of its own."""
_EMPTY = frozenset({b"\xa0", b"\xc0", b"\xc2", b"\x00", b"\x80", b"\x90", b"\xc4\x00", b"\xd9\x00"})
"""What a record may say of its cluster without naming one."""

_entries = msgspec.msgpack.Decoder(list[tuple[msgspec.Raw, dict[str, msgspec.Raw]]])
_values = msgspec.msgpack.Decoder(list[Any])
Record = dict[str, msgspec.Raw]
Entries = list[tuple[msgspec.Raw, Record]]


class Stamp(NamedTuple):
    """What records get that do not say it themselves."""

    tag: str
    cluster: str
    now_ns: int


class Rendered(NamedTuple):
    values: list[bytes]
    times_ms: list[int]


class Renderer:
    """One for all connections; what it remembers is bounded, and only ever what the bytes themselves say."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}
        self._unique: set[str] = set()
        """Fields whose values were all different: not worth looking up."""

    def render(self, entries: memoryview, count: int, stamp: Stamp) -> Rendered | None:
        """None when one of the `count` entries is not `[time, {text: value}]`, or nests too deeply."""
        try:
            found: Entries = _entries.decode(b"".join((b"\xdd", count.to_bytes(4, "big"), entries)))
            times = [ns or stamp.now_ns for ns in _times(found)]
            values = self._values([record for _, record in found], times, stamp)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError, Invalid):
            return None
        return Rendered(values, [ns // 1_000_000 for ns in times])

    def _values(self, records: list[Record], times: list[int], stamp: Stamp) -> list[bytes]:
        if len(self._known) > CACHED:
            self._known.clear()
        if len(self._unique) > CACHED:
            self._unique.clear()
        shapes = list(map(tuple, records))
        if shapes.count(shapes[0]) == len(shapes):
            return self._alike(shapes[0], records, times, stamp)
        places: dict[tuple[str, ...], list[int]] = {}
        for place, shape in enumerate(shapes):
            places.setdefault(shape, []).append(place)
        out = [b""] * len(records)
        for shape, those in places.items():
            made = self._alike(shape, [records[place] for place in those], [times[place] for place in those], stamp)
            for place, value in zip(those, made, strict=True):
                out[place] = value
        return out

    def _alike(self, names: tuple[str, ...], records: list[Record], times: list[int], stamp: Stamp) -> list[bytes]:
        """Records with the same fields, column by column."""
        columns = zip(*[record.values() for record in records], strict=True)
        texts = [self._column(name, column) for name, column in zip(names, columns, strict=True)]
        if "@timestamp" in names or "cluster" in names:
            rows = zip(*texts, strict=True)
            return [_special(*each, stamp) for each in zip(records, rows, times, strict=True)]
        pieces: list[Iterable[bytes]] = []
        for name, column_texts in zip(names, texts, strict=True):
            pieces += (repeat((b"," if pieces else b"{") + orjson.dumps(name) + b":"), column_texts)
        end = b'","cluster":' + orjson.dumps(stamp.cluster)
        if "kubernetes" not in names and "tag" not in names:
            end += b',"tag":' + orjson.dumps(stamp.tag)
        pieces += (repeat((b"," if pieces else b"{") + b'"@timestamp":"'), _shown(times), repeat(end + b"}"))
        return list(map(b"".join, zip(*pieces)))  # noqa: B905 (some of them have no end)

    def _column(self, name: str, column: tuple[msgspec.Raw, ...]) -> Sequence[bytes]:
        """JSON of the values of one field. Raises Invalid for one that nests too deeply."""
        if name in self._unique:
            return _rendered(column)
        if b"".join(column) == bytes(column[0]) * len(column):
            return [self._known_text(bytes(column[0]))] * len(column)
        raws = list(map(bytes, column))
        known = self._known
        texts = list(map(known.get, raws))
        places = [place for place, text in enumerate(texts) if text is None]
        for place, text in zip(places, _rendered([raws[place] for place in places]), strict=True):
            texts[place] = text
            if len(raws[place]) <= CACHED_BYTES:
                known[raws[place]] = text
        if len(places) == len(raws) >= ENOUGH and len(set(raws)) == len(raws):
            self._unique.add(name)
        return texts  # type: ignore[return-value]

    def _known_text(self, raw: bytes) -> bytes:
        if (text := self._known.get(raw)) is None:
            (text,) = _rendered([raw])
            if len(raw) <= CACHED_BYTES:
                self._known[raw] = text
        return text


def _shown(times: list[int]) -> list[bytes]:
    """RFC 3339 in milliseconds, or in nanoseconds where there are any."""
    out: list[bytes] = []
    now, shown = -1, b""
    for ns in times:
        seconds, rest = divmod(ns, SECOND_NS)
        if seconds != now:
            now, shown = seconds, second(seconds).encode()
        out.append(b"%b%09dZ" % (shown, rest) if rest % 1_000_000 else b"%b%03dZ" % (shown, rest // 1_000_000))
    return out


def _special(record: Record, texts: tuple[bytes, ...], ns: int, stamp: Stamp) -> bytes:
    """A record that says its time or cluster itself."""
    fields = dict(zip(map(orjson.dumps, record), texts, strict=True))
    fields.setdefault(b'"@timestamp"', orjson.dumps(iso(ns)))
    if bytes(record.get("cluster", b"\xc0")) in _EMPTY:
        fields[b'"cluster"'] = orjson.dumps(stamp.cluster)
    if "kubernetes" not in record and "tag" not in record:
        fields[b'"tag"'] = orjson.dumps(stamp.tag)
    return b"{%b}" % b",".join([b"%b:%b" % field for field in fields.items()])


def _rendered(raws: Sequence[bytes | msgspec.Raw]) -> list[bytes]:
    """JSON of msgpack values. Raises Invalid for one that nests too deeply, being in a record."""
    if not raws:
        return []
    try:
        values = _values.decode(b"".join((b"\xdd", len(raws).to_bytes(4, "big"), *raws)))
        pieces: list[Any] = [_NEWLINE] * (2 * len(values))
        pieces[::2] = values
        texts = orjson.dumps(pieces, default)[1:-3].split(b",\n,")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, TypeError, OverflowError):
        texts = [to_json(decoded(memoryview(raw))) for raw in raws]
    if any(text[0] in b"{[" and brackets(text) >= MAX_DEPTH for text in texts):
        raise Invalid("too_deep", "perhaps: to be looked at one by one")
    return texts


def _times(entries: Entries) -> Iterable[int | None]:
    """Of each entry, in ns."""
    joined = b"".join([time for time, _ in entries])
    count = len(entries)
    # An EventTime of 8 bytes is 10 bytes of msgpack: where one begins at each tenth byte, there is nothing else.
    if joined[::10] == b"\xd7" * count and joined[1::10] == bytes(count) and len(joined) == 10 * count:
        return [seconds * SECOND_NS + ns for seconds, ns in _EVENT_TIMES.iter_unpack(joined)]
    return (nanoseconds(decoded(memoryview(time))) for time, _ in entries)
