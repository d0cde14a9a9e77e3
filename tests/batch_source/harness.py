"""A batch source in a real Faust app on a real broker, in this process, and what tests ask of Kafka beside it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, cast

import faust
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Producer as RdProducer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.app import faust_app
from streams.batch import Batch, Message, as_record
from streams.delivery import deliver
from streams.kafka import client
from streams.producer import Producer
from streams.record import Record
from streams.settings import Kafka, Settings, Worker
from streams.source import BatchSource
from streams.watchdog import Watchdog

DEADLINE_S = 60.0

Handle = Callable[[Batch], Awaitable[None]]


def unique(name: str) -> str:
    return f"{name}.{uuid.uuid4().hex[:8]}"


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


def settings_for(kafka: Kafka, **worker: Any) -> Settings:
    return Settings(kafka=kafka, worker=Worker(**worker))


def create(kafka: Kafka, *names: str, partitions: int = 1, **config: str) -> None:
    """Make topics; a topic of the same name that is still being deleted is waited for."""
    admin = AdminClient(client(kafka))
    for name in names:
        end = time.monotonic() + DEADLINE_S
        while True:
            new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
            try:
                admin.create_topics([new])[name].result()
                break
            except KafkaException:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        while not _led(admin, name, partitions):
            assert time.monotonic() < end, f"no leader for {name}"
            time.sleep(0.05)


def _led(admin: AdminClient, name: str, partitions: int) -> bool:
    topic = admin.list_topics(name, timeout=10).topics[name]
    return len(topic.partitions) == partitions and all(p.leader >= 0 for p in topic.partitions.values())


def delete(kafka: Kafka, name: str) -> None:
    admin = AdminClient(client(kafka))
    admin.delete_topics([name])[name].result()


def delete_records(kafka: Kafka, topic: str, before: int) -> None:
    """What retention does: partition 0 of `topic` begins at offset `before` from now on."""
    admin = AdminClient(client(kafka))
    for future in admin.delete_records([TopicPartition(topic, 0, before)]).values():
        future.result()


def produce(kafka: Kafka, topic: str, values: Iterable[bytes], partitions: int = 1, start: int = 0) -> int:
    """Values to the partitions in turn; returns how many, once Kafka has them all."""
    producer = RdProducer(client(kafka) | {"acks": "all", "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    count = 0
    for count, value in enumerate(values, 1):
        while True:
            try:
                producer.produce(topic, value, partition=(start + count - 1) % partitions)
                break
            except BufferError:
                producer.poll(0.1)
        if count % 1000 == 0:
            producer.poll(0)
    assert producer.flush(DEADLINE_S) == 0
    return count


def committed(kafka: Kafka, group: str, topic: str) -> dict[int, int]:
    """Committed offset by partition; partitions without one are left out."""
    # Not by AdminClient.list_consumer_group_offsets: on a broker just started it crashed the process (librdkafka 2.16).
    consumer = Consumer(client(kafka) | {"group.id": f"eventsphere.{group}"})
    try:
        partitions = consumer.list_topics(topic, timeout=DEADLINE_S).topics[topic].partitions
        end = time.monotonic() + DEADLINE_S
        while True:
            try:
                answer = consumer.committed([TopicPartition(topic, p) for p in partitions], timeout=DEADLINE_S)
                return {p.partition: p.offset for p in answer if p.offset >= 0}
            except KafkaException:  # a broker just started is still loading its groups
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
    finally:
        consumer.close()


def read_all(kafka: Kafka, topic: str, count: int) -> list[Record]:
    """The first `count` records of partition 0 of `topic`, waiting for them."""
    consumer = Consumer(client(kafka) | {"group.id": unique("read"), "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    out: list[Record] = []
    end = time.monotonic() + DEADLINE_S
    while len(out) < count and time.monotonic() < end:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            out.append(as_record(topic, 0, cast("Message", message)))
    consumer.close()
    assert len(out) >= count, f"{len(out)} of {count} records on {topic}"
    return out


async def until(condition: Callable[[], bool], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Poll until `condition()`; it may ask Kafka (it runs in a thread)."""
    end = time.monotonic() + timeout_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, f"still not so after {timeout_s:.0f} s: {what}"
        await asyncio.sleep(0.05)


class Running:
    """A started app with one source and one agent."""

    def __init__(self, app: faust.App, source: BatchSource, producer: Producer, watchdog: Watchdog) -> None:
        self.app = app
        self.source = source
        self.producer = producer
        self.watchdog = watchdog
        self.agent: Any = None

    async def until_assigned(self, count: int = 1) -> None:
        await until(lambda: len(self.source.assigned) == count, f"{count} partitions assigned")


@asynccontextmanager
async def running(
    kafka: Kafka,
    name: str,
    topics: list[str],
    handle: Handle,
    *,
    settings: Settings | None = None,
    prepare: Callable[[BatchSource], None] = lambda source: None,
    agent: Callable[[Running], Callable[[Any], Awaitable[None]]] | None = None,
    fast: bool = True,
) -> AsyncIterator[Running]:
    """`handle` under the error policy; `fast`: back-offs are a hundredth as long. `agent`: another agent body."""
    settings = settings or settings_for(kafka)
    control = unique("control")
    create(kafka, control)
    app = faust_app(kafka, unique("test"))
    producer = Producer(kafka, name)
    source = BatchSource(app, settings, producer, name, topics, clock=clock_ms)
    run = Running(app, source, producer, Watchdog(settings.worker.watchdog_s))
    run.watchdog.watch(source)
    prepare(source)

    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds / 100 if fast else seconds)

    async def body(batches: Any) -> None:
        async for batch in batches:
            await deliver(
                source,
                batch,
                handle,
                settings=settings,
                producer=producer,
                watchdog=run.watchdog,
                sleep=nap,
                rng=Random(1),
                census=None if source.book is None else source.book.census,
            )

    run.agent = app.agent(source.channel, name=name)(agent(run) if agent else body)

    @app.agent(app.topic(control, key_type=bytes, value_type=bytes), name="control")
    async def _control(values: Any) -> None:
        async for _ in values:
            pass

    await producer.start()
    await app.start()
    await app.add_runtime_dependency(source)
    try:
        yield run
    finally:
        await source.stop()
        await app.stop()
        await producer.close()
