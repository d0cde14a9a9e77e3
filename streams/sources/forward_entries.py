"""Entries of the forward protocol -> records of topic `logs`. Pure.

A record's value is the entry's map as JSON, with what it lacks added: `@timestamp` (its time, to the precision it came
with), `cluster`, and `tag` unless the record names its pod (`kubernetes`), which says the same shorter. Its Kafka
timestamp is the entry's time, its key `hash(tag, chunk id)-index` when the sender named the chunk.

The records of a window are rendered together (forward_render.py); a window in which one is special, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack

from schemas.base import digest
from streams.errors import Invalid
from streams.record import AHEAD_MS
from streams.sources.forward_render import Rendered, Renderer, Stamp
from streams.sources.forward_values import decoded, iso, nanoseconds, to_json

TOPIC = "logs"
WINDOW_RECORDS = 4096
WINDOW_BYTES = 1 << 20
_NUMBERS = [b"%d" % number for number in range(WINDOW_RECORDS)]


class Context(NamedTuple):
    """What entries do not say themselves. `max_bytes`: limit of a record, `now_ms`: when they arrived."""

    tag: str
    chunk: str
    cluster: str
    now_ms: int
    max_bytes: int
    renderer: Renderer

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.tag, self.cluster, self.now_ms * 1_000_000)


class Bad(NamedTuple):
    """An entry that can never be a record."""

    raw: bytes
    reason: str
    detail: str
    key: bytes | None = None


class Window:
    """Some entries: those that are records, in order, and the others. `nbytes`: how long they were."""

    __slots__ = ("bad", "keys", "nbytes", "times_ms", "values")

    def __init__(self, nbytes: int = 0) -> None:
        self.values: list[bytes] = []
        self.keys: list[bytes | None] = []
        self.times_ms: list[int] = []
        self.bad: list[Bad] = []
        self.nbytes = nbytes


def windows(entries: bytes | memoryview, context: Context) -> Iterator[Window]:
    """The chunk's records piece by piece, so that what is in memory is bounded. Broken msgpack ends in a Bad rest."""
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(entries), 1))
    unpacker.feed(entries)
    skip, tell = unpacker.skip, unpacker.tell
    view, length = memoryview(entries), len(entries)
    prefix = f"{digest(context.tag, context.chunk)}-".encode() if context.chunk else b""
    bounds, end, index = [0], 0, 0
    error = ""
    while not error and end < length:
        limit = end + WINDOW_BYTES
        try:
            while end < length and end <= limit and len(bounds) <= WINDOW_RECORDS:
                skip()
                end = tell()
                bounds.append(end)
        except msgpack.OutOfData:
            error = "the last entry is cut off"
        except (ValueError, msgpack.UnpackException) as failure:
            error = f"{type(failure).__name__}: {failure}"[:200]
        window = _window(view, bounds, _keys(prefix, index, len(bounds) - 1), context)
        if error:
            window.bad.append(Bad(bytes(view[end:]), "bad_msgpack", error))
        yield window
        index += len(bounds) - 1
        bounds = [end]


def _keys(prefix: bytes, first: int, count: int) -> list[bytes | None]:
    if not prefix:
        return [None] * count
    if first + count <= len(_NUMBERS):
        return [prefix + number for number in _NUMBERS[first : first + count]]
    return [b"%b%d" % (prefix, number) for number in range(first, first + count)]


def _window(view: memoryview, bounds: list[int], keys: list[bytes | None], context: Context) -> Window:
    window = Window(bounds[-1] - bounds[0])
    together = _together(view, bounds, context)
    if together is None:
        _one_by_one(window, view, bounds, keys, context)
    else:
        window.values, window.times_ms = together
        window.keys = keys
    window.times_ms = _in_time(window.times_ms, context.now_ms)
    return window


def _in_time(times_ms: list[int], now_ms: int) -> list[int]:
    """Times as Kafka takes them: now for those far ahead, whose segments would never expire."""
    latest_ms = now_ms + AHEAD_MS
    if not times_ms or max(times_ms) <= latest_ms:
        return times_ms
    return [ms if ms <= latest_ms else now_ms for ms in times_ms]


def _together(view: memoryview, bounds: list[int], context: Context) -> Rendered | None:
    """None when an entry is special, or none of them is left."""
    size = bounds[-1] - bounds[0]
    if not size or size > 2 * WINDOW_BYTES:
        return None
    made = context.renderer.render(view[bounds[0] : bounds[-1]], len(bounds) - 1, context.stamp)
    return made if made is not None and max(map(len, made.values)) <= context.max_bytes else None


def _one_by_one(
    window: Window, view: memoryview, bounds: list[int], keys: list[bytes | None], context: Context
) -> None:
    for i, key in enumerate(keys):
        start, end = bounds[i], bounds[i + 1]
        try:
            if end - start > context.max_bytes:
                raise Invalid("too_large", f"an entry of {end - start} bytes")
            value, time_ms = _render(decoded(view[start:end]), context)
            if len(value) > context.max_bytes:
                raise Invalid("too_large", f"a record of {len(value)} bytes of JSON")
        except Invalid as error:
            window.bad.append(Bad(bytes(view[start:end]), error.reason, error.detail, key))
        except (ValueError, ArithmeticError, TypeError) as error:
            # Not foreseen, but never a reason to hold back the others, nor to have them sent for ever.
            window.bad.append(Bad(bytes(view[start:end]), "bad_entry", f"{type(error).__name__}: {error}"[:200], key))
        else:
            window.values.append(value)
            window.keys.append(key)
            window.times_ms.append(time_ms)


def _render(entry: Any, context: Context) -> tuple[bytes, int]:
    """JSON and time (ms) of an entry `[time, record]` or `[[time, metadata], record]`. Raises Invalid."""
    if type(entry) is not list or len(entry) != 2 or type(entry[1]) is not dict:
        raise Invalid("bad_entry", "an entry is [time, record], the record a map")
    ns = nanoseconds(entry[0]) or context.now_ms * 1_000_000
    _complete(entry[1], ns, context)
    return to_json(entry[1]), ns // 1_000_000


def _complete(record: dict[Any, Any], ns: int, context: Context) -> None:
    """What every record says, put into one that does not."""
    if "@timestamp" not in record:
        record["@timestamp"] = iso(ns)
    if not record.get("cluster"):
        record["cluster"] = context.cluster
    if "kubernetes" not in record and "tag" not in record:
        record["tag"] = context.tag
