"""Worker processes on a real broker, killed with SIGKILL while they count: every count is exact in the end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from deploy.local.broker import Broker
from schemas.catalogue import Topic, catalogue, state_topic
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
control = catalogue()["platform.control"]
pytestmark = pytest.mark.timeout(300)


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


class Counting:
    """Two workers counting `keys` that come over `seconds`."""

    def __init__(self, kafka: Kafka, folder: Path, keys: list[str], seconds: float) -> None:
        tag = uuid.uuid4().hex[:8]
        self.kafka, self.keys, self._seconds = kafka, keys, seconds
        self.agent, self.input, self.output = f"count-{tag}", f"in-{tag}", f"out-{tag}"
        self.workers = [child(kafka, self.agent, self.input, self.output, folder, f"w{i}") for i in range(2)]

    async def __aenter__(self) -> Counting:
        topics.apply(
            self.kafka,
            [topic(self.input), topic(self.output), state_topic(self.agent, topic(self.input)), control],
        )
        for worker in self.workers:
            worker.start()
        pause_s = self._seconds * 1000 / len(self.keys)
        self.producing = asyncio.create_task(produce(self.kafka, self.input, self.keys, pause_s))
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stop()

    async def done(self) -> int:
        """Wait until all is counted and check it; returns how many outputs came more than once."""
        await self.producing
        await asyncio.to_thread(until, lambda: lag(self.kafka, self.agent, self.input) == 0, 100)
        sent = read_all(self.kafka, self.output)
        counts = Counter(self.keys)
        assert set(sent) == {f"{key} {seen}".encode() for key, count in counts.items() for seen in range(1, count + 1)}
        return len(sent) - len(set(sent))


def some_keys(count: int) -> list[str]:
    rng = random.Random(count)
    return [f"key{rng.randrange(KEYS)}" for _ in range(count)]


async def test_counts_are_exact_after_kills(platform_kafka: Kafka, tmp_path: Path) -> None:
    rng = random.Random(7)
    async with Counting(platform_kafka, tmp_path, some_keys(RECORDS), 16) as counting:
        for kill in range(KILLS):
            await asyncio.sleep(rng.uniform(2, 6))
            counting.workers[kill % 2].kill()
            counting.workers[kill % 2].start()
        # What is sent twice is at most the step under way at each kill, in each of a worker's partitions.
        assert await counting.done() <= KILLS * PARTITIONS * 500


async def test_a_worker_that_comes_or_goes_in_peace_repeats_nothing(platform_kafka: Kafka, tmp_path: Path) -> None:
    async with Counting(platform_kafka, tmp_path, some_keys(5_000), 10) as counting:
        await asyncio.sleep(5)
        await asyncio.to_thread(counting.workers[0].stop)
        counting.workers[0].start()
        assert await counting.done() == 0


@pytest.mark.long
async def test_a_worker_that_was_paused_over_the_session_timeout_changes_nothing(
    platform_kafka: Kafka, tmp_path: Path
) -> None:
    """It wakes in the middle of what it did while another worker owns its partitions."""
    async with Counting(platform_kafka, tmp_path, some_keys(RECORDS), 20) as counting:
        await asyncio.sleep(6)
        paused = counting.workers[0]
        os.kill(paused.pid, signal.SIGSTOP)
        await asyncio.sleep(14)
        os.kill(paused.pid, signal.SIGCONT)
        assert await counting.done() <= 2 * PARTITIONS * 500


@pytest.mark.long
async def test_counts_are_exact_over_a_broker_killed(own_broker: Broker, tmp_path: Path) -> None:
    async with Counting(own_broker.kafka, tmp_path, some_keys(RECORDS), 15) as counting:
        for _ in range(2):
            await asyncio.sleep(5)
            own_broker.kill()
            own_broker.start()
            await asyncio.to_thread(own_broker.wait_ready, 120)
        await counting.done()
