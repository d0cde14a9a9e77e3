"""What a record is about: cluster, node, namespace, workload, pod, container; and its other values a match carries."""

from __future__ import annotations

from typing import Any, Protocol

LABELS = ("cluster", "node", "workspace", "namespace", "workload_kind", "workload", "pod", "container")
MAX_MESSAGE = 400
MAX_LABEL = 253


class Owned(Protocol):
    """Who owns an object (streams/owners.py)."""

    def workload(self, cluster: str, namespace: str, kind: str, name: str) -> tuple[str, str]:
        """(kind, name) of the workload the object belongs to; of the object itself when it has no owner."""

    def workspace(self, cluster: str, namespace: str) -> str:
        """The workspace the namespace is in; empty where none is known."""


WORKLOADS = {
    "cronjobs": "CronJob",
    "daemonsets": "DaemonSet",
    "deployments": "Deployment",
    "jobs": "Job",
    "replicasets": "ReplicaSet",
    "statefulsets": "StatefulSet",
}
"""Resources of the API, and the kind of an object of each."""


def text(value: Any, limit: int = MAX_LABEL) -> str:
    """A value as label text: nothing for what is not a scalar."""
    if isinstance(value, str):
        return value[:limit]
    if value is None or isinstance(value, (dict, list)):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)[:limit]


def words(value: Any) -> dict[str, Any]:
    """A mapping in a record, empty for anything else."""
    return value if isinstance(value, dict) else {}


def of_log(record: dict[str, Any], cluster: str, owned: Owned) -> dict[str, str]:
    """Fields as Fluent Bit's kubernetes filter writes them."""
    found = words(record.get("kubernetes"))
    out = {
        "cluster": text(record.get("cluster")) or cluster,
        "node": text(found.get("host")),
        "namespace": text(found.get("namespace_name")),
        "pod": text(found.get("pod_name")),
        "container": text(found.get("container_name")),
    }
    return _placed(out, owned, "Pod", out["pod"])


def of_event(record: dict[str, Any], cluster: str, owned: Owned) -> dict[str, str]:
    """Fields of schemas.kube.KubeEvent: the involved object decides."""
    found = words(record.get("involved"))
    kind, name = text(found.get("kind")), text(found.get("name"))
    out = {
        "cluster": text(record.get("cluster")) or cluster,
        "namespace": text(found.get("namespace")) or (text(record.get("namespace")) if kind != "Node" else ""),
    }
    if kind == "Node":
        return out | {"node": name}
    if kind == "Pod":
        out |= {"pod": name, "container": _container(text(found.get("field_path")))}
    return _placed(out, owned, kind, name)


def of_object(record: dict[str, Any], cluster: str, owned: Owned) -> dict[str, str]:
    """Fields of schemas.kube.KubeObject."""
    kind, name = text(record.get("kind")), text(record.get("name"))
    out = {"cluster": text(record.get("cluster")) or cluster, "namespace": text(record.get("namespace"))}
    if kind == "Node":
        return out | {"node": name}
    if kind == "Namespace":
        return _placed(out | {"namespace": name}, owned)
    if kind == "Pod":
        spec = words(words(record.get("object")).get("spec"))
        out |= {"pod": name, "node": text(spec.get("nodeName"))}
    return _placed(out, owned, kind, name)


def of_audit(record: dict[str, Any], cluster: str, owned: Owned) -> dict[str, str]:
    """Fields of schemas.kube_audit.KubeAuditEvent: the object of the request decides."""
    ref = words(record.get("objectRef"))
    resource, name = text(ref.get("resource")), text(ref.get("name"))
    out = {"cluster": text(record.get("cluster")) or cluster, "namespace": text(ref.get("namespace"))}
    if resource == "nodes":
        return out | {"node": name}
    if resource == "pods":
        return _placed(out | {"pod": name}, owned, "Pod", name)
    return _placed(out, owned, WORKLOADS.get(resource, ""), name if resource in WORKLOADS else "")


def of_alert(record: dict[str, Any], cluster: str, owned: Owned) -> dict[str, str]:
    """The labels of an alert that are called as ours are."""
    labels = words(record.get("labels"))
    out = {name: text(labels.get(name)) for name in LABELS if name in labels}
    out["cluster"] = out.get("cluster") or text(record.get("cluster")) or cluster
    return out if out.get("workload") else _placed(out, owned, "Pod", out.get("pod", ""))


def of_cluster(record: dict[str, Any], cluster: str, owned: Owned) -> dict[str, str]:
    """Records that are about no object of a cluster."""
    return {"cluster": text(record.get("cluster")) or cluster}


def _placed(out: dict[str, str], owned: Owned, kind: str = "", name: str = "") -> dict[str, str]:
    """With the workload an object belongs to, and the workspace its namespace is in."""
    namespace = out.get("namespace", "")
    if name:
        owner_kind, owner = owned.workload(out["cluster"], namespace, kind, name)
        out |= {"workload_kind": owner_kind, "workload": owner}
    if namespace and not out.get("workspace"):
        out["workspace"] = owned.workspace(out["cluster"], namespace)
    return out


def _container(field_path: str) -> str:
    """`spec.containers{pay}` -> pay."""
    _, brace, rest = field_path.partition("{")
    return rest.removesuffix("}") if brace and rest.endswith("}") else ""
