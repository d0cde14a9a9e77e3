"""Kubernetes events (`kube.events`) and objects (`kube.objects`)."""

from __future__ import annotations

from typing import Any

from schemas.base import Event


class ObjectRef(Event, frozen=True, kw_only=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    field_path: str = ""


class KubeEvent(Event, frozen=True, kw_only=True):
    """core/v1 and events.k8s.io/v1 Event in one shape. Key: `cluster/<involved object uid>`.

    `id` = hash(cluster, uid, resourceVersion). `count_delta` is how many occurrences this record stands for, against
    the last count seen of the same event; `replayed` marks what an initial list or a relist brought.
    """

    id: str
    cluster: str
    uid: str
    resource_version: str
    type: str = "Normal"
    reason: str = ""
    message: str = ""
    involved: ObjectRef
    namespace: str = ""
    name: str = ""
    count: int = 1
    count_delta: int = 1
    first_ms: int = 0
    time_ms: int
    """The newest of series.lastObservedTime, lastTimestamp, eventTime, firstTimestamp, creationTimestamp."""
    reporting_component: str = ""
    reporting_instance: str = ""
    action: str = ""
    related: ObjectRef | None = None
    replayed: bool = False
    tenant: str = ""


class KubeObject(Event, frozen=True, kw_only=True):
    """An object after a change, managedFields stripped. Key: `cluster/kind/namespace/name`; a tombstone deletes it."""

    id: str
    cluster: str
    kind: str
    namespace: str = ""
    name: str
    uid: str
    resource_version: str
    change: str
    """`added`, `modified` (a deletion is first a record with change `deleted`, then a tombstone)."""
    time_ms: int
    replayed: bool = False
    object: dict[str, Any]


def object_key(cluster: str, kind: str, namespace: str, name: str) -> str:
    return f"{cluster}/{kind}/{namespace}/{name}"
