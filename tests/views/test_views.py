"""A view is the complete, current contents of a compacted topic, whatever happens to topic and broker."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from deploy.local.broker import Broker
from schemas.catalogue import Topic
from streams import topics
from streams.producer import Producer
from streams.record import Outgoing
from streams.settings import Kafka
from streams.topics import identity
from streams.views import View


class Thing(msgspec.Struct, frozen=True):
    size: int


decode = msgspec.json.Decoder(Thing).decode


def table_topic(partitions: int = 3) -> Topic:
    return Topic(
        name=f"table-{uuid.uuid4().hex[:8]}", key="k", record="r", schema="s", cleanup="compact", partitions=partitions
    )


def put(topic: str, key: str, size: int | None) -> Outgoing:
    return Outgoing(topic, None if size is None else b'{"size":%d}' % size, key.encode())


async def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)


async def delete(kafka: Kafka, topic: str) -> None:
    topics._admin(kafka).delete_topics([topic])[topic].result(30)
    while await asyncio.to_thread(identity, kafka, topic) is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


@pytest.fixture
async def producer(kafka: Kafka) -> AsyncIterator[Producer]:
    out = Producer(kafka, "test")
    await out.start()
    yield out
    await out.close()


async def test_start_returns_with_everything_written_before(kafka: Kafka, producer: Producer) -> None:
    topic = table_topic()
    topics.apply(kafka, [topic])
    await producer.send([put(topic.name, f"k{i}", i) for i in range(5000)])
    await producer.send([put(topic.name, "k1", 100), put(topic.name, "k2", None)])
    view = View(kafka, topic.name, decode)
    await view.start()
    assert view.ready
    assert len(view) == 4999
    assert view.get("k1") == Thing(100)
    assert view.get("k2") is None
    assert "k2" not in view
    await view.close()


async def test_it_follows_and_tells_of_each_change(kafka: Kafka, producer: Producer) -> None:
    topic = table_topic()
    topics.apply(kafka, [topic])
    view = View(kafka, topic.name, decode)
    await view.start()
    told: list[tuple[str, Thing | None]] = []

    def fails(_key: str, _value: Thing | None) -> None:
        raise RuntimeError("a listener's own fault")

    view.on_change(fails)
    view.on_change(lambda key, value: told.append((key, value)))
    await producer.send([put(topic.name, "a", 1)])
    await producer.send([put(topic.name, "a", 2), put(topic.name, "never was", None), put(topic.name, "a", None)])
    await until(lambda: len(told) == 3)
    assert told == [("a", Thing(1)), ("a", Thing(2)), ("a", None)]
    assert not list(view.items())
    await view.close()


async def test_what_cannot_be_decoded_is_skipped(kafka: Kafka, producer: Producer) -> None:
    topic = table_topic(1)
    topics.apply(kafka, [topic])
    await producer.send(
        [
            Outgoing(topic.name, b'{"size":1}', b"\xff\xfe"),
            Outgoing(topic.name, b"\x00not json", b"bad"),
            put(topic.name, "good", 7),
        ]
    )
    view = View(kafka, topic.name, decode)
    await view.start()
    assert dict(view.items()) == {"good": Thing(7)}
    await view.close()


async def test_a_recreated_topic_is_read_again(kafka: Kafka, producer: Producer) -> None:
    topic = table_topic(1)
    topics.apply(kafka, [topic])
    await producer.send([put(topic.name, "old", 1), put(topic.name, "both", 1)])
    view = View(kafka, topic.name, decode)
    await view.start()
    gone: list[str] = []
    view.on_change(lambda key, value: gone.append(key) if value is None else None)
    await delete(kafka, topic.name)
    topics.apply(kafka, [topic])
    fresh = Producer(kafka, "fresh")
    await fresh.start()
    # More records than before: the position of the old topic exists in the new one too.
    await fresh.send([put(topic.name, f"new{i}", i) for i in range(10)] + [put(topic.name, "both", 2)])
    await until(lambda: view.get("both") == Thing(2) and "old" not in view and len(view) == 11)
    assert gone == ["old"]
    await fresh.close()
    await view.close()


async def test_it_waits_for_a_topic_and_for_a_broker(own_broker: Broker) -> None:
    topic = table_topic(1)
    view = View(own_broker.kafka, topic.name, decode)
    starting = asyncio.create_task(view.start())
    await asyncio.sleep(0.5)
    assert not view.ready
    topics.apply(own_broker.kafka, [topic])
    await asyncio.wait_for(starting, 60)
    own_broker.kill()
    await asyncio.sleep(1)
    assert view.ready
    own_broker.start()
    await asyncio.to_thread(own_broker.wait_ready, 120)
    producer = Producer(own_broker.kafka, "test")
    await producer.start()
    await producer.send([put(topic.name, "after", 3)])
    await until(lambda: view.get("after") == Thing(3))
    await producer.close()
    await view.close()


async def test_close_ends_a_start_that_waits() -> None:
    view = View(Kafka(bootstrap_servers="127.0.0.1:1"), "nowhere", decode)
    starting = asyncio.create_task(view.start())
    await asyncio.sleep(0.2)
    await view.close()
    await asyncio.wait_for(starting, 10)
    assert not view.ready
