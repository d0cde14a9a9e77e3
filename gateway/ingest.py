"""Log records as they come over HTTP: NDJSON or a JSON array in, records for Kafka out, their bytes as they were. Pure.

Only looked at to see that each is a JSON object, when it happened, and whether it names its cluster and tenant: all
lines of a body in one call, which skips the other fields. A body with something wrong is read again line by line.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import msgspec
import orjson

from schemas.base import UNREADABLE, digest, parse_time
from streams.bulk import BATCH_BYTES
from streams.errors import Invalid
from streams.record import AHEAD_MS, Bulk

TOPIC = "logs"
NAMED = 20
"""Bad lines named in an error; the rest are counted."""
_MILLISECONDS = 100_000_000_000
"""A number from here on is not of seconds."""


class Head(msgspec.Struct, gc=False):
    """What has to be known of a record; the times in the order in which they count."""

    at: Any = msgspec.field(name="@timestamp", default=None)
    time: Any = None
    timestamp: Any = None
    date: Any = None
    cluster: Any = msgspec.UNSET
    tenant: Any = msgspec.UNSET


class Line(NamedTuple):
    number: int
    """1 for the first: the line of NDJSON, or the item of an array."""
    raw: bytes


class Sender(NamedTuple):
    """What is the same for all records of one request."""

    cluster: str
    tenant: str
    """Empty: a platform's own sender, which may speak for any tenant."""
    key: str
    """`Idempotency-Key`: with it a record's id is hash(tenant, key)-index, so that a retry is recognised."""


_heads = msgspec.json.Decoder(Head)
_cluster = attrgetter("cluster")
_at = attrgetter("at")
_first, _second_byte, _last = itemgetter(0), itemgetter(1), itemgetter(-1)
_OPEN, _QUOTE, _CLOSE = b'{"}'


def bulks(body: bytes, sender: Sender, *, now_ms: int, limit: int) -> list[Bulk]:
    """The records of `body`, or Invalid whose `indexes` names the bad lines (from 1) and why: all or nothing."""
    found = _together(body, limit)
    values, times = _finished(found, sender, now_ms) if found else _one_by_one(body, sender, now_ms, limit)
    return cut(values, times, f"{digest('http', sender.tenant, sender.key)}-" if sender.key else "")


def cut(values: list[bytes], times_ms: list[int], prefix: str) -> list[Bulk]:
    """Records of one request in bulks that fit a batch; with a `prefix` their keys are that and their number."""
    keys: list[bytes | None] = [None] * len(values)
    if prefix:
        keys = [f"{prefix}{number}".encode() for number in range(len(values))]
    sizes = list(accumulate(map(len, values), initial=0))
    out: list[Bulk] = []
    start = 0
    while start < len(values):
        end = max(start + 1, bisect_right(sizes, sizes[start] + BATCH_BYTES) - 1)
        part = slice(start, end)
        out.append(Bulk(TOPIC, values[part], keys[part], times_ms[part], f"{prefix}{len(out)}" if prefix else ""))
        start = end
    return out


class _Lines(NamedTuple):
    """Of a body that is one object a line: its lines, and what is to be known of each."""

    raws: list[bytes]
    heads: list[Head]


def _together(body: bytes, limit: int) -> _Lines | None:
    """All lines at once; None when the body is not simply one object a line."""
    text = body.strip()
    raws = text.split(b"\n")
    # Within JSON no `}` is followed by a line feed and `{`: where all line feeds stand so, lines are whole.
    if not (all(raws) and set(map(_first, raws)) == {_OPEN} and set(map(_last, raws)) == {_CLOSE}):
        return None
    try:
        text.decode()  # what is skipped over is not looked at
        heads = _heads.decode_lines(text)
    except UNREADABLE:
        return None
    if len(heads) != len(raws) or (len(text) > limit and max(map(len, raws)) > limit):
        return None
    return _Lines(raws, heads)


def _finished(found: _Lines, sender: Sender, now_ms: int) -> tuple[list[bytes], list[int]]:
    return _alike(found, sender) or _line_by_line(found, sender), _times(found.heads, now_ms)


def _alike(found: _Lines, sender: Sender) -> list[bytes] | None:
    """The records when all of them name their cluster, or all neither that nor a tenant; None for any other body."""
    raws, heads = found
    clusters = list(map(_cluster, heads))
    if not sender.tenant and msgspec.UNSET not in clusters and all(clusters):
        return raws
    unnamed = clusters.count(msgspec.UNSET) == len(heads)
    tenants = sender.tenant and any(head.tenant is not msgspec.UNSET for head in heads)
    # A quote after the brace: there is a field to put ours before.
    if not unnamed or tenants or set(map(_second_byte, raws)) != {_QUOTE}:
        return None
    front = _front(sender) + b","
    return [front + raw[1:] for raw in raws]


def _line_by_line(found: _Lines, sender: Sender) -> list[bytes]:
    wrong: dict[int, str] = {}
    values: list[bytes] = []
    front = _front(sender)
    for number, (raw, head) in enumerate(zip(*found, strict=True), 1):
        try:
            values.append(_value(raw, head, sender, front))
        except ValueError as error:
            wrong[number] = str(error)
    if wrong:
        raise _invalid(wrong)
    return values


def _one_by_one(body: bytes, sender: Sender, now_ms: int, limit: int) -> tuple[list[bytes], list[int]]:
    values: list[bytes] = []
    times: list[int] = []
    wrong: dict[int, str] = {}
    front = _front(sender)
    for line in lines(body):
        try:
            if not isinstance(orjson.loads(line.raw), dict):
                raise ValueError("not a JSON object")
            head = _heads.decode(line.raw)
            value = _value(_on_one_line(line.raw), head, sender, front)
            if len(value) > limit:
                raise ValueError(f"over {limit} bytes")
        except RecursionError:
            wrong[line.number] = "nested too deeply"
        except ValueError as error:
            wrong[line.number] = str(error)
        else:
            values.append(value)
            times.append(_time(head, now_ms))
    if wrong:
        raise _invalid(wrong)
    return values, times


def lines(body: bytes) -> Iterable[Line]:
    """The records of a body. Raises Invalid when it is an array that is not JSON."""
    if body.lstrip()[:1] == b"[":
        try:
            items = msgspec.json.decode(body, type=list[msgspec.Raw])
        except UNREADABLE as error:
            raise Invalid("json", f"the array is not JSON: {error}") from None
        return (Line(number, bytes(item).strip()) for number, item in enumerate(items, 1))
    return _ndjson(body)


def _ndjson(body: bytes) -> Iterator[Line]:
    for number, line in enumerate(body.split(b"\n"), 1):
        if line := line.strip():
            yield Line(number, line)


def _on_one_line(raw: bytes) -> bytes:
    """As readers of topic `logs` splice it; an item of an array may come on several."""
    return raw if b"\n" not in raw and b"\r" not in raw else orjson.dumps(orjson.loads(raw))


def _front(sender: Sender) -> bytes:
    """What is put before the fields of a record that names neither."""
    more = {"cluster": sender.cluster} | ({"tenant": sender.tenant} if sender.tenant else {})
    return orjson.dumps(more)[:-1]


def _value(raw: bytes, head: Head, sender: Sender, front: bytes) -> bytes:
    """The record with fields put in front of its own bytes; rewritten only where it says them itself but differently.

    Raises ValueError saying what is wrong with the line.
    """
    if sender.tenant:
        if head.tenant not in (msgspec.UNSET, sender.tenant):
            raise ValueError(f"tenant: yours is {sender.tenant}")
        if head.tenant is msgspec.UNSET and head.cluster is msgspec.UNSET:
            return _spliced(front, raw)
        more = {"tenant": sender.tenant} | ({} if _named(head) else {"cluster": sender.cluster})
        return orjson.dumps(orjson.loads(raw) | more)
    if _named(head):
        return raw
    if head.cluster is msgspec.UNSET:
        return _spliced(front, raw)
    return orjson.dumps(orjson.loads(raw) | {"cluster": sender.cluster})


def _named(head: Head) -> bool:
    return head.cluster is not msgspec.UNSET and bool(head.cluster)


def _spliced(front: bytes, raw: bytes) -> bytes:
    rest = raw[1:].lstrip()
    return front + rest if rest == b"}" else front + b"," + rest


def _times(heads: list[Head], now_ms: int) -> list[int]:
    ats = list(map(_at, heads))
    # As Fluent Bit writes it, a double of seconds: `_time` of each comes to the same.
    if set(map(type, ats)) != {float} or min(ats) < 0.001 or max(ats) >= _MILLISECONDS:
        return [_time(head, now_ms) for head in heads]
    times, latest = [int(seconds * 1000) for seconds in ats], now_ms + AHEAD_MS
    return times if max(times) <= latest else [ms if ms <= latest else now_ms for ms in times]


def _time(head: Head, now_ms: int) -> int:
    """When it happened, in ms; the time of arrival when it does not say, or says a time far ahead."""
    for value in (head.at, head.time, head.timestamp, head.date):
        if value is not None and (ms := _ms(value)) > 0:
            return ms if ms <= now_ms + AHEAD_MS else now_ms
    return now_ms


def _ms(value: Any) -> int:
    """RFC 3339 text, seconds (as Fluent Bit's double) or milliseconds; 0 for anything else."""
    if type(value) is float or type(value) is int:
        if value < 0:
            return 0
        return int(value * 1000) if value < _MILLISECONDS else int(value)
    if type(value) is str:
        try:
            # The second is the same for many records.
            return _second(value[:19]) + int(value[20:23]) if _plain(value) else parse_time(value)
        except (ValueError, OverflowError):
            return 0
    return 0


def _plain(text: str) -> bool:
    """`2026-01-05T10:00:00.123Z`, or with more digits."""
    return text[19:20] == "." and text[-1] == "Z" and len(text) > 23 and text[20:-1].isdecimal() and text.isascii()


@lru_cache(1024)
def _second(text: str) -> int:
    return parse_time(text + "Z")


def _invalid(wrong: dict[int, str]) -> Invalid:
    named = "; ".join(f"line {number}: {why}" for number, why in list(wrong.items())[:NAMED])
    told = named if len(wrong) <= NAMED else f"{named}; and {len(wrong) - NAMED} more"
    return Invalid("lines", told, dict(list(wrong.items())[:NAMED]))


def size_of(bulk: Bulk) -> int:
    return sum(map(len, bulk.values))


def records_in(made: Sequence[Bulk]) -> int:
    return sum(len(bulk.values) for bulk in made)
