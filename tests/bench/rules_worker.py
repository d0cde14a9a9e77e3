"""What only a whole worker on a real Kafka can show: how much 100 000 live windows take, and how long they take to be
written and read back; and how long after its record an alert is there, while others come at a steady rate.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Producer as Client

from schemas.alerts import Alert
from schemas.base import encode
from schemas.rules import Mark, Match, Progress
from streams import topics
from streams.kafka import client
from streams.producer import Producer
from streams.record import Outgoing
from streams.rules.document import parse_document
from streams.rules.matching import TOPIC as MATCHES
from streams.rules.matching import outgoing
from streams.settings import Kafka, Settings, environment
from tests.bench.rules import generated
from tests.chaos.fire import Lag
from tests.parts.broker import broker
from tests.parts.local import ROOT, until
from tests.parts.process import Process, answers, free_port, running

RULES = 25
WINDOWS = 100_000
MAX_MIB, MAX_S, MAX_P99_S = 500.0, 10.0, 0.5
RATE, SECONDS, WARM_S, TICK_S = 20_000, 30.0, 5.0, 0.05
STATE = "groups:\n- name: bench\n  rules:\n" + "".join(
    f"  - {{alert: Count{n}, input: logs, where: has(log), level: pod, type: frequency, count: 5, within: 1h}}\n"
    for n in range(RULES)
)
SLOW = """\
groups:
- name: bench
  rules:
  - {alert: Late, input: logs, where: 'log.contains("gave up for good")', level: pod, keep_firing_for: 1h}
"""


@contextmanager
def worker(kafka: Kafka, rules: str, folder: Path, agents: Sequence[str]) -> Iterator[tuple[Process, float]]:
    """A worker of these agents, and how many seconds passed until it was ready."""
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / "bench.yaml").write_text(rules, "utf-8")
    port = free_port()
    settings = Settings.model_validate({
        "kafka": kafka, "self_logging": False, "data_dir": str(folder), "rules": {"dir": str(folder / "rules")},
        "worker": {"name": "bench", "metrics_port": port},
    })  # fmt: skip
    command = [sys.executable, "-m", "agents.run", *agents]
    process = Process("worker", command, folder / "worker.log", cwd=ROOT, env=dict(os.environ) | environment(settings))
    began = time.monotonic()
    with running(process, lambda: True):
        until(answers(f"http://127.0.0.1:{port}/readyz"), within_s=300, every_s=0.05)
        yield process, time.monotonic() - began


def state(count: int = WINDOWS) -> dict[str, Any]:
    """Seconds from the first match until all windows are written, from the start of another worker until it has them
    all, and the memory of both."""
    with broker() as part, tempfile.TemporaryDirectory() as name:
        topics.apply(part.kafka)
        lag = Lag(part.kafka, "eventsphere.evaluate-windows", MATCHES)
        with worker(part.kafka, STATE, Path(name), ["evaluate-windows"]) as (process, empty_s):
            base_mib = _mib(process)
            records = list(_matches(count, time.time_ns() // 1_000_000))
            began, cpu_s = time.monotonic(), _cpu_s(process)
            asyncio.run(_send(part.kafka, records))
            until(lag.records, lambda left: left == 0, within_s=600, every_s=0.05)
            written_s, written_cpu_s = time.monotonic() - began, _cpu_s(process) - cpu_s
            first_mib = _mib(process)
        with worker(part.kafka, STATE, Path(name), ["evaluate-windows"]) as (process, restored_s):
            restored_mib, restored_cpu_s = _mib(process), _cpu_s(process)
        lag.close()
    mib = round(max(first_mib, restored_mib))
    return {
        "windows": count, "base_mib": round(base_mib), "mib": mib, "written_s": round(written_s, 1),
        "written_cpu_s": round(written_cpu_s, 1),
        "restored_s": round(restored_s, 1),
        "restored_cpu_s": round(restored_cpu_s, 1), "empty_s": round(empty_s, 1),
        "ok": mib <= MAX_MIB and written_s <= MAX_S and restored_s <= MAX_S,
    }  # fmt: skip


def _matches(count: int, now_ms: int) -> Iterator[Outgoing]:
    rules, errors = parse_document(STATE, "bench.yaml")
    assert not errors, errors
    for number in range(count):
        rule = rules[number % RULES]
        group = {"cluster": "bench", "namespace": "shop", "pod": f"payment-7d9c8f6b5-{number:06d}"}
        yield outgoing(
            Match(
                rule=rule.key,
                rule_hash=rule.hash,
                group=group,
                topic="logs",
                partition=0,
                offset=number,
                time_ms=now_ms - 60_000,
                seen_ms=now_ms,
                record=number + 1,
                labels=group | {"message": "level=error payment failed: connection refused, attempt 3 of 5"},
                cluster="bench",
            )
        )
    mark = Mark(topic="logs", partition=0, time_ms=now_ms, at_ms=now_ms)
    progress = encode(Progress(marks=[mark], partitions={"logs": 1}))
    for partition in range(3):
        yield Outgoing(MATCHES, progress, partition=partition)


async def _send(kafka: Kafka, records: Sequence[Outgoing]) -> None:
    producer = Producer(kafka, "bench")
    await producer.start()
    try:
        for start in range(0, len(records), 5000):
            await producer.send(records[start : start + 5000])
    finally:
        await producer.close()


def _cpu_s(process: Process) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def _mib(process: Process) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / 2**20


def alerts(rate: int = RATE, seconds: float = SECONDS) -> dict[str, Any]:
    """Seconds from a record's being made to its alert's being read, of one record in a hundred."""
    with broker() as part, tempfile.TemporaryDirectory() as name:
        topics.apply(part.kafka)
        with worker(part.kafka, SLOW, Path(name), ["match-rules", "evaluate-windows"]) as (process, _):
            over = threading.Event()
            late: list[tuple[float, float]] = []
            reader = threading.Thread(target=_read, args=(part.kafka, late, over), daemon=True)
            reader.start()
            began = time.time()
            sent, matched = _steady(part.kafka, rate, seconds)
            lasted = time.time() - began
            until(lambda: len(late), lambda found: found >= matched, within_s=60)
            over.set()
            reader.join()
            mib = _mib(process)
    seen = sorted(took for at, took in late if at >= began + WARM_S)
    at = {f"p{share}_s": round(seen[min(len(seen) - 1, len(seen) * share // 100)], 3) for share in (50, 95, 99)}
    return {
        "rate": rate, "rate_sent": round(sent / lasted), "seconds": seconds, "alerts": len(seen), "mib": round(mib),
        "ok": at["p99_s"] <= MAX_P99_S and sent / lasted >= 0.95 * rate,
    } | at  # fmt: skip


def _steady(kafka: Kafka, rate: int, seconds: float) -> tuple[int, int]:
    """How many records were sent, and how many of them match."""
    _, values = generated(100)
    producer = Client(client(kafka) | {"compression.type": "lz4", "linger.ms": 5, "acks": "all"})
    rng = random.Random(1)
    partitions = len(producer.list_topics("logs", 30).topics["logs"].partitions)
    size, sent, matched, began = int(rate * TICK_S), 0, 0, time.time()
    for tick in range(int(seconds / TICK_S)):
        time.sleep(max(0.0, began + tick * TICK_S - time.time()))
        at_ms = time.time_ns() // 1_000_000
        for number in range(size):
            value = values[(sent + number) % len(values)]
            if number % 100 == 0:
                value = _match(matched)
                matched += 1
            producer.produce("logs", value, partition=rng.randrange(partitions), timestamp=at_ms)
        sent += size
        producer.poll(0)
    producer.flush(60)
    return sent, matched


def _match(number: int) -> bytes:
    about = {"namespace_name": "shop", "pod_name": f"late-{number}", "container_name": "late"}
    return encode({"log": "it gave up for good", "stream": "stdout", "cluster": "bench", "kubernetes": about})


def _read(kafka: Kafka, late: list[tuple[float, float]], over: threading.Event) -> None:
    consumer = Consumer(client(kafka) | {"group.id": "bench", "enable.auto.commit": False, "fetch.wait.max.ms": 20})
    partitions = consumer.list_topics("alerts", timeout=10).topics["alerts"].partitions
    consumer.assign([TopicPartition("alerts", each, 0) for each in partitions])
    while not over.is_set():
        for message in consumer.consume(500, 0.02):
            alert = msgspec.json.decode(message.value() or b"", type=Alert)
            made = alert.starts_at_ms / 1000
            late.append((made, time.time() - made))
    consumer.close()
