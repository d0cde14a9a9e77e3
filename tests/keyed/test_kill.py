"""Worker processes on a real broker, killed with SIGKILL while they count: every count is exact in the end."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from schemas.catalogue import Topic, state_topic
from streams import topics
from streams.kafka import client
from streams.producer import Producer
from streams.record import Outgoing
from streams.settings import Kafka, Settings, environment
from tests.parts.process import Process

RECORDS = 20_000
KEYS = 97
KILLS = 3
PARTITIONS = 3


def topic(name: str) -> Topic:
    return Topic(name=name, key="k", record="r", schema="s", partitions=PARTITIONS, retention_hours=1, retention_gib=1)


def child(kafka: Kafka, agent: str, input_: str, output: str, folder: Path, name: str) -> Process:
    settings = Settings(kafka=kafka, data_dir=str(folder), self_logging=False)
    small = {"name": name, "max_batch_records": 500}
    settings = settings.model_copy(update={"worker": settings.worker.model_copy(update=small)})
    command = [sys.executable, "-m", "tests.keyed.child", agent, input_, output]
    here = Path(__file__).parents[2]
    return Process(name, command, folder / f"{name}.log", cwd=here, env={**os.environ, **environment(settings)})


def read_all(kafka: Kafka, name: str) -> list[bytes]:
    consumer = Consumer(
        client(kafka) | {"group.id": uuid.uuid4().hex, "enable.partition.eof": True, "auto.offset.reset": "earliest"}
    )
    consumer.assign([TopicPartition(name, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    out: list[bytes] = []
    ends = 0
    while ends < PARTITIONS:
        message = consumer.poll(30)
        assert message is not None
        if message.error():
            ends += 1
        else:
            out.append(message.value() or b"")
    consumer.close()
    return out


def lag(kafka: Kafka, agent: str, name: str) -> int:
    consumer = Consumer(client(kafka) | {"group.id": f"eventsphere.{agent}"})
    try:
        wanted = [TopicPartition(name, p) for p in range(PARTITIONS)]
        committed = {p.partition: max(p.offset, 0) for p in consumer.committed(wanted, timeout=30)}
        return sum(consumer.get_watermark_offsets(p, timeout=30)[1] - committed[p.partition] for p in wanted)
    finally:
        consumer.close()


def until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


async def produce(kafka: Kafka, name: str, keys: list[str], pause_s: float) -> None:
    producer = Producer(kafka, "test")
    await producer.start()
    for start in range(0, len(keys), 1000):
        await producer.send([Outgoing(name, b"x", key.encode()) for key in keys[start : start + 1000]])
        await asyncio.sleep(pause_s)
    await producer.close()


async def test_counts_are_exact_after_kills(platform_kafka: Kafka, tmp_path: Path) -> None:
    kafka, rng = platform_kafka, random.Random(7)
    tag = uuid.uuid4().hex[:8]
    agent, input_, output = f"count-{tag}", f"in-{tag}", f"out-{tag}"
    topics.apply(kafka, [topic(input_), topic(output), state_topic(agent, topic(input_))])
    keys = [f"key{rng.randrange(KEYS)}" for _ in range(RECORDS)]
    workers = [child(kafka, agent, input_, output, tmp_path, f"w{i}") for i in range(2)]
    try:
        for worker in workers:
            worker.start()
        producing = asyncio.create_task(produce(kafka, input_, keys, 0.8))
        for kill in range(KILLS):
            await asyncio.sleep(rng.uniform(2, 6))
            worker = workers[kill % 2]
            worker.kill()
            worker.start()
        await producing
        await asyncio.to_thread(until, lambda: lag(kafka, agent, input_) == 0, 90)
    finally:
        for worker in workers:
            worker.stop()
    expected = {f"{key} {seen}".encode() for key, count in Counter(keys).items() for seen in range(1, count + 1)}
    sent = read_all(kafka, output)
    assert set(sent) == expected
    # What is sent twice is at most the step under way at each kill, in each of a worker's partitions.
    assert len(sent) - len(expected) <= KILLS * PARTITIONS * 500
