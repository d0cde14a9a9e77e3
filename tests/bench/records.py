"""Realistic log records of about 400 bytes, keyed as our sources key them, on a real topic."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator

import msgspec
from confluent_kafka import Producer

from streams.kafka import client
from streams.settings import Kafka

TOPIC = "logs"
START_MS = 1_795_608_000_000
"""2026-11-25T12:00:00Z."""
CHUNK = 1000
"""Records of one chunk of the forward protocol: they share an id but for its number."""
STEP = 2000
SECRETS = 0.1
"""Of the records, those that name a mail address."""
NAMESPACES = {"payment": "payments"}
"""Of an app; all others are in `shop`."""
_PATHS = ("/api/v1/items", "/api/v1/orders/17", "/healthz", "/login", "/cart?step=2")
_LINES = (
    '{ip} - - "GET {path} HTTP/1.1" {status} {size} {ms}ms',
    'level=info msg="request handled" path={path} status={status} bytes={size} duration={ms}ms peer={ip}',
    "WARN  [pool-{size}-thread-1] o.s.web.OrderService: slow call to {ip}: {ms} ms, status {status}",
    'level=error msg="payment failed: connection refused" order={size} peer={ip} path={path} attempt={ms}',
)


def records(count: int, seed: int = 1) -> Iterator[tuple[bytes, bytes, int]]:
    """(key, value, time in ms) of `count` records."""
    rng = random.Random(seed)
    apps = ["cart", "checkout", "frontend", "payment", "shipping"]
    pods = [(app, f"{app}-7d9c8f6b5-{rng.choice('bcdfg')}x{n}kp") for app in apps for n in range(6)]
    for number in range(count):
        app, pod = pods[rng.randrange(len(pods))]
        line = _LINES[rng.randrange(len(_LINES))].format(
            ip=f"10.0.{rng.randrange(256)}.{rng.randrange(256)}",
            path=_PATHS[rng.randrange(len(_PATHS))],
            status=rng.choice((200, 200, 200, 404, 500)),
            size=rng.randrange(100_000),
            ms=rng.randrange(2000),
        )
        if rng.random() < SECRETS:
            line += f" user=customer{rng.randrange(10_000)}@example.org"
        time_ms = START_MS + number // 100
        about = {
            "namespace_name": NAMESPACES.get(app, "shop"),
            "pod_name": pod,
            "container_name": app,
            "labels": {"app": app, "app.kubernetes.io/name": app, "pod-template-hash": "7d9c8f6b5"},
            "host": f"node-{number % 3}",
        }
        value = {"@timestamp": time_ms / 1000, "log": line, "stream": "stdout", "cluster": "prod", "kubernetes": about}
        chunk = hashlib.sha256(b"%d" % (number // CHUNK)).hexdigest()[:32]
        yield b"%s-%d" % (chunk.encode(), number % CHUNK), msgspec.json.encode(value), time_ms


def produce(kafka: Kafka, count: int, on_progress: Callable[[int], None]) -> float:
    """Write `count` records, in chunks to one partition after another as a source does; returns their mean size."""
    properties = {"compression.type": "lz4", "linger.ms": 50, "batch.num.messages": 10_000, "acks": "all"}
    producer = Producer(client(kafka) | properties)
    partitions = len(producer.list_topics(TOPIC, 30).topics[TOPIC].partitions)
    nbytes = 0
    source = records(count)
    for step in itertools.count():
        part = list(itertools.islice(source, STEP))
        if not part:
            break
        for key, value, time_ms in part:
            while True:
                try:
                    producer.produce(TOPIC, value, key, partition=step % partitions, timestamp=time_ms)
                    break
                except BufferError:
                    producer.poll(0.1)
            nbytes += len(value)
        producer.poll(0)
        on_progress(min(count, (step + 1) * STEP))
    producer.flush(120)
    return nbytes / count
