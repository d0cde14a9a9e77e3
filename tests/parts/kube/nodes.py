"""Workloads on a cluster: the controllers make pods of Deployments, kwok plays the nodes they run on.

There is no scheduler: a pod template names its node (`nodeName: fake-0`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.parts.kube.build import binaries
from tests.parts.kube.cluster import Kube
from tests.parts.process import Process, answers, free_ports, listens, running

MANAGED = {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"}


@contextmanager
def workloads(cluster: Kube, nodes: int = 2) -> Iterator[list[str]]:
    """While it lasts, Deployments get pods and pods get Running. Yields the names of the fake nodes."""
    found = binaries("kube-controller-manager", "kwok")
    controllers_port, kwok_port = free_ports(2)
    config = cluster.kubeconfig_for(cluster.controller_token, "controllers.kubeconfig")
    controllers = Process(
        "kube-controller-manager",
        [
            found["kube-controller-manager"],
            f"--kubeconfig={config}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={cluster.base}/accounts.key",
            f"--root-ca-file={cluster.ca_file}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={controllers_port}",
        ],
        cluster.base / "controllers.log",
    )
    kwok = Process(
        "kwok",
        [
            found["kwok"],
            f"--kubeconfig={cluster.kubeconfig}",
            "--manage-all-nodes=false",
            "--node-ip=127.0.0.1",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            f"--server-address=127.0.0.1:{kwok_port}",
        ],
        cluster.base / "kwok.log",
    )
    with ExitStack() as stack:
        stack.enter_context(running(controllers, listens(controllers_port)))
        stack.enter_context(running(kwok, answers(f"http://127.0.0.1:{kwok_port}/healthz")))
        names = [f"fake-{number}" for number in range(nodes)]
        for name in names:
            cluster.request("POST", "/api/v1/nodes", _node(name))
        yield names
        for name in names:
            cluster.request("DELETE", f"/api/v1/nodes/{name}")


def _node(name: str) -> dict[str, object]:
    room = {"cpu": "32", "memory": "256Gi", "pods": "500"}
    labels = {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": MANAGED, "labels": labels},
        "status": {"allocatable": room, "capacity": room},
    }
