"""A real kube-apiserver in front: a Warning Event becomes searchable and, by a rule, a mail; nothing is lost or doubled
when history is compacted and the apiserver restarts."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.base import rfc3339
from tests.parts.kube.cluster import Kube
from tests.parts.local import Local, local, until

RULES = """\
groups:
  - name: test
    rules:
      - name: CannotMount
        input: kube.events
        where: type == "Warning" && reason == "FailedMount"
        level: pod
        type: any
        severity: critical
        annotations:
          summary: "{{ labels.pod }}: {{ message }}"
"""


@pytest.fixture(scope="module")
def platform(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    rules = tmp_path_factory.mktemp("rules")
    (rules / "test.yaml").write_text(RULES, "utf-8")
    with local(KUBECONFIGS=str(kube.kubeconfig), RULES__DIR=str(rules)) as part:
        yield part


@pytest.fixture
def namespace(kube: Kube) -> str:
    name = f"flow-{uuid.uuid4().hex[:8]}"
    kube.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def _event(namespace: str, name: str, reason: str = "FailedMount", message: str = "no such volume") -> dict[str, Any]:
    now = rfc3339(time.time_ns() // 1_000_000)[:19] + "Z"
    return {
        "metadata": {"name": name, "namespace": namespace},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "involvedObject": {"kind": "Pod", "namespace": namespace, "name": "pay-0", "uid": str(uuid.uuid4())},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": "kubelet"},
    }


def _post(kube: Kube, namespace: str, name: str, **more: str) -> None:
    kube.request("POST", f"/api/v1/namespaces/{namespace}/events", _event(namespace, name, **more))


def _messages(platform: Local, namespace: str) -> list[str]:
    items = platform.get("/api/v1/events", namespace=namespace, limit=1000)["items"]
    return [item["record"]["message"] for item in items]


def test_a_warning_event_is_searchable_and_becomes_a_mail(platform: Local, kube: Kube, namespace: str) -> None:
    _post(kube, namespace, "mount.1")
    assert until(lambda: _messages(platform, namespace)) == ["no such volume"]
    mail = until(lambda: platform.mails("FIRING", namespace))[0]
    assert "pay-0: no such volume" in mail["text"]


def test_every_process_names_the_only_cluster_alike(platform: Local, kube: Kube, namespace: str) -> None:
    uid = kube.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    _post(kube, namespace, "named.1", message="of the watch")
    line = {"log": f"by http {namespace}"}
    platform.call("POST", "/ingest/logs", line)

    def clusters() -> list[str]:
        events = platform.get("/api/v1/events", namespace=namespace)["items"]
        lines = platform.get("/api/v1/logs", q=f'"by http {namespace}"')["items"]
        return [item["record"]["cluster"] for item in (*events, *lines)]

    assert until(clusters, lambda found: len(found) == 2) == [uid] * 2


def test_compaction_and_a_restart_lose_and_double_nothing(platform: Local, kube: Kube, namespace: str) -> None:
    sent: list[str] = []

    def send(count: int) -> None:
        for _ in range(count):
            sent.append(f"event {len(sent)}")
            _post(kube, namespace, f"quiet.{len(sent)}", reason="Quiet", message=sent[-1])

    send(20)
    until(lambda: len(_messages(platform, namespace)) >= 20)
    platform.kill("sources")
    send(20)
    kube.compact()
    send(10)
    until(lambda: len(_messages(platform, namespace)) >= 50)
    kube.restart_apiserver(hard=True)
    send(20)
    until(lambda: len(_messages(platform, namespace)) >= 70)
    assert sorted(_messages(platform, namespace)) == sorted(sent)
