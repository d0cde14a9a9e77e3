"""The two agents on a real broker: time passes without traffic, rules are read again, `kill -9` changes no alert."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.alerts import Alert
from schemas.base import encode
from schemas.platform import Control
from streams.kafka import client
from streams.producer import Producer
from streams.record import Outgoing
from streams.settings import Kafka, Settings, environment
from tests.parts.local import ROOT, until
from tests.parts.process import Process, answers, free_port, running
from tests.rules.simulation import EVERY_TYPE, TYPES, Cluster, Line, episodes, rule_set

RULE = """\
groups:
- name: g
  rules:
  - alert: {name}
    input: logs
    {where}: log.contains("{name} failed")
    level: pod
    count: 3
    within: 4s
"""


def rule(name: str, where: str = "where") -> str:
    return RULE.format(name=name, where=where)


def line(time_ms: int, text: str, pod: str = "p", **more: int) -> Line:
    kubernetes = {"namespace_name": "n", "pod_name": pod}
    return Line(time_ms, encode({"log": text, "cluster": "lab", "kubernetes": kubernetes} | more))


async def send(kafka: Kafka, records: Sequence[Outgoing]) -> None:
    producer = Producer(kafka, "test")
    await producer.start()
    try:
        await producer.send(records)
    finally:
        await producer.close()


@contextmanager
def worker(kafka: Kafka, rules: Path, log: Path) -> Iterator[Process]:
    settings = Settings.model_validate(
        {
            "kafka": kafka,
            "self_logging": False,
            "data_dir": str(log.parent),
            "rules": {"dir": str(rules)},
            "worker": {"name": "w1", "metrics_port": (port := free_port())},
        }
    )
    command = [sys.executable, "-m", "agents.run", "match-rules", "evaluate-windows"]
    process = Process("worker", command, log, cwd=ROOT, env=dict(os.environ) | environment(settings))
    with running(process, lambda: True):
        until(answers(f"http://127.0.0.1:{port}/readyz"), within_s=120)
        yield process


class Alerts:
    """Everything observed so far, read again and again."""

    def __init__(self, kafka: Kafka) -> None:
        self._consumer = Consumer(client(kafka) | {"group.id": "test", "enable.auto.commit": False})
        partitions = self._consumer.list_topics("alerts", timeout=10).topics["alerts"].partitions
        self._consumer.assign([TopicPartition("alerts", p, 0) for p in partitions])
        self.seen: list[Alert] = []

    def about(self, *names: str) -> list[Alert]:
        found = self._consumer.consume(5000, 0.2)
        self.seen += [msgspec.json.decode(m.value() or b"", type=Alert) for m in found if m.error() is None]
        return [alert for alert in self.seen if alert.labels["alertname"] in names]

    def ended(self, *names: str) -> set[tuple[str, int, int]]:
        return {(a.fingerprint, a.starts_at_ms, a.ends_at_ms) for a in self.about(*names) if a.ends_at_ms}


KILL = """\
  - {alert: Kill, input: logs, where: 'log.contains("Kill failed")', level: pod, count: 3, within: 4s}
  - {alert: Any, input: logs, where: 'log.contains("Kill failed") && v == 3', level: pod, keep_firing_for: 5s}
"""
ALL = (*TYPES, "Kill", "Any")


@pytest.mark.timeout(300)
async def test_rules_of_every_type_a_kill_and_rules_read_again(platform_kafka: Kafka, tmp_path: Path) -> None:
    """Records of twenty minutes wait for the first worker, which is killed amid them; then some come as they happen."""
    rules, log, rng = tmp_path / "rules", tmp_path / "worker.log", random.Random(13)
    rules.mkdir()
    (rules / "good.yaml").write_text(rule("Good"), "utf-8")
    (rules / "team.yaml").write_text(rule("Team", where="were"), "utf-8")
    (rules / "types.yaml").write_text(EVERY_TYPE + KILL, "utf-8")
    began = time.time_ns() // 1_000_000 - 1_800_000
    lines = [
        line(at, "Kill failed" if rng.random() < 0.3 else "fine", f"p{rng.randrange(4)}", v=rng.choice((0, 0, 1, 2, 3)))
        for at in range(1000, 1_200_000, 600)
    ]
    wanted = expected(EVERY_TYPE + KILL, lines, began, rng)
    alerts = Alerts(platform_kafka)

    async def failing(name: str) -> None:
        value = line(0, f"{name} failed").value
        now = time.time_ns() // 1_000_000
        await send(platform_kafka, [Outgoing("logs", value, timestamp_ms=now - i, partition=0) for i in range(3)])

    await send(platform_kafka, [Outgoing("logs", each.value, timestamp_ms=began + each.time_ms) for each in lines])
    with worker(platform_kafka, rules, tmp_path / "killed.log") as process:
        await asyncio.sleep(rng.uniform(0.1, 0.5))
        process.kill()
    with worker(platform_kafka, rules, log):
        text = log.read_text("utf-8")
        assert f"{rules}/team.yaml:4: groups[0].rules[0]: expected where" in text
        assert f"{rules}/team.yaml:6: groups[0].rules[0].were: no such field: did you mean where?" in text
        await asyncio.to_thread(until, lambda: alerts.ended(*ALL) >= wanted, within_s=120)
        assert alerts.ended(*ALL) == wanted
        assert {a.starts_at_ms for a in alerts.about(*ALL)} == {begin for _, begin, _ in wanted}
        await failing("Good")
        await failing("Team")
        await asyncio.to_thread(until, lambda: len(alerts.about("Good")) == 2, within_s=60)
        fired, resolved = alerts.about("Good")
        assert not fired.ends_at_ms
        assert resolved.ends_at_ms == fired.starts_at_ms - 2 + 4000
        assert not alerts.about("Team")
        (rules / "team.yaml").write_text(rule("Team"), "utf-8")
        changed = encode(Control(type="rules.changed", time_ms=1))
        await send(platform_kafka, [Outgoing("platform.control", changed)])

        def team() -> bool:
            asyncio.run(failing("Team"))
            return bool(alerts.about("Team"))

        await asyncio.to_thread(until, team, within_s=60)


def expected(text: str, lines: list[Line], began: int, rng: random.Random) -> set[tuple[str, int, int]]:
    """(fingerprint, begin, end) of the alerts of an undisturbed run."""
    cluster = Cluster(rule_set(text), rng, start_ms=began, clock_ms=began + 1_800_000)
    cluster.produce_lines(lines)
    cluster.run()
    assert {alert.labels["alertname"] for alert in cluster.alerts} == cluster.rules.rules.keys()
    return {(print_, begin + began, end + began) for print_, begin, end in episodes(cluster.alerts, began)}


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_kill_9_changes_no_alert(platform_kafka: Kafka, tmp_path: Path) -> None:
    """Records of half an hour, sent within some seconds while the worker is killed again and again."""
    rng = random.Random(11)
    began = time.time_ns() // 1_000_000 - 1_800_000
    lines = [
        line(at, "Kill failed" if rng.random() < 0.3 else "fine", f"p{rng.randrange(4)}")
        for at in range(1000, 1_600_000, 400)
    ]
    (tmp_path / "rules.yaml").write_text(rule("Kill"), "utf-8")
    wanted = expected(rule("Kill"), lines, began, rng)
    assert len(wanted) > 20
    alerts = Alerts(platform_kafka)

    third = len(lines) // 3 + 1
    for part in range(0, len(lines), third):
        chunk = lines[part : part + third]
        with worker(platform_kafka, tmp_path, tmp_path / f"worker-{part}.log") as process:
            records = [Outgoing("logs", each.value, timestamp_ms=began + each.time_ms) for each in chunk]
            await send(platform_kafka, records)
            await asyncio.sleep(rng.uniform(0.1, 1.5))
            process.kill()
    with worker(platform_kafka, tmp_path, tmp_path / "worker.log"):
        await asyncio.to_thread(until, lambda: alerts.ended("Kill") == wanted, within_s=120)
        assert {a.starts_at_ms for a in alerts.about("Kill")} == {begin for _, begin, _ in wanted}


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_kill_9_changes_no_alert_of_any_type(platform_kafka: Kafka, tmp_path: Path) -> None:
    """Records of twenty minutes wait when the first worker starts; each worker is killed amid them but the last."""
    rng = random.Random(12)
    began = time.time_ns() // 1_000_000 - 1_800_000
    lines = [
        line(at, "fine", f"p{rng.randrange(4)}", v=rng.choice((0, 0, 1, 2, 3))) for at in range(1000, 1_200_000, 600)
    ]
    (tmp_path / "rules.yaml").write_text(EVERY_TYPE, "utf-8")
    wanted = expected(EVERY_TYPE, lines, began, rng)
    alerts = Alerts(platform_kafka)

    await send(platform_kafka, [Outgoing("logs", each.value, timestamp_ms=began + each.time_ms) for each in lines])
    for turn in range(3):
        with worker(platform_kafka, tmp_path, tmp_path / f"worker-{turn}.log") as process:
            await asyncio.sleep(rng.uniform(0.1, 1.0))
            process.kill()
    with worker(platform_kafka, tmp_path, tmp_path / "worker.log"):
        await asyncio.to_thread(until, lambda: alerts.ended(*TYPES) >= wanted, within_s=120)
        assert alerts.ended(*TYPES) == wanted
        assert {a.starts_at_ms for a in alerts.about(*TYPES)} == {begin for _, begin, _ in wanted}
