"""Eight partitions and three workers give the same alerts as one and one, on the same input."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.base import rfc3339
from streams import topics
from streams.kafka import client
from streams.producer import Producer
from streams.record import Outgoing
from streams.settings import Kafka, Settings, environment
from tests.parts.broker import broker
from tests.parts.local import ROOT, until
from tests.parts.process import Process, answers, free_ports, running

AGENTS = ("match-rules", "evaluate-windows")
RULES = """\
groups:
  - name: test
    rules:
      - name: ErrorBurst
        input: logs
        where: log.contains("ERROR")
        level: pod
        type: frequency
        count: 5
        within: 30s
        severity: warning
      - name: Fatal
        input: logs
        where: log.startsWith("FATAL")
        level: namespace
        type: any
        severity: critical
"""
BEGAN_MS = time.time_ns() // 1_000_000 - 3_600_000
"""Within the retention of `logs`."""
PODS, MINUTES = 6, 10


def _logs(seed: int) -> list[dict[str, Any]]:
    """Ten minutes of six pods, bursts of errors among quiet lines; sent in the order of their times."""
    rng = random.Random(seed)
    out = []
    for second in range(MINUTES * 60):
        for pod in range(PODS):
            bursting = (second // 60 + pod) % 4 == 0
            text = "ERROR refused" if bursting and rng.random() < 0.4 else "ok"
            if rng.random() < 0.0005:
                text = "FATAL gone"
            kubernetes = {"namespace_name": f"ns-{pod % 2}", "pod_name": f"pod-{pod}", "container_name": "c"}
            out.append({"log": text, "cluster": "lab", "kubernetes": kubernetes, "ms": BEGAN_MS + second * 1000 + pod})
    return out


async def _produce(kafka: Kafka, records: list[dict[str, Any]]) -> None:
    producer = Producer(kafka, "test")
    await producer.start()
    try:
        for record in records:
            record["@timestamp"] = rfc3339(record["ms"])
        await producer.send([Outgoing("logs", json.dumps(r).encode(), timestamp_ms=r["ms"]) for r in records])
    finally:
        await producer.close()


@contextmanager
def _workers(settings: Settings, count: int, base: Path) -> Iterator[None]:
    with ExitStack() as stack:
        ports = free_ports(count)
        for number, port in enumerate(ports):
            worker = settings.worker.model_copy(update={"name": f"w{number}", "metrics_port": port})
            env = dict(os.environ) | environment(settings.model_copy(update={"worker": worker}))
            command = [sys.executable, "-m", "agents.run", *AGENTS]
            process = Process(f"worker {number}", command, base / f"worker-{count}-{number}.log", cwd=ROOT, env=env)
            stack.enter_context(running(process, lambda: True))
        for port in ports:
            until(answers(f"http://127.0.0.1:{port}/readyz"), within_s=120)
        yield


def _episodes(kafka: Kafka) -> set[tuple[str, str, int, int]]:
    """(alert, group, began, ended) of every alert that has ended."""
    return {
        (a["labels"]["alertname"], json.dumps(a["labels"], sort_keys=True), a["starts_at_ms"], a["ends_at_ms"])
        for a in _read(kafka, "alerts")
        if a.get("ends_at_ms")
    }


def _read(kafka: Kafka, topic: str) -> list[dict[str, Any]]:
    consumer = Consumer(client(kafka) | {"group.id": "test-reader", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        left = sum(ends.values())
        out: list[dict[str, Any]] = []
        while len(out) < left:
            out += [json.loads(m.value() or b"{}") for m in consumer.consume(1000, 1.0) if m.error() is None]
        return out
    finally:
        consumer.close()


async def _alerts(partitions: int, workers: int, rules: Path, base: Path) -> set[tuple[str, str, int, int]]:
    with broker() as part:
        kafka = part.kafka.model_copy(update={"partitions": partitions})
        topics.apply(kafka)
        settings = Settings(kafka=kafka, self_logging=False, data_dir=str(base / f"data-{partitions}"))
        settings = settings.model_copy(update={"rules": settings.rules.model_copy(update={"dir": str(rules)})})
        await _produce(kafka, _logs(seed=7))
        with _workers(settings, workers, base):
            seen: list[set[tuple[str, str, int, int]]] = []

            def settled() -> bool:
                seen.append(_episodes(kafka))
                return len(seen) > 8 and bool(seen[-1]) and seen[-1] == seen[-8]

            until(settled, within_s=120, every_s=0.5)
            return seen[-1]


@pytest.mark.timeout(600)
async def test_partitions_and_workers_change_no_alert(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "test.yaml").write_text(RULES, "utf-8")
    one = await _alerts(1, 1, tmp_path / "rules", tmp_path)
    many = await _alerts(8, 3, tmp_path / "rules", tmp_path)
    assert len(one) > 10
    assert many == one
