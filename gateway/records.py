"""One record of Kafka as people and programs are shown it. Pure."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from gateway.lists import sees
from gateway.principal import Principal
from schemas.alerts import NO_TENANT
from schemas.base import rfc3339
from streams.envelope import opened
from streams.record import Headers, Record

MAX_HEADERS = 100


def shown(record: Record) -> dict[str, Any]:
    """`record` is the JSON value; bytes that are not JSON are `text`, or `base64` when they are no text either."""
    out: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key.decode("utf-8", "replace") if record.key is not None else None,
        "time": rfc3339(max(0, record.timestamp_ms)),
        "headers": headers(record.headers or []),
    }
    return out | value(record.value)


def headers(given: Headers) -> dict[str, str]:
    return {name: (value or b"").decode("utf-8", "replace") for name, value in given[:MAX_HEADERS]}


def value(data: bytes | None) -> dict[str, Any]:
    """`{record: ...}`, `{text: ...}` or `{base64: ...}`; a tombstone is `{record: null}`."""
    if data is None:
        return {"record": None}
    try:
        return {"record": orjson.loads(data)}
    except orjson.JSONDecodeError:
        pass
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def visible(who: Principal, record: Record) -> bool:
    """Whether the caller may see it: a tenant's caller only what says it is its tenant's."""
    if who.tenant == NO_TENANT:
        return True
    inner = value(opened(record).value).get("record")
    return isinstance(inner, dict) and sees(who, str(inner.get("tenant", "")))
