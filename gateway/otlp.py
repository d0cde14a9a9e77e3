"""OTLP log records -> records of topic `logs`. Pure.

Source: https://opentelemetry.io/docs/specs/otlp/ (1.x) and the log data model. Resource attributes `k8s.*` become
`kubernetes`, as Fluent Bit writes it; the resource's other attributes stay under `resource`, a record's own under
`attributes`, by their names. The body is `log`: text as it is, anything else as JSON.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from gateway.ingest import Sender, cut
from schemas.base import digest
from streams.record import AHEAD_MS, Bulk

MS_NS = 1_000_000
SECOND_NS = 1_000_000_000
PLACES = {
    "k8s.namespace.name": "namespace_name",
    "k8s.pod.name": "pod_name",
    "k8s.container.name": "container_name",
    "k8s.pod.uid": "pod_id",
    "k8s.node.name": "host",
    "container.image.name": "container_image",
}
LABELS = ("k8s.pod.label.", "k8s.pod.labels.")
"""The semantic convention's prefix, and the one the collector long had."""
CLUSTER = "k8s.cluster.name"
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
"""Of four severity numbers each, from 1 on."""
MAX_DEPTH = 64
MAX_TIME_NS = 253_402_300_799 * SECOND_NS


class LogRecord(NamedTuple):
    """One log record, whatever it came as. Ids are hex or empty, times since the epoch, 0 when unknown."""

    time_ns: int
    observed_ns: int
    severity: int
    severity_text: str
    body: Any
    attributes: dict[str, Any]
    trace_id: str
    span_id: str
    event: str = ""


class Group(NamedTuple):
    """The records of one scope of one resource."""

    resource: dict[str, Any]
    scope: str
    records: Iterable[LogRecord]


class Taken(NamedTuple):
    bulks: list[Bulk]
    rejected: int
    """Records that can never be taken; `why` says so of the first."""
    why: str


def taken(groups: Iterator[Group], sender: Sender, *, now_ms: int, limit: int) -> Taken:
    values: list[bytes] = []
    times: list[int] = []
    rejected, why = 0, ""
    for group in groups:
        shared = _shared(group, sender)
        for record in group.records:
            ns = _time(record, now_ms)
            try:
                value = orjson.dumps(_document(record, ns) | shared, _default)
            except (TypeError, ValueError) as error:
                rejected, why = rejected + 1, why or f"a record that is not to be written as JSON: {error}"
                continue
            if len(value) > limit:
                rejected, why = rejected + 1, why or f"a record of {len(value)} bytes, the limit is {limit}"
                continue
            values.append(value)
            times.append(ns // MS_NS if ns // MS_NS <= now_ms + AHEAD_MS else now_ms)
    prefix = f"{digest('otlp', sender.tenant, sender.key)}-" if sender.key else ""
    return Taken(cut(values, times, prefix), rejected, why)


def _shared(group: Group, sender: Sender) -> dict[str, Any]:
    """What all records of a group say."""
    about, labels, rest = {}, {}, {}
    for name, value in group.resource.items():
        if name in PLACES:
            about[PLACES[name]] = value
        elif prefix := next((prefix for prefix in LABELS if name.startswith(prefix)), ""):
            labels[name.removeprefix(prefix)] = value
        else:
            rest[name] = value
    out: dict[str, Any] = {"cluster": str(rest.pop(CLUSTER, "") or sender.cluster)}
    if sender.tenant:
        out["tenant"] = sender.tenant
    if about or labels:
        out["kubernetes"] = about | ({"labels": labels} if labels else {})
    if rest:
        out["resource"] = rest
    if group.scope:
        out["scope"] = group.scope
    return out


def _document(record: LogRecord, ns: int) -> dict[str, Any]:
    body = record.body
    text = body if isinstance(body, str) else "" if body is None else orjson.dumps(body, _default).decode()
    level = record.severity_text.lower() or _level(record.severity)
    named = {
        "level": level,
        "severity_number": record.severity,
        "event_name": record.event,
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "attributes": record.attributes,
    }
    return {"@timestamp": _iso(ns), "log": text} | {name: value for name, value in named.items() if value}


def _level(number: int) -> str:
    return LEVELS[(number - 1) // 4] if 1 <= number <= 4 * len(LEVELS) else ""


def _time(record: LogRecord, now_ms: int) -> int:
    for ns in (record.time_ns, record.observed_ns):
        if 0 < ns < MAX_TIME_NS:
            return ns
    return now_ms * MS_NS


def _iso(ns: int) -> str:
    seconds, rest = divmod(ns, SECOND_NS)
    shown = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{shown}.{rest:09d}Z" if rest % MS_NS else f"{shown}.{rest // MS_NS:03d}Z"


def _default(value: Any) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(f"no JSON for {type(value).__name__}")


def attributes(pairs: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Attributes without those that say nothing; the last of a name counts."""
    return {name: value for name, value in pairs if value is not None}


def too_deep(value: Any, depth: int = MAX_DEPTH) -> bool:
    if depth < 0:
        return True
    if isinstance(value, Mapping):
        return any(too_deep(each, depth - 1) for each in value.values())
    return isinstance(value, list) and any(too_deep(each, depth - 1) for each in value)
