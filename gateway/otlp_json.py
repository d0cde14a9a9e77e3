"""OTLP's logs in JSON: camelCase names, ids in hex, 64-bit numbers as text or number, unknown fields ignored. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from gateway.otlp import Group, LogRecord, attributes, too_deep
from schemas.base import UNREADABLE
from streams.errors import Invalid

MEDIA_TYPE = "application/json"
Long = int | str


class _Part(msgspec.Struct, rename="camel", gc=False):
    pass


class ArrayValue(_Part):
    values: list[AnyValue] = []


class KeyValueList(_Part):
    values: list[KeyValue] = []


class AnyValue(_Part):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Long | None = None
    double_value: float | str | None = None
    array_value: ArrayValue | None = None
    kvlist_value: KeyValueList | None = None
    bytes_value: str | None = None


class KeyValue(_Part):
    key: str = ""
    value: AnyValue | None = None


class Record(_Part):
    time_unix_nano: Long = 0
    observed_time_unix_nano: Long = 0
    severity_number: Long = 0
    severity_text: str = ""
    body: AnyValue | None = None
    attributes: list[KeyValue] = []
    trace_id: str = ""
    span_id: str = ""
    event_name: str = ""


class Scope(_Part):
    name: str = ""


class ScopeLogs(_Part):
    scope: Scope | None = None
    log_records: list[Record] = []


class Resource(_Part):
    attributes: list[KeyValue] = []


class ResourceLogs(_Part):
    resource: Resource | None = None
    scope_logs: list[ScopeLogs] = []


class Request(_Part):
    resource_logs: list[ResourceLogs] = []


_request = msgspec.json.Decoder(Request)


def groups(body: bytes) -> Iterator[Group]:
    """Raises Invalid when it is not the message."""
    try:
        request = _request.decode(body)
        for resource in request.resource_logs:
            about = _attributes(resource.resource.attributes if resource.resource else [])
            for scope in resource.scope_logs:
                name = scope.scope.name if scope.scope else ""
                yield Group(about, name, [_record(each) for each in scope.log_records])
    except UNREADABLE as error:
        raise Invalid("json", f"not an ExportLogsServiceRequest: {error}"[:200]) from None
    except (ValueError, binascii.Error) as error:
        raise Invalid("json", str(error)[:200]) from None


def _record(record: Record) -> LogRecord:
    body = _value(record.body)
    if too_deep(body):
        raise ValueError("a body that nests too deeply")
    return LogRecord(
        int(record.time_unix_nano),
        int(record.observed_time_unix_nano),
        int(record.severity_number),
        record.severity_text,
        body,
        _attributes(record.attributes),
        _hex(record.trace_id),
        _hex(record.span_id),
        record.event_name,
    )


def _attributes(pairs: list[KeyValue]) -> dict[str, Any]:
    return attributes((each.key, _value(each.value)) for each in pairs)


def _hex(text: str) -> str:
    return bytes.fromhex(text).hex()


def _value(value: AnyValue | None) -> Any:
    if value is None:
        return None
    if value.array_value is not None:
        return [_value(each) for each in value.array_value.values]
    if value.kvlist_value is not None:
        return {each.key: _value(each.value) for each in value.kvlist_value.values}
    if value.int_value is not None:
        return int(value.int_value)
    if value.double_value is not None:
        return float(value.double_value)
    if value.bytes_value is not None:
        return base64.b64decode(value.bytes_value)
    return value.string_value if value.string_value is not None else value.bool_value


def response(rejected: int, why: str) -> bytes:
    partial = {"rejectedLogRecords": str(rejected), "errorMessage": why}
    return orjson.dumps({"partialSuccess": partial} if rejected else {})


def status(code: int, message: str) -> bytes:
    return orjson.dumps({"code": code, "message": message[:2000]})
