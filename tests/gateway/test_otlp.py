"""OTLP log records, apart from HTTP and Kafka: both forms mean the same, and what a record becomes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber

from gateway import otlp_json, otlp_protobuf
from gateway.ingest import Sender
from gateway.otlp import Group, Taken, taken
from streams.errors import Invalid

NOW_MS = 1_767_607_200_000
AT_NS = NOW_MS * 1_000_000 + 7
TRACE, SPAN = bytes(range(16)), bytes(range(8))
OURS = Sender("prod", "", "")


def any_value(value: Any) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
        case _:
            return AnyValue(kvlist_value=KeyValueList(values=pairs(value)))


def pairs(attributes: dict[str, Any]) -> Iterator[KeyValue]:
    return (KeyValue(key=name, value=any_value(value)) for name, value in attributes.items())


def request(record: LogRecord, resource: dict[str, Any] | None = None) -> ExportLogsServiceRequest:
    logs = ResourceLogs(scope_logs=[ScopeLogs(log_records=[record])])
    logs.scope_logs[0].scope.name = "lib"
    logs.resource.attributes.extend(pairs(resource or {}))
    return ExportLogsServiceRequest(resource_logs=[logs])


def as_json(message: ExportLogsServiceRequest) -> bytes:
    """OTLP's JSON: protobuf's, but for ids in hex and enums as numbers."""
    document = MessageToDict(message, use_integers_for_enums=True)
    for logs in document["resourceLogs"]:
        for scope in logs["scopeLogs"]:
            for shown, record in zip(
                scope["logRecords"], message.resource_logs[0].scope_logs[0].log_records, strict=True
            ):
                shown |= {"traceId": record.trace_id.hex(), "spanId": record.span_id.hex()}
    return orjson.dumps(document)


def read(groups: Iterator[Group], sender: Sender = OURS, limit: int = 1 << 20) -> Taken:
    return taken(groups, sender, now_ms=NOW_MS, limit=limit)


def one(message: ExportLogsServiceRequest, sender: Sender = OURS) -> tuple[dict[str, Any], int]:
    """The record, the same in both forms."""
    plain, text = message.SerializeToString(), as_json(message)
    (bulk,), rejected, _ = read(otlp_protobuf.groups(plain), sender)
    assert not rejected
    assert read(otlp_json.groups(text), sender).bulks == [bulk]
    return orjson.loads(bulk.values[0]), bulk.times_ms[0]


def test_a_pod_s_record_looks_like_fluent_bit_s() -> None:
    resource = {
        "k8s.namespace.name": "shop",
        "k8s.pod.name": "pay-1",
        "k8s.container.name": "pay",
        "k8s.pod.label.app": "pay",
        "k8s.pod.labels.app.kubernetes.io/name": "payment",
        "k8s.cluster.name": "edge",
        "service.name": "payment",
    }
    record = LogRecord(
        time_unix_nano=AT_NS,
        severity_number=SeverityNumber.SEVERITY_NUMBER_ERROR,
        body=any_value("refused"),
        attributes=pairs({"n": 3, "list": ["a", 1.5, True], "map": {"k": "v"}, "bytes": b"\xff\x00", "none": None}),
        trace_id=TRACE,
        span_id=SPAN,
    )
    document, time_ms = one(request(record, resource))
    assert time_ms == NOW_MS
    assert document == {
        "@timestamp": "2026-01-05T10:00:00.000000007Z",
        "log": "refused",
        "level": "error",
        "severity_number": 17,
        "trace_id": TRACE.hex(),
        "span_id": SPAN.hex(),
        "attributes": {"n": 3, "list": ["a", 1.5, True], "map": {"k": "v"}, "bytes": "/wA="},
        "cluster": "edge",
        "kubernetes": {
            "namespace_name": "shop",
            "pod_name": "pay-1",
            "container_name": "pay",
            "labels": {"app": "pay", "app.kubernetes.io/name": "payment"},
        },
        "resource": {"service.name": "payment"},
        "scope": "lib",
    }


def test_a_record_that_says_nothing() -> None:
    document, time_ms = one(request(LogRecord()))
    assert document == {"@timestamp": "2026-01-05T10:00:00.000Z", "log": "", "cluster": "prod", "scope": "lib"}
    assert time_ms == NOW_MS


def test_a_body_that_is_no_text_is_its_json() -> None:
    document, _ = one(request(LogRecord(body=any_value({"event": "login", "n": 1}))))
    assert orjson.loads(document["log"]) == {"event": "login", "n": 1}


def test_the_time_of_observation_counts_when_there_is_no_other_and_none_is_far_ahead() -> None:
    assert one(request(LogRecord(observed_time_unix_nano=AT_NS - 10**9)))[1] == NOW_MS - 1000
    assert one(request(LogRecord(time_unix_nano=AT_NS + 10**18)))[1] == NOW_MS
    assert one(request(LogRecord(time_unix_nano=2**64 - 1)))[1] == NOW_MS


def test_a_tenant_s_sender_cannot_speak_for_another() -> None:
    document, _ = one(request(LogRecord(), {"tenant": "team-b"}), Sender("prod", "team-a", ""))
    assert document["tenant"] == "team-a"


def test_a_repeated_request_with_a_key_gives_the_same_ids() -> None:
    body = request(LogRecord()).SerializeToString()
    first, again = (read(otlp_protobuf.groups(body), Sender("prod", "", "k")).bulks for _ in range(2))
    assert first == again
    assert first[0].keys[0] is not None


def test_what_can_never_be_taken_is_counted() -> None:
    message = request(LogRecord(body=any_value("x" * 2000)))
    message.resource_logs[0].scope_logs[0].log_records.append(LogRecord(body=any_value("y")))
    bulks, rejected, why = read(otlp_protobuf.groups(message.SerializeToString()), limit=1000)
    assert (len(bulks[0].values), rejected) == (1, 1)
    assert "the limit is 1000" in why
    said = ExportLogsServiceResponse.FromString(otlp_protobuf.response(rejected, why))
    assert (said.partial_success.rejected_log_records, said.partial_success.error_message) == (1, why)
    assert orjson.loads(otlp_json.response(1, "w")) == {
        "partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "w"}
    }
    assert not ExportLogsServiceResponse.FromString(otlp_protobuf.response(0, "")).HasField("partial_success")
    assert otlp_json.response(0, "") == b"{}"


@pytest.mark.parametrize("message", ["", "short", "é" * 500])
def test_a_status_is_google_s(message: str) -> None:
    assert Status.FromString(otlp_protobuf.status(14, message)) == Status(code=14, message=message)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"resourceLogs": 1}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"xyz"}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"soon"}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":'
        + b'{"arrayValue":{"values":[' * 400
        + b"]}}" * 400
        + b"}]}]}]}",
    ],
)
def test_json_that_is_no_request(body: bytes) -> None:
    with pytest.raises(Invalid):
        read(otlp_json.groups(body))


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_rubbish_is_refused_or_empty(body: bytes) -> None:
    for groups in (otlp_protobuf.groups, otlp_json.groups):
        try:
            read(groups(body))
        except Invalid:
            continue
