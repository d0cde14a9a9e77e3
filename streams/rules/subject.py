"""What a record is about: cluster, node, namespace, workload, pod, container; and its other values a match carries."""

from __future__ import annotations

from typing import Any, Protocol

LABELS = ("cluster", "node", "namespace", "workload_kind", "workload", "pod", "container")
MAX_MESSAGE = 400
MAX_LABEL = 253


class Owned(Protocol):
    """Who owns an object (streams/owners.py)."""

    def workload(self, cluster: str, namespace: str, kind: str, name: str) -> tuple[str, str]:
        """(kind, name) of the workload the object belongs to; of the object itself when it has no owner."""


def text(value: Any, limit: int = MAX_LABEL) -> str:
    """A value as label text: nothing for what is not a scalar."""
    if isinstance(value, str):
        return value[:limit]
    if value is None or isinstance(value, (dict, list)):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)[:limit]


def of_log(record: dict[str, Any], cluster: str, owned: Owned) -> dict[str, str]:
    """Fields as Fluent Bit's kubernetes filter writes them."""
    kubernetes = record.get("kubernetes")
    found = kubernetes if isinstance(kubernetes, dict) else {}
    out = {
        "cluster": text(record.get("cluster")) or cluster,
        "node": text(found.get("host")),
        "namespace": text(found.get("namespace_name")),
        "pod": text(found.get("pod_name")),
        "container": text(found.get("container_name")),
    }
    if out["pod"]:
        kind, name = owned.workload(out["cluster"], out["namespace"], "Pod", out["pod"])
        out |= {"workload_kind": kind, "workload": name}
    return out


def of_event(record: dict[str, Any], cluster: str, owned: Owned) -> dict[str, str]:
    """Fields of schemas.kube.KubeEvent: the involved object decides."""
    involved = record.get("involved")
    found = involved if isinstance(involved, dict) else {}
    kind, name = text(found.get("kind")), text(found.get("name"))
    out = {
        "cluster": text(record.get("cluster")) or cluster,
        "namespace": text(found.get("namespace")) or (text(record.get("namespace")) if kind != "Node" else ""),
    }
    if kind == "Node":
        return out | {"node": name}
    if kind == "Pod":
        out |= {"pod": name, "container": _container(text(found.get("field_path")))}
    if name:
        owner_kind, owner = owned.workload(out["cluster"], out["namespace"], kind, name)
        out |= {"workload_kind": owner_kind, "workload": owner}
    return out


def _container(field_path: str) -> str:
    """`spec.containers{pay}` -> pay."""
    _, brace, rest = field_path.partition("{")
    return rest.removesuffix("}") if brace and rest.endswith("}") else ""
