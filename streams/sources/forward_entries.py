"""Entries of the forward protocol -> records of topic `logs`. Pure.

A record's value is the entry's map as JSON, with what it lacks added: `@timestamp` (its time, to the precision it came
with), `cluster`, and `tag` unless the record names its pod (`kubernetes`), which says the same shorter. Its Kafka
timestamp is the entry's time, its key `hash(tag, chunk id)-index` when the sender named the chunk.

JSON has less than msgpack: bytes that are not UTF-8 are replaced by U+FFFD, map keys become strings, NaN and infinity
null, extension types base64 text, and time extensions RFC 3339.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgpack
import msgspec
import orjson

from schemas.base import digest
from streams.errors import Invalid
from streams.record import Outgoing

TOPIC = "logs"
MAX_DEPTH = 100
"""Of nested maps and lists in a record: what JSON parsers down the line take."""
WINDOW_RECORDS = 4096
WINDOW_BYTES = 1 << 20
LATEST_S = 253_402_300_799
"""The end of year 9999: a later time is a unit mistaken, not a time."""
SECOND_NS = 1_000_000_000
_EVENT_TIME = struct.Struct(">II")


class Context(NamedTuple):
    """What entries do not say themselves. `max_bytes`: limit of a record, `now_ms`: when they arrived."""

    tag: str
    chunk: str
    cluster: str
    now_ms: int
    max_bytes: int


class Bad(NamedTuple):
    """An entry that can never be a record."""

    raw: bytes
    reason: str
    detail: str
    key: bytes | None = None


class Window:
    """Some entries: those that are records, and the others. `nbytes`: how long they were."""

    __slots__ = ("bad", "nbytes", "records")

    def __init__(self, nbytes: int = 0) -> None:
        self.records: list[Outgoing] = []
        self.bad: list[Bad] = []
        self.nbytes = nbytes

    @property
    def full(self) -> bool:
        return len(self.records) + len(self.bad) >= WINDOW_RECORDS or self.nbytes >= WINDOW_BYTES

    def add(self, other: Window) -> None:
        self.records += other.records
        self.bad += other.bad
        self.nbytes += other.nbytes

    def clear(self) -> None:
        self.records, self.bad, self.nbytes = [], [], 0


class Moment:
    """The protocol's EventTime."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        self.ns = ns


def windows(entries: bytes | memoryview, context: Context) -> Iterator[Window]:
    """The chunk's records piece by piece, so that what is in memory is bounded. Broken msgpack ends in a Bad rest."""
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(entries), 1))
    unpacker.feed(entries)
    view = memoryview(entries)
    prefix = f"{digest(context.tag, context.chunk)}-" if context.chunk else ""
    bounds, index = [0], 0
    error = ""
    while not error and bounds[-1] < len(view):
        try:
            unpacker.skip()
            bounds.append(unpacker.tell())
        except msgpack.OutOfData:
            error = "the last entry is cut off"
        except (ValueError, msgpack.UnpackException) as failure:
            error = f"{type(failure).__name__}: {failure}"[:200]
        if error or len(bounds) > WINDOW_RECORDS or bounds[-1] - bounds[0] > WINDOW_BYTES or bounds[-1] == len(view):
            window = _window(view, bounds, index, prefix, context)
            if error:
                window.bad.append(Bad(bytes(view[bounds[-1] :]), "bad_msgpack", error))
            yield window
            index += len(bounds) - 1
            bounds = bounds[-1:]


def _window(view: memoryview, bounds: list[int], index: int, prefix: str, context: Context) -> Window:
    window = Window(bounds[-1] - bounds[0])
    decoded = _decode_all(view, bounds)
    for i in range(len(bounds) - 1):
        start, end = bounds[i], bounds[i + 1]
        key = f"{prefix}{index + i}".encode() if prefix else None
        try:
            if end - start > context.max_bytes:
                raise Invalid("too_large", f"an entry of {end - start} bytes")
            entry = decoded[i] if decoded is not None else _decode(view[start:end])
            value, time_ms = render(entry, context)
            if len(value) > context.max_bytes:
                raise Invalid("too_large", f"a record of {len(value)} bytes of JSON")
        except Invalid as error:
            window.bad.append(Bad(bytes(view[start:end]), error.reason, error.detail, key))
            continue
        except (ValueError, ArithmeticError, TypeError) as error:
            # Not foreseen, but never a reason to hold back the others, nor to have them sent for ever.
            window.bad.append(Bad(bytes(view[start:end]), "bad_entry", f"{type(error).__name__}: {error}"[:200], key))
            continue
        window.records.append(Outgoing(TOPIC, value, key, None, time_ms))
    return window


def _decode_all(view: memoryview, bounds: list[int]) -> list[Any] | None:
    """All entries in one call, by an array header put in front; None when an entry is not plain."""
    head = b"\xdd" + (len(bounds) - 1).to_bytes(4, "big")
    if bounds[-1] - bounds[0] > 2 * WINDOW_BYTES:
        return None
    try:
        entries: list[Any] = _plain.decode(b"".join((head, view[bounds[0] : bounds[-1]])))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError):
        return None
    return entries


def _decode(raw: memoryview) -> Any:
    """One entry, whatever is in its strings and keys."""
    try:
        return msgpack.unpackb(
            raw,
            unicode_errors="replace",
            strict_map_key=False,
            object_pairs_hook=_pairs,
            ext_hook=_ext,
            timestamp=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise Invalid("bad_msgpack", f"{type(error).__name__}: {error}"[:200]) from None


def _pairs(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    return {_key(key): value for key, value in pairs}


def _ext(code: int, data: bytes | memoryview) -> Any:
    if code == 0 and len(data) == _EVENT_TIME.size:
        seconds, ns = _EVENT_TIME.unpack(data)
        return Moment(seconds * SECOND_NS + ns)
    return msgspec.msgpack.Ext(code, bytes(data))


_plain = msgspec.msgpack.Decoder(list[Any], ext_hook=_ext)


def render(entry: Any, context: Context) -> tuple[bytes, int]:
    """JSON and time (ms) of an entry `[time, record]` or `[[time, metadata], record]`. Raises Invalid."""
    if type(entry) is not list or len(entry) != 2 or type(entry[1]) is not dict:
        raise Invalid("bad_entry", "an entry is [time, record], the record a map")
    time, record = entry
    if type(time) is list:
        time = time[0] if time else None
    ns = nanoseconds(time)
    if ns is None:
        ns = context.now_ms * 1_000_000
    if "@timestamp" not in record:
        record["@timestamp"] = iso(ns)
    if not record.get("cluster"):
        record["cluster"] = context.cluster
    if "kubernetes" not in record and "tag" not in record:
        record["tag"] = context.tag
    return to_json(record), ns // 1_000_000


def nanoseconds(time: Any) -> int | None:
    """Since the epoch; None when it is not a time after it."""
    if type(time) is Moment:
        ns = int(time.ns)
    elif type(time) is int:
        ns = time * SECOND_NS
    elif type(time) is float and 0 < time < LATEST_S:
        ns = round(time * 1_000_000) * 1000
    elif isinstance(time, datetime):
        ns = round(time.timestamp() * 1_000_000) * 1000
    else:
        return None
    return ns if 0 < ns < LATEST_S * SECOND_NS else None


@lru_cache(16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso(ns: int) -> str:
    """RFC 3339 UTC in milliseconds, or in nanoseconds where there are any."""
    seconds, rest = divmod(ns, SECOND_NS)
    ms, finer = divmod(rest, 1_000_000)
    return f"{_second(seconds)}.{rest:09d}Z" if finer else f"{_second(seconds)}.{ms:03d}Z"


def to_json(record: dict[str, Any]) -> bytes:
    """JSON of a decoded map. Raises Invalid when it nests too deeply."""
    try:
        value = orjson.dumps(record, _default)
    except TypeError:
        try:
            value = orjson.dumps(_plainly(record, 0), _default)
        except TypeError as error:
            raise Invalid("bad_entry", str(error)[:200]) from None
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth(record) > MAX_DEPTH:
        raise _too_deep()
    return value


def _default(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return str(value, "utf-8", "replace")
    if isinstance(value, Moment):
        return iso(value.ns)
    if isinstance(value, msgspec.msgpack.Ext):
        return b64encode(value.data).decode()
    raise TypeError(f"no JSON for {type(value).__name__}")


def _plainly(value: Any, depth: int) -> Any:
    """The same with string keys. Raises Invalid past the depth limit."""
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, dict):
        return {_key(k): _plainly(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plainly(v, depth + 1) for v in value]
    return value


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    if isinstance(key, (bytes, bytearray, memoryview)):
        return str(key, "utf-8", "replace")
    if isinstance(key, Moment):
        return iso(key.ns)
    return "null" if key is None else str(key)


def _depth(value: Any) -> int:
    """Nesting, counted without recursion."""
    deepest, stack = 0, [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, (dict, list, tuple)):
            deepest = max(deepest, depth)
            stack += [(each, depth + 1) for each in (item.values() if isinstance(item, dict) else item)]
    return deepest


def _too_deep() -> Invalid:
    return Invalid("too_deep", f"more than {MAX_DEPTH} maps and lists within each other")
