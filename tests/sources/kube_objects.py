"""Kubernetes objects the tests write, and the source under test as a context."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from schemas.base import rfc3339
from schemas.kube import KubeEvent, KubeObject
from streams.producer import Producer
from streams.record import Record
from streams.settings import Cluster, Kafka, Settings
from streams.sources.kube import KubeSource
from tests.parts.kube.cluster import Kube

WAIT_S = 90.0
event_decoder = msgspec.json.Decoder(KubeEvent)
object_decoder = msgspec.json.Decoder(KubeObject)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def settings(kafka: Kafka, *kubeconfigs: Path, cluster: str = "test") -> Settings:
    return Settings(kafka=kafka, kubeconfigs=[str(k) for k in kubeconfigs], cluster=Cluster(name=cluster))


@asynccontextmanager
async def source(kafka: Kafka, *kubeconfigs: Path, cluster: str = "test") -> AsyncIterator[KubeSource]:
    producer = Producer(kafka, "tests.kube")
    await producer.start()
    kube = KubeSource(settings(kafka, *kubeconfigs, cluster=cluster), producer, now_ms)
    await kube.start()
    try:
        yield kube
    finally:
        await kube.close()
        await producer.close()


async def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


def events(records: list[Record]) -> list[KubeEvent]:
    return [event_decoder.decode(r.value) for r in records if r.value]


def objects(records: list[Record]) -> list[KubeObject]:
    return [object_decoder.decode(r.value) for r in records if r.value]


def namespace(cluster: Kube, name: str) -> str:
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def event(space: str, name: str, count: int = 1, reason: str = "BackOff") -> dict[str, Any]:
    now = rfc3339(now_ms())[:19] + "Z"
    return {
        "metadata": {"name": name, "namespace": space},
        "type": "Warning",
        "reason": reason,
        "message": "Back-off restarting failed container",
        "count": count,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "involvedObject": {"kind": "Pod", "namespace": space, "name": "pay", "uid": f"uid-{space}"},
        "source": {"component": "kubelet", "host": "n1"},
    }


def events_path(space: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{space}/events" + (f"/{name}" if name else "")


def deployment(name: str, replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    meta = {"name": name, "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"}}
    return {"metadata": meta, "spec": spec}


def deployments_path(space: str, name: str = "") -> str:
    return f"/apis/apps/v1/namespaces/{space}/deployments" + (f"/{name}" if name else "")
