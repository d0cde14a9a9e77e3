"""Agents running in this process on a real broker, and as a process of their own that may be killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import msgspec
from confluent_kafka import Consumer, TopicPartition

from streams.kafka import client
from streams.lifecycle import Life
from streams.producer import Producer
from streams.record import Outgoing
from streams.settings import Kafka, Settings, environment
from streams.worker import Worker
from tests.parts.process import Process

T = TypeVar("T")


@asynccontextmanager
async def running(settings: Settings, *agents: ModuleType, timeout_s: float = 90) -> AsyncIterator[Worker]:
    """A worker with these agents, from assigned to stopped."""
    worker = Worker(settings)
    life = Life(worker)
    up = asyncio.Event()

    def register(worker: Worker) -> None:
        for agent in agents:
            agent.register(worker)

    task = asyncio.create_task(life.run(register, lambda _: up.set()))
    waiting = asyncio.create_task(up.wait())
    try:
        await asyncio.wait({task, waiting}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        assert up.is_set(), f"not up after {timeout_s:.0f} s: waits for {life.waiting()}"
        yield worker
    finally:
        task.cancel()
        waiting.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
        await life.close()


def worker_process(settings: Settings, log: Path, *agents: str) -> Process:
    """A worker with these agents, not started yet: what `eventsphere worker AGENT...` becomes."""
    command = [sys.executable, "-m", "agents.run", *agents]
    return Process("worker", command, log, env=environment(settings), cwd=Path(__file__).parents[2])


@asynccontextmanager
async def producing(kafka: Kafka) -> AsyncIterator[Producer]:
    producer = Producer(kafka, "tests")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.close()


async def send(kafka: Kafka, *records: Outgoing) -> None:
    async with producing(kafka) as producer:
        await producer.send(records)


@contextmanager
def following(kafka: Kafka, topic: str) -> Iterator[Callable[[], list[tuple[bytes | None, bytes | None]]]]:
    """Gives a function returning all (key, value) of `topic` from its start until now."""
    consumer = Consumer(client(kafka) | {"group.id": "tests", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    seen: list[tuple[bytes | None, bytes | None]] = []

    def read() -> list[tuple[bytes | None, bytes | None]]:
        while messages := consumer.consume(1000, timeout=0.2):
            seen.extend((m.key(), m.value()) for m in messages if m.error() is None)
        return seen

    try:
        yield read
    finally:
        consumer.close()


def decoded(records: list[tuple[bytes | None, bytes | None]], type_: type[T]) -> list[T]:
    return [msgspec.json.decode(value, type=type_) for _, value in records if value is not None]


async def until(
    condition: Callable[[], object], what: str, timeout_s: float = 60, *, process: Process | None = None
) -> None:
    """Wait for `condition()` (run in a thread) to be true; `process`, which it depends on, must not end meanwhile."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not await asyncio.to_thread(condition):
        late = asyncio.get_running_loop().time() > deadline
        if late or (process is not None and process.ended):
            log = f"; its log ends with:\n{process.tail(30)}" if process is not None else ""
            raise AssertionError(f"{'not in time' if late else 'the process ended'}: {what}{log}")
        await asyncio.sleep(0.1)
