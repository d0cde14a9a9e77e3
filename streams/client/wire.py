"""What goes over the wire, for both clients: bodies of batches, events of streams, what an answer means. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from schemas.base import rfc3339
from schemas.catalogue import declared
from schemas.jsonschema import record_type
from streams.errors import Failure, Fatal, Invalid, Retryable

BATCH = "application/cloudevents-batch+json"
AT_ONCE = 1000
"""Records of one request."""
SILENT_S = 45.0
"""A stream that says nothing for so long (a heartbeat comes every 15 s) is connected to anew."""
WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits before a request is sent again; the last one again and again."""

Record = msgspec.Struct | Mapping[str, Any]


class Received(msgspec.Struct, frozen=True):
    """A record of a stream. `record` is of its topic's struct (`schemas`), a dict for `logs` and for what does not fit
    its struct, None for a tombstone. `point` is where to go on after it."""

    topic: str
    partition: int
    offset: int
    key: str | None
    time: str
    record: Any
    point: str


class Gap(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """Records that are not in the stream: offsets `start` to `end` (not in it); -1: unknown."""

    topic: str
    partition: int
    start: int
    end: int
    reason: str


class _Event(msgspec.Struct, frozen=True):
    topic: str
    partition: int
    offset: int
    time: str
    key: str | None = None
    record: msgspec.Raw = msgspec.Raw(b"null")
    text: str | None = None


_event = msgspec.json.Decoder(_Event)
_gap = msgspec.json.Decoder(Gap)


class Events:
    """Server-sent events from lines; `point` is the last id seen."""

    def __init__(self, point: str = "") -> None:
        self.point = point
        self._data = b""
        self._kind = ""

    def line(self, line: bytes) -> Received | Gap | None:
        """The event that this line ends, if it does."""
        line = line.rstrip(b"\r\n")
        if not line:
            data, kind = self._data, self._kind
            self._data, self._kind = b"", ""
            if not data:
                return None
            return _gap.decode(data) if kind == "gap" else self._received(data)
        name, _, value = line.partition(b": ")
        if name == b"id":
            self.point = value.decode()
        elif name == b"data":
            self._data = value
        elif name == b"event":
            self._kind = value.decode()
        return None

    def _received(self, data: bytes) -> Received:
        told = _event.decode(data)
        record = told.text if told.text is not None else _record(told.topic, bytes(told.record))
        return Received(told.topic, told.partition, told.offset, told.key, told.time, record, self.point)


def _record(topic: str, raw: bytes) -> Any:
    if raw == b"null":
        return None
    try:
        return _decoder(topic).decode(raw)
    except msgspec.DecodeError:
        return msgspec.json.decode(raw)


@cache
def _decoder(topic: str) -> msgspec.json.Decoder[Any]:
    known = declared().get(topic)
    return msgspec.json.Decoder(dict if known is None or known.schema == "log" else record_type(known))


def batch(records: Sequence[Record], *, key: str, source: str, type_: str, now_ms: int) -> bytes:
    """The body of one request. The same `key` gives the same ids: sent again it is the same events."""
    time = rfc3339(now_ms)
    return msgspec.json.encode(
        [
            {
                "specversion": "1.0",
                "id": f"{key}-{index}",
                "source": source,
                "type": type_,
                "time": time,
                "datacontenttype": "application/json",
                "data": record,
            }
            for index, record in enumerate(records)
        ]
    )


def events_path(topic: str) -> str:
    return f"/api/v1/topics/{quote(topic, safe='')}/events"


def stream_path(topics: str, condition: str, start: str) -> str:
    given = {name: value for name, value in (("filter", condition), ("start", start)) if value}
    return f"/api/v1/streams/{quote(topics, safe=',')}" + (f"?{urlencode(given)}" if given else "")


def headers(token: str, **more: str) -> dict[str, str]:
    given = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    return given | {name.replace("_", "-"): value for name, value in more.items()}


def refusal(status: int, body: bytes) -> Failure:
    """What an answer other than success means: Retryable (later), Invalid (these records), Fatal (you may not)."""
    try:
        told = msgspec.json.decode(body, type=dict)
    except msgspec.DecodeError:
        told = {}
    detail = str(told.get("detail") or f"HTTP {status}")
    if status in (408, 425, 429) or status >= 500:
        return Retryable("bus_away", detail)
    if status in (413, 422):
        wrong = {index: str(why) for index, why in _indexes(told)}
        return Invalid("refused", detail, wrong or None)
    return Fatal("refused", detail)


def _indexes(told: dict[str, Any]) -> list[tuple[int, object]]:
    wrong = told.get("indexes")
    return [(int(index), why) for index, why in wrong.items()] if isinstance(wrong, dict) else []


def wait_s(attempt: int) -> float:
    return WAITS_S[min(attempt, len(WAITS_S) - 1)]
