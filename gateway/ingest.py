"""Log records as they come over HTTP: NDJSON or a JSON array in, a record for Kafka each, its bytes as they were. Pure.

Only looked at to see that it is a JSON object, when it happened, and whether it names its cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import orjson

from schemas.base import UNREADABLE, digest, parse_time
from streams.errors import Invalid
from streams.record import Outgoing

TOPIC = "logs"
TIME_FIELDS = ("@timestamp", "time", "timestamp", "date")
AHEAD_MS = 3_000_000
"""How far ahead of our clock a record's time may be to become Kafka's timestamp (brokers refuse an hour)."""
NAMED = 20
"""Bad lines named in an error; the rest are counted."""


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


def outgoing(body: bytes, sender: Sender, *, now_ms: int, limit: int) -> list[Outgoing]:
    """Every record of `body`, or Invalid whose `indexes` names the bad lines (from 1) and why: all or nothing."""
    out: list[Outgoing] = []
    wrong: dict[int, str] = {}
    prefix = f"{digest('http', sender.tenant, sender.key)}-" if sender.key else ""
    for index, line in enumerate(lines(body)):
        try:
            out.append(_record(line.raw, sender, f"{prefix}{index}".encode() if prefix else None, now_ms, limit))
        except ValueError as error:
            wrong[line.number] = str(error)
    if wrong:
        raise Invalid("lines", _say(wrong), dict(list(wrong.items())[:NAMED]))
    return out


def _record(raw: bytes, sender: Sender, key: bytes | None, now_ms: int, limit: int) -> Outgoing:
    """Raises ValueError saying what is wrong with the line."""
    record = orjson.loads(raw)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    more = {}
    if not record.get("cluster"):
        more["cluster"] = sender.cluster
    if sender.tenant and record.setdefault("tenant", sender.tenant) != sender.tenant:
        raise ValueError(f"tenant: yours is {sender.tenant}")
    if sender.tenant:
        more["tenant"] = sender.tenant
    value = _with(raw, record, more) if more else raw
    if len(value) > limit:
        raise ValueError(f"over {limit} bytes")
    return Outgoing(TOPIC, value, key, None, _time(record, now_ms))


def _with(raw: bytes, record: dict[str, Any], more: dict[str, str]) -> bytes:
    """The record with fields put in front of its own bytes; rewritten only where one of them is there but empty."""
    if any(name in record for name in more if name != "tenant") or (b'"tenant"' in raw and "tenant" in more):
        return orjson.dumps(record | more)
    head = orjson.dumps(more)[:-1]
    rest = raw[1:].lstrip()
    return head + rest if rest == b"}" else head + b"," + rest


def _time(record: dict[str, Any], now_ms: int) -> int:
    """When it happened, in ms; the time of arrival when it does not say, or says a time far ahead."""
    for name in TIME_FIELDS:
        if (value := record.get(name)) is not None and (ms := _ms(value)) > 0:
            return ms if ms <= now_ms + AHEAD_MS else now_ms
    return now_ms


def _ms(value: Any) -> int:
    """RFC 3339 text, seconds (as Fluent Bit's double) or milliseconds; 0 for anything else."""
    if isinstance(value, str):
        try:
            return parse_time(value)
        except (ValueError, OverflowError):
            return 0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value * 1000) if value < 100_000_000_000 else int(value)
    return 0


def _say(wrong: dict[int, str]) -> str:
    named = "; ".join(f"line {number}: {why}" for number, why in list(wrong.items())[:NAMED])
    return named if len(wrong) <= NAMED else f"{named}; and {len(wrong) - NAMED} more"
