"""The topics rules can look at: how a record of each is read. A new input is one more entry of `INPUTS`."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from schemas.alerts import INTERNAL, Alert, AlertState
from schemas.cicd import CicdEvent
from schemas.kube import KubeEvent, KubeObject
from schemas.kube_audit import KubeAuditEvent
from schemas.platform import Canary, Gap, PlatformAudit
from streams.rules import nodes
from streams.rules.lexer import SyntaxProblem
from streams.rules.nodes import Node
from streams.rules.subject import (
    MAX_MESSAGE,
    Owned,
    of_alert,
    of_audit,
    of_cluster,
    of_event,
    of_log,
    of_object,
    text,
    words,
)

METRICS = "metrics"
"""An input that is no topic: rules over it ask a Prometheus (streams/rules/metric_rules.py)."""


class Input(NamedTuple):
    """`time_ms(record, Kafka's timestamp)` is the event time; `weight` how many occurrences a record stands for."""

    topic: str
    aliases: dict[str, tuple[str, ...]]
    struct: type[msgspec.Struct] | None
    """What its records are, where that is declared: fields in rules are checked against it."""
    subject: Callable[[dict[str, Any], str, Owned], dict[str, str]]
    message: Callable[[dict[str, Any]], str]
    time_ms: Callable[[dict[str, Any], int], int]
    weight: Callable[[dict[str, Any]], int]
    id: Callable[[dict[str, Any], bytes | str | None], object]
    """Its id (of the record and its Kafka key), the same however often it is told; nothing where it has none."""


def _timed(field: str) -> Callable[[dict[str, Any], int], int]:
    """The time is in a field; Kafka's where it is not."""

    def time_ms(record: dict[str, Any], timestamp_ms: int) -> int:
        value = record.get(field)
        return value if type(value) is int and value > 0 else timestamp_ms

    return time_ms


def _event_weight(record: dict[str, Any]) -> int:
    value = record.get("count_delta", 1)
    return value if type(value) is int and value > 0 else 1


def _joined(*fields: str) -> Callable[[dict[str, Any], bytes | str | None], str]:
    """An id made of several fields; none where one is missing."""

    def id_(record: dict[str, Any], _key: bytes | str | None) -> str:
        parts = [text(record.get(field)) for field in fields]
        return "\0".join(parts) if all(parts) else ""

    return id_


def _field(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda record: text(record.get(name), MAX_MESSAGE)


def _alert_message(record: dict[str, Any]) -> str:
    annotations = record.get("annotations")
    found = annotations if isinstance(annotations, dict) else {}
    return next((said for name in ("summary", "description") if (said := text(found.get(name), MAX_MESSAGE))), "")


def _audit_message(record: dict[str, Any]) -> str:
    """`ada delete pods shop/pay-1: 403`."""
    user, ref, status = (words(record.get(name)) for name in ("user", "objectRef", "responseStatus"))
    place = "/".join(filter(None, (text(ref.get("namespace")), text(ref.get("name")))))
    said = [text(user.get("username")), text(record.get("verb")), text(ref.get("resource")), place]
    code = text(status.get("code"))
    return (" ".join(filter(None, said)) + (f": {code}" if code else ""))[:MAX_MESSAGE]


def _object_message(record: dict[str, Any]) -> str:
    return " ".join(filter(None, (text(record.get(name)) for name in ("kind", "name", "change"))))[:MAX_MESSAGE]


def _of_others(record: dict[str, Any], cluster: str, owned: Owned) -> dict[str, str]:
    """Of an alert; our own canary's is about nothing, so no rule matches it."""
    return {} if record.get("tenant") == INTERNAL else of_alert(record, cluster, owned)


def _declared(topic: str, struct: type[msgspec.Struct], **more: Any) -> Input:
    """An input whose records have an id and a time of their own."""
    usual: dict[str, Any] = {
        "aliases": {},
        "subject": of_cluster,
        "message": _field("message"),
        "time_ms": _timed("time_ms"),
        "weight": lambda _record: 1,
        "id": _joined("id"),
    }
    return Input(topic=topic, struct=struct, **(usual | more))


INPUTS: dict[str, Input] = {
    "logs": Input(
        topic="logs",
        aliases={
            "message": ("log",),
            "namespace": ("kubernetes", "namespace_name"),
            "pod": ("kubernetes", "pod_name"),
            "container": ("kubernetes", "container_name"),
            "node": ("kubernetes", "host"),
            "labels": ("kubernetes", "labels"),
        },
        struct=None,
        subject=of_log,
        message=lambda record: text(record.get("log") or record.get("message"), MAX_MESSAGE),
        time_ms=lambda record, timestamp_ms: timestamp_ms,
        weight=lambda record: 1,
        id=lambda record, key: key,
    ),
    "kube.events": _declared("kube.events", KubeEvent, subject=of_event, weight=_event_weight),
    "kube.objects": _declared("kube.objects", KubeObject, subject=of_object, message=_object_message),
    "kube.audit": _declared(
        "kube.audit", KubeAuditEvent, subject=of_audit, message=_audit_message, id=_joined("auditID", "stage")
    ),
    "alerts": _declared(
        "alerts",
        Alert,
        subject=_of_others,
        message=_alert_message,
        time_ms=_timed("observed_at_ms"),
        id=_joined("tenant", "fingerprint", "source", "starts_at_ms", "observed_at_ms"),
    ),
    "alerts.state": _declared(
        "alerts.state",
        AlertState,
        subject=_of_others,
        message=_alert_message,
        time_ms=_timed("updated_at_ms"),
        id=_joined("episode", "seq"),
    ),
    "cicd.events": _declared("cicd.events", CicdEvent),
    "platform.audit": _declared("platform.audit", PlatformAudit, message=_field("object")),
    "gaps": _declared("gaps", Gap, message=_field("reason")),
    "platform.canary": _declared("platform.canary", Canary, message=_field("id")),
}


def check_fields(tree: Node, struct: type[msgspec.Struct] | None) -> None:
    """Raise SyntaxProblem for the first field in `tree` that records of `struct` cannot have."""
    if struct is not None:
        for path in nodes.paths([tree]):
            _check_path(path.parts, struct, path.at)


def _check_path(parts: tuple[str | int, ...], struct: type[msgspec.Struct], at: int) -> None:
    current: Any = struct
    for part in parts:
        if not (isinstance(current, type) and issubclass(current, msgspec.Struct)):
            return
        hints = get_type_hints(current)
        written = {field.encode_name: field.name for field in msgspec.structs.fields(current)}
        if part not in written:
            close = difflib.get_close_matches(str(part), written, 1)
            hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(sorted(written))}"
            raise SyntaxProblem(at, f"no field {part!r} in {current.__name__}: {hint}")
        current = _plain(hints[written[str(part)]])


def _plain(hint: Any) -> Any:
    """`X | None` -> X."""
    if get_origin(hint) in (Union, types.UnionType):
        return next((a for a in get_args(hint) if a is not type(None)), hint)
    return hint
