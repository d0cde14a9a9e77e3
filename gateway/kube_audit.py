"""An apiserver's audit webhook body (audit.k8s.io/v1 EventList) -> records of `kube.audit`. Pure.

Every field of an event stays as it came; `cluster`, `tenant` and `time_ms` are added. An event over the topic's limit
loses the bodies of request and response, and says so in an annotation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from schemas.base import UNREADABLE, digest, encode, parse_time
from schemas.catalogue import declared
from schemas.headers import cloud_headers
from schemas.kube_audit import KubeAuditEvent
from streams.record import Outgoing

TOPIC = "kube.audit"
GROUP = "audit.k8s.io/"
MAX_EVENTS = 10_000
CUT = "eventsphere.io/cut"
_BODIES = ("requestObject", "responseObject")


class Origin(NamedTuple):
    """Of a hook: what its events are said to be of, and the time they came."""

    tenant: str
    cluster: str
    now_ms: int


class _List(msgspec.Struct):
    kind: str
    apiVersion: str  # noqa: N815 the apiserver's name
    items: list[dict[str, Any]]


_list = msgspec.json.Decoder(_List)


def read(body: bytes, origin: Origin) -> tuple[list[Outgoing], list[str]]:
    """The records of a body, and which of its events are none, as `items[0].field: reason`. Raises ValueError for a
    body that is no list of events."""
    try:
        found = _list.decode(body)
    except UNREADABLE as error:
        raise ValueError(f"not a list of audit events: {error}") from None
    if found.kind != "EventList" or not found.apiVersion.startswith(GROUP):
        raise ValueError(f"expected kind EventList of {GROUP}v1, not {found.kind[:40]!r} of {found.apiVersion[:40]!r}")
    if len(found.items) > MAX_EVENTS:
        raise ValueError(f"more than {MAX_EVENTS} events in one body")
    out: list[Outgoing] = []
    wrong: list[str] = []
    for index, item in enumerate(found.items):
        try:
            out.append(_record(item, origin))
        except ValueError as error:
            wrong.append(f"items[{index}]: {str(error)[:300]}")
    return out, wrong


def _record(item: dict[str, Any], origin: Origin) -> Outgoing:
    try:
        event = msgspec.convert(item | {"cluster": "", "tenant": "", "time_ms": 0}, KubeAuditEvent)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    time_ms = min(_time(event.stage_timestamp) or _time(event.request_received_timestamp), origin.now_ms)
    time_ms = time_ms if time_ms > 0 else origin.now_ms
    item = item | {"cluster": origin.cluster, "tenant": origin.tenant, "time_ms": time_ms}
    headers = cloud_headers(
        topic=TOPIC,
        id=digest(origin.cluster, event.audit_id, event.stage),
        type=f"io.k8s.audit.{event.stage or 'Event'}",
        source=f"{origin.cluster}/apiserver",
        time_ms=time_ms,
        subject=event.audit_id,
    )
    return Outgoing(TOPIC, _bounded(item), event.audit_id.encode(), headers, time_ms)


def _bounded(item: dict[str, Any]) -> bytes:
    limit = declared()[TOPIC].max_message_mib << 20
    value = encode(item)
    if len(value) <= limit:
        return value
    cut = _named(item, _BODIES)
    annotations = item.get("annotations")
    known = annotations if isinstance(annotations, dict) else {}
    value = encode({k: v for k, v in item.items() if k not in _BODIES} | {"annotations": known | {CUT: cut}})
    if len(value) > limit:
        raise ValueError(f"larger than {limit >> 20} MiB")
    return value


def _named(item: dict[str, Any], names: Iterable[str]) -> str:
    return ", ".join(name for name in names if name in item)


def _time(text: str) -> int:
    try:
        return parse_time(text) if text else 0
    except ValueError:
        raise ValueError(f"stageTimestamp: not a time: {text[:40]!r}") from None
