"""Kubernetes objects as the API gives them -> records of `kube.events` and `kube.objects`. Pure.

Ids: an event's hash(cluster, uid, resourceVersion), an object's the same, a deletion's hash(cluster, uid, "deleted"):
so two watchers, a watch resumed and a relist all give the same record for the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.base import digest, encode, parse_time
from schemas.headers import cloud_headers
from schemas.kube import KubeEvent, KubeObject, ObjectRef, object_key
from streams.record import Outgoing

EVENTS = "kube.events"
OBJECTS = "kube.objects"
MAX_ANNOTATION = 4096
"""Longer annotations are tools' copies of the object (kubectl's last-applied-configuration), not about it."""
DROPPED_ANNOTATIONS = frozenset({"kubectl.kubernetes.io/last-applied-configuration"})


class Resource(NamedTuple):
    """What is watched: `plural` of API `group` (empty: core), whose objects are of `kind`."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def path(self) -> str:
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{base}/{self.plural}"

    @property
    def named(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


EVENT_RESOURCE = Resource("", "v1", "events", "Event")
OBJECT_RESOURCES = (
    Resource("", "v1", "namespaces", "Namespace"),
    Resource("", "v1", "nodes", "Node"),
    Resource("", "v1", "pods", "Pod"),
    Resource("apps", "v1", "deployments", "Deployment"),
    Resource("apps", "v1", "replicasets", "ReplicaSet"),
    Resource("apps", "v1", "statefulsets", "StatefulSet"),
    Resource("apps", "v1", "daemonsets", "DaemonSet"),
    Resource("batch", "v1", "jobs", "Job"),
)
"""Never ConfigMaps or Secrets. ReplicaSets and Jobs join pods to what owns them."""

Raw = Mapping[str, Any]
"""An object as decoded from JSON."""


class Known(NamedTuple):
    """An object as Kafka has it."""

    uid: str
    version: str


def metadata(raw: Raw) -> Raw:
    found = raw.get("metadata")
    return found if isinstance(found, Mapping) else {}


def version_of(raw: Raw) -> str:
    return str(metadata(raw).get("resourceVersion", ""))


def uid_of(raw: Raw) -> str:
    return str(metadata(raw).get("uid", ""))


def newer(version: str, than: str) -> bool:
    """Whether `version` is a later one. Versions are numbers; should they not be, another one counts as later."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than


def count_of(raw: Raw) -> int:
    """Occurrences an Event stands for, in either API's shape."""
    series = raw.get("series")
    counts = [series.get("count")] if isinstance(series, Mapping) else []
    counts += [raw.get("count"), raw.get("deprecatedCount")]
    return max([c for c in counts if isinstance(c, int) and c > 0], default=1)


def event(raw: Raw, cluster: str, known_count: int, *, replayed: bool) -> KubeEvent:
    """core/v1 or events.k8s.io/v1 Event; `known_count`: the last count that was published, 0 when none was."""
    meta, count = metadata(raw), count_of(raw)
    source = raw.get("source") or raw.get("deprecatedSource") or {}
    related = raw.get("related")
    created = _ms(meta.get("creationTimestamp"))
    series = raw.get("series") or {}
    first = raw.get("firstTimestamp") or raw.get("deprecatedFirstTimestamp")
    last = raw.get("lastTimestamp") or raw.get("deprecatedLastTimestamp")
    times = [_ms(t) for t in (series.get("lastObservedTime"), last, raw.get("eventTime"), first)]
    return KubeEvent(
        id=digest(cluster, uid_of(raw), version_of(raw)),
        cluster=cluster,
        uid=uid_of(raw),
        resource_version=version_of(raw),
        type=_text(raw.get("type")) or "Normal",
        reason=_text(raw.get("reason")),
        message=_text(raw.get("message") or raw.get("note")),
        involved=_reference(raw.get("involvedObject") or raw.get("regarding") or {}),
        namespace=_text(meta.get("namespace")),
        name=_text(meta.get("name")),
        count=count,
        count_delta=count - known_count if count >= known_count else count,
        first_ms=_ms(first) or _ms(raw.get("eventTime")) or created,
        time_ms=max(times) or created,
        reporting_component=_text(
            raw.get("reportingComponent") or raw.get("reportingController") or source.get("component")
        ),
        reporting_instance=_text(raw.get("reportingInstance") or source.get("host")),
        action=_text(raw.get("action")),
        related=_reference(related) if isinstance(related, Mapping) else None,
        replayed=replayed,
    )


def event_record(record: KubeEvent) -> Outgoing:
    involved = record.involved
    whom = involved.uid or f"{involved.kind}/{involved.namespace}/{involved.name}"
    headers = cloud_headers(
        topic=EVENTS,
        id=record.id,
        type="io.eventsphere.kube.event",
        source=f"/clusters/{record.cluster}",
        time_ms=record.time_ms,
        subject=f"{involved.kind}/{involved.namespace}/{involved.name}",
    )
    return Outgoing(EVENTS, encode(record), f"{record.cluster}/{whom}".encode(), headers, record.time_ms)


def object_(raw: Raw, cluster: str, kind: str, change: str, *, replayed: bool) -> KubeObject:
    """An object after a change (`added`, `modified`)."""
    meta = metadata(raw)
    return KubeObject(
        id=digest(cluster, uid_of(raw), version_of(raw)),
        cluster=cluster,
        kind=kind,
        namespace=_text(meta.get("namespace")),
        name=_text(meta.get("name")),
        uid=uid_of(raw),
        resource_version=version_of(raw),
        change=change,
        time_ms=_changed_ms(meta),
        replayed=replayed,
        object=stripped(raw, kind),
    )


def deletion(
    raw: Raw, cluster: str, kind: str, namespace: str, name: str, known: Known, now_ms: int, *, replayed: bool
) -> KubeObject:
    """A deletion; `raw` is empty when only a relist showed it."""
    return KubeObject(
        id=digest(cluster, known.uid, "deleted"),
        cluster=cluster,
        kind=kind,
        namespace=namespace,
        name=name,
        uid=known.uid,
        resource_version=version_of(raw) or known.version,
        change="deleted",
        time_ms=now_ms,
        replayed=replayed,
        object=stripped(raw, kind) if raw else {"kind": kind, "metadata": {"namespace": namespace, "name": name}},
    )


def object_record(record: KubeObject) -> Outgoing:
    headers = cloud_headers(
        topic=OBJECTS,
        id=record.id,
        type=f"io.eventsphere.kube.object.{record.change}",
        source=f"/clusters/{record.cluster}",
        time_ms=record.time_ms,
        subject=f"{record.kind}/{record.namespace}/{record.name}",
    )
    return Outgoing(OBJECTS, encode(record), _key(record), headers, record.time_ms)


def tombstone(record: KubeObject) -> Outgoing:
    """What makes the compacted topic forget the object."""
    return Outgoing(OBJECTS, None, _key(record), None, record.time_ms)


def _key(record: KubeObject) -> bytes:
    return object_key(record.cluster, record.kind, record.namespace, record.name).encode()


def stripped(raw: Raw, kind: str) -> dict[str, Any]:
    """Without managedFields and the annotations that repeat the object; with `kind`, which lists leave out."""
    meta = {name: value for name, value in metadata(raw).items() if name != "managedFields"}
    annotations = meta.get("annotations")
    if isinstance(annotations, Mapping):
        meta["annotations"] = {
            name: value
            for name, value in annotations.items()
            if name not in DROPPED_ANNOTATIONS and not (isinstance(value, str) and len(value) > MAX_ANNOTATION)
        }
    return {**raw, "kind": kind, "metadata": meta}


def _changed_ms(meta: Raw) -> int:
    """When the object last changed, as the server noted it with its fields' managers."""
    fields = meta.get("managedFields")
    times = [_ms(f.get("time")) for f in fields if isinstance(f, Mapping)] if isinstance(fields, list) else []
    return max([*times, _ms(meta.get("creationTimestamp"))])


def _reference(raw: Raw) -> ObjectRef:
    return ObjectRef(
        kind=_text(raw.get("kind")),
        namespace=_text(raw.get("namespace")),
        name=_text(raw.get("name")),
        uid=_text(raw.get("uid")),
        api_version=_text(raw.get("apiVersion")),
        field_path=_text(raw.get("fieldPath")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _ms(value: Any) -> int:
    """0 when there is no time, or none we can read."""
    if not isinstance(value, str) or not value:
        return 0
    try:
        return max(0, parse_time(value))
    except (ValueError, OverflowError):
        return 0
