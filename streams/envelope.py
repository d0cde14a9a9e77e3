"""What a record carries besides its own fields: a CloudEvents envelope (structured mode), Kafka Connect's (`schema` and
`payload`, as its JsonConverter writes with `schemas.enable`), and its trace. Pure.

Foreign producers may publish in structured mode, with headers or without any: the envelope is known by its form.
Source: CloudEvents 1.0 JSON format and Kafka protocol binding; www.w3.org/TR/trace-context (`traceparent`);
org.apache.kafka.connect.json.JsonSchema.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from streams.record import Headers, Outgoing, Record

TRACEPARENT = "traceparent"
_MARK = b'"specversion"'
_CONNECT = b'{"schema":'
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]{0,64})?")


class _Envelope(msgspec.Struct, frozen=True):
    specversion: str
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str = ""
    traceparent: str = ""


class _Connect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: dict[str, Any]
    payload: msgspec.Raw


_decoder = msgspec.json.Decoder(_Envelope)
_connect_decoder = msgspec.json.Decoder(_Connect)


def content(value: bytes) -> bytes:
    """The record in `value`: the envelope's data when that is a JSON object, else `value` itself."""
    if value.startswith(_CONNECT):
        value = _payload(value)
    envelope = _envelope(value)
    return value if envelope is None else _data(envelope) or value


def opened(record: Record) -> Record:
    """The record out of its envelope, whose `traceparent` becomes a header as in binary mode."""
    if record.value and record.value.startswith(_CONNECT):
        record = record._replace(value=_payload(record.value))
    envelope = _envelope(record.value) if record.value else None
    data = _data(envelope) if envelope is not None else b""
    if envelope is None or not data:
        return record
    headers = record.headers or []
    if envelope.traceparent and not trace_of(headers):
        headers = [*headers, (TRACEPARENT, envelope.traceparent.encode())]
    return record._replace(value=data, headers=headers)


def trace_of(headers: Headers | None) -> str:
    """The `traceparent` among `headers`, empty when there is none that is well formed."""
    for name, value in headers or ():
        if name == TRACEPARENT:
            return trace((value or b"").decode("latin-1"))
    return ""


def trace(text: str) -> str:
    """`text` when it is a W3C traceparent, else nothing: what is not one is nobody's trace."""
    return text if _TRACE.fullmatch(text) else ""


def traced(records: Iterable[Outgoing], parent: str) -> Iterator[Outgoing]:
    """`records` as part of the trace `parent`; without headers, or with a trace of their own, they stay as they are."""
    for record in records:
        if parent and record.headers is not None and all(name != TRACEPARENT for name, _ in record.headers):
            yield record._replace(headers=[*record.headers, (TRACEPARENT, parent.encode())])
        else:
            yield record


def _payload(value: bytes) -> bytes:
    """What Connect's envelope holds when that is a JSON object, else `value` itself."""
    try:
        found = bytes(_connect_decoder.decode(value).payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value
    return found if found[:1] == b"{" else value


def _envelope(value: bytes) -> _Envelope | None:
    if _MARK not in value:
        return None
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _data(envelope: _Envelope) -> bytes:
    data = bytes(envelope.data)
    if not data and envelope.data_base64:
        try:
            data = base64.b64decode(envelope.data_base64, validate=True)
        except (binascii.Error, ValueError):
            return b""
    return data if data.lstrip()[:1] == b"{" else b""
