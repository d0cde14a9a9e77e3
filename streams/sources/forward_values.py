"""Values of the forward protocol, one by one: msgpack -> Python -> JSON, and times. Pure.

JSON has less than msgpack: bytes that are not UTF-8 are replaced by U+FFFD, map keys become strings, NaN and infinity
null, extension types base64 text, and time extensions RFC 3339.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgpack
import msgspec
import orjson

from streams.errors import Invalid

MAX_DEPTH = 100
"""Of nested maps and lists in a record: what JSON parsers down the line take."""
LATEST_S = 253_402_300_799
"""The end of year 9999: a later time is a unit mistaken, not a time."""
SECOND_NS = 1_000_000_000
_EVENT_TIME = struct.Struct(">II")


class Moment:
    """The protocol's EventTime."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        self.ns = ns


def decoded(raw: memoryview) -> Any:
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


def nanoseconds(time: Any) -> int | None:
    """Since the epoch, of a decoded time; None when it is not one after it."""
    if type(time) is list:  # Fluent Bit puts metadata beside the time
        time = time[0] if time else None
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


@lru_cache(64)
def second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def iso(ns: int) -> str:
    """RFC 3339 UTC in milliseconds, or in nanoseconds where there are any."""
    seconds, rest = divmod(ns, SECOND_NS)
    return f"{second(seconds)}{rest:09d}Z" if rest % 1_000_000 else f"{second(seconds)}{rest // 1_000_000:03d}Z"


def to_json(value: Any) -> bytes:
    """JSON of a decoded value. Raises Invalid when it nests too deeply."""
    try:
        text = orjson.dumps(value, default)
    except TypeError:
        try:
            text = orjson.dumps(_plainly(value, 0), default)
        except TypeError as error:
            raise Invalid("bad_entry", str(error)[:200]) from None
    if brackets(text) > MAX_DEPTH and depth(value) > MAX_DEPTH:
        raise _too_deep()
    return text


def brackets(text: bytes) -> int:
    """At least as many as maps and lists nest in this JSON."""
    return text.count(b"{") + text.count(b"[")


def default(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return str(value, "utf-8", "replace")
    if isinstance(value, Moment):
        return iso(value.ns)
    if isinstance(value, msgspec.msgpack.Ext):
        value = _ext(value.code, bytes(value.data))
        return iso(value.ns) if isinstance(value, Moment) else b64encode(value.data).decode()
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


def depth(value: Any) -> int:
    """Nesting, counted without recursion."""
    deepest, stack = 0, [(value, 1)]
    while stack:
        item, level = stack.pop()
        if isinstance(item, (dict, list, tuple)):
            deepest = max(deepest, level)
            stack += [(each, level + 1) for each in (item.values() if isinstance(item, dict) else item)]
    return deepest


def _too_deep() -> Invalid:
    return Invalid("too_deep", f"more than {MAX_DEPTH} maps and lists within each other")
