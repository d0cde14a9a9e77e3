"""The records of a bad rollout of `checkout`: version 1.5.0 cannot reach its database and crash-loops. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.base import digest, rfc3339

WORKLOAD = "checkout"
OLD, NEW = "1.4.2", "1.5.0"
CONTAINER = "checkout"
STEPS = (
    "GET /cart 200 in 12 ms",
    "POST /checkout 200 in 48 ms",
    "cache refreshed, 312 items",
    "GET /healthz 200 in 1 ms",
)
LAST_WORDS = (
    f"checkout {NEW} starting",
    "reading configuration from /etc/checkout/config.yaml",
    "ERROR cannot connect to postgres://orders-db:5432/orders: connection refused",
    "ERROR giving up after 3 attempts",
    "FATAL startup failed: database unavailable (exit code 1)",
)


class Scenario(msgspec.Struct, frozen=True):
    """One play: `token` makes its names unique, `began_ms` is when the rollout began."""

    cluster: str
    token: str
    began_ms: int
    lines: int
    """Log records to send, the last words included."""

    @property
    def namespace(self) -> str:
        return f"demo-shop-{self.token}"

    @property
    def pod(self) -> str:
        return f"{WORKLOAD}-{self.replica_set_hash(NEW)}-{self.token[:5]}"

    def replica_set_hash(self, version: str) -> str:
        return digest(self.token, version)[:9]

    def uid(self, *parts: str) -> str:
        return digest(self.token, *parts)

    def log(self, number: int) -> dict[str, Any]:
        """Record `number` of `lines`, in the form Fluent Bit gives container logs."""
        words = number - (self.lines - len(LAST_WORDS))
        text = LAST_WORDS[words] if words >= 0 else f"{STEPS[number % len(STEPS)]} request={number}"
        return {
            "log": text,
            "stream": "stderr" if words >= 2 else "stdout",
            "demo": True,
            "number": number,
            "cluster": self.cluster,
            "kubernetes": {
                "namespace_name": self.namespace,
                "pod_name": self.pod,
                "container_name": CONTAINER,
                "labels": {"app": WORKLOAD, "pod-template-hash": self.replica_set_hash(NEW)},
            },
        }

    def objects(self) -> list[dict[str, Any]]:
        """`kube.objects` records: the Deployment before and after, the new ReplicaSet and its pod."""
        deployment = self.uid("deployment")
        replica_set = self.uid("replicaset")
        owner = [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": WORKLOAD, "uid": deployment, "controller": True}
        ]
        name = f"{WORKLOAD}-{self.replica_set_hash(NEW)}"
        pods = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": replica_set, "controller": True}]
        at = self.began_ms
        return [
            self._object("Deployment", WORKLOAD, deployment, 1, at - 3_600_000, "added", self._deployment(OLD, "1")),
            self._object("Deployment", WORKLOAD, deployment, 2, at, "modified", self._deployment(NEW, "2")),
            self._object(
                "ReplicaSet", name, replica_set, 3, at + 200, "added", {"metadata": {"ownerReferences": owner}}
            ),
            self._object("Pod", self.pod, self.uid("pod"), 4, at + 400, "added", self._pod(pods)),
        ]

    def events(self) -> list[dict[str, Any]]:
        """`kube.events` records: the Warnings the kubelet sends about the pod."""
        return [
            self._event(
                1, "Normal", "Pulled", f'Container image "registry.demo/{WORKLOAD}:{NEW}" already present', 600
            ),
            self._event(2, "Warning", "Unhealthy", "Readiness probe failed: dial tcp 10.0.3.7:8080: refused", 1_500),
            self._event(3, "Warning", "BackOff", f"Back-off restarting failed container {CONTAINER} in pod", 2_500),
        ]

    def alert(self, *, ends_ms: int = 0) -> dict[str, Any]:
        """What Prometheus posts for the crash loop (Alertmanager API v2)."""
        body: dict[str, Any] = {
            "labels": {
                "alertname": "KubePodCrashLooping",
                "severity": "critical",
                "cluster": self.cluster,
                "namespace": self.namespace,
                "workload": WORKLOAD,
                "pod": self.pod,
                "container": CONTAINER,
                "demo": "true",
            },
            "annotations": {
                "summary": f"DEMO: {WORKLOAD} {NEW} is crash looping",
                "description": f"Pod {self.namespace}/{self.pod} restarts again and again since the rollout of {NEW}.",
            },
            "startsAt": rfc3339(self.began_ms + 3_000),
            "generatorURL": "http://prometheus.demo/graph?g0.expr=kube_pod_container_status_waiting_reason",
        }
        if ends_ms:
            body["endsAt"] = rfc3339(ends_ms)
        return body

    def _object(
        self, kind: str, name: str, uid: str, version: int, at_ms: int, change: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace, "uid": uid, "labels": {"app": WORKLOAD, "demo": "true"}}
        return {
            "id": digest(self.cluster, uid, str(version)),
            "cluster": self.cluster,
            "kind": kind,
            "namespace": self.namespace,
            "name": name,
            "uid": uid,
            "resource_version": str(version),
            "change": change,
            "time_ms": at_ms,
            "object": body | {"kind": kind, "metadata": metadata | body.get("metadata", {})},
        }

    def _deployment(self, version: str, revision: str) -> dict[str, Any]:
        container = {"name": CONTAINER, "image": f"registry.demo/{WORKLOAD}:{version}"}
        return {
            "metadata": {"annotations": {"deployment.kubernetes.io/revision": revision}},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        }

    def _pod(self, owners: list[dict[str, Any]]) -> dict[str, Any]:
        container = {"name": CONTAINER, "image": f"registry.demo/{WORKLOAD}:{NEW}"}
        return {"metadata": {"ownerReferences": owners}, "spec": {"containers": [container], "nodeName": "demo-node"}}

    def _event(self, number: int, type_: str, reason: str, message: str, after_ms: int) -> dict[str, Any]:
        uid = self.uid("event", str(number))
        return {
            "id": digest(self.cluster, uid, "1"),
            "cluster": self.cluster,
            "uid": uid,
            "resource_version": "1",
            "type": type_,
            "reason": reason,
            "message": message,
            "involved": {"kind": "Pod", "namespace": self.namespace, "name": self.pod, "uid": self.uid("pod")},
            "namespace": self.namespace,
            "name": f"{self.pod}.{number}",
            "time_ms": self.began_ms + after_ms,
            "reporting_component": "kubelet",
        }
