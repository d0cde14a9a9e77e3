"""The Kafka key of a record, computed from the record as the catalogue says (`key:`), for records others publish."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from schemas.alerts import NO_TENANT, alert_key
from schemas.kube import object_key
from schemas.notifications import group_record_key

Fields = Mapping[str, Any]

KEYS: dict[str, Callable[[Fields], str]] = {
    "alerts": lambda r: alert_key(r.get("tenant", NO_TENANT), r["fingerprint"]),
    "alerts.state": lambda r: alert_key(r["tenant"], r["fingerprint"]),
    "cicd.events": lambda r: str(r["subject_id"]),
    "gaps": lambda r: str(r["source"]),
    "kube.audit": lambda r: str(r["auditID"]),
    "kube.events": lambda r: f"{r['cluster']}/{r['involved'].get('uid', '')}",
    "kube.objects": lambda r: object_key(r["cluster"], r["kind"], r.get("namespace", ""), r["name"]),
    "notifications": lambda r: group_record_key(r["tenant"], r["receiver"], r["group_key"]),
    "notifications.outcomes": lambda r: str(r["notification"]),
    "pipelines.runs": lambda r: str(r["run_id"]),
    "platform.audit": lambda r: str(r["actor"]),
    "silences": lambda r: str(r["id"]),
}
"""Of every public topic whose key its record holds; the rest (`logs`) take the record's id."""


def key(topic: str, record: Fields) -> bytes | None:
    """The key of a record that has passed the topic's schema, None where the record does not hold it."""
    make = KEYS.get(topic)
    return make(record).encode() if make else None
