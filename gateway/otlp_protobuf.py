"""OTLP's logs in protobuf: `ExportLogsServiceRequest` in, its response or a `google.rpc.Status` out. Pure.

The messages are those of the OpenTelemetry project's own package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from gateway.otlp import Group, LogRecord, attributes
from streams.errors import Invalid

MEDIA_TYPE = "application/x-protobuf"


def groups(body: bytes) -> Iterator[Group]:
    """Raises Invalid when it is not the message."""
    try:
        request = ExportLogsServiceRequest.FromString(body)
    except DecodeError as error:
        raise Invalid("protobuf", f"not an ExportLogsServiceRequest: {error}"[:200]) from None
    for resource in request.resource_logs:
        about = attributes((each.key, _value(each.value)) for each in resource.resource.attributes)
        for scope in resource.scope_logs:
            yield Group(about, scope.scope.name, map(_record, scope.log_records))


def _record(record: Any) -> LogRecord:
    return LogRecord(
        record.time_unix_nano,
        record.observed_time_unix_nano,
        record.severity_number,
        record.severity_text,
        _value(record.body),
        attributes((each.key, _value(each.value)) for each in record.attributes),
        record.trace_id.hex(),
        record.span_id.hex(),
        record.event_name,
    )


def _value(value: Any) -> Any:
    """An AnyValue as what it holds; protobuf itself bounds how deep they nest."""
    match kind := value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_value(each) for each in value.array_value.values]
        case "kvlist_value":
            return {each.key: _value(each.value) for each in value.kvlist_value.values}
        case _:
            return getattr(value, kind)


def response(rejected: int, why: str) -> bytes:
    partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=why) if rejected else None
    return bytes(ExportLogsServiceResponse(partial_success=partial).SerializeToString())


def status(code: int, message: str) -> bytes:
    """A `google.rpc.Status`: field 1 its code (a varint), field 2 the message."""
    text = message.encode()[:2000]
    size, length = len(text), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x08%c\x12%b%c%b" % (code, bytes(length), size, text)
