"""The bulk producer on a real broker: order, what Kafka never takes, and a broker that is killed under it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from deploy.local.broker import Broker
from streams import topics
from streams.bulk import BulkProducer, _halves, _Waiting
from streams.record import Bulk
from streams.settings import Kafka
from tests.sources.bus import Reader


@asynccontextmanager
async def producing(kafka: Kafka) -> AsyncIterator[BulkProducer]:
    producer = BulkProducer(kafka, "tests.bulk")
    try:
        yield producer
    finally:
        await producer.close()


@pytest.fixture
def reader(platform_kafka: Kafka) -> Iterator[Reader]:
    out = Reader(platform_kafka, "logs")
    yield out
    out.close()


def bulk(first: int, count: int, spread: str = "") -> Bulk:
    numbers = range(first, first + count)
    return Bulk("logs", [b"%d" % n for n in numbers], [b"k%d" % n for n in numbers], [n + 1 for n in numbers], spread)


async def test_what_goes_together_is_in_one_partition_in_order(platform_kafka: Kafka, reader: Reader) -> None:
    async with producing(platform_kafka) as producer:
        for first in range(0, 5000, 500):
            await producer.send([bulk(first, 500, "one")])
        assert producer.waiting_bytes == 0
        assert producer.stalled_s == 0
    found = await asyncio.to_thread(reader.wait_count, 5000)
    assert [(r.key, r.value, r.timestamp_ms) for r in found] == [(b"k%d" % n, b"%d" % n, n + 1) for n in range(5000)]
    assert len({r.partition for r in found}) == 1


async def test_many_small_senders_share_batches(platform_kafka: Kafka, reader: Reader) -> None:
    async with producing(platform_kafka) as producer:
        await asyncio.gather(*(producer.send([bulk(n, 1)]) for n in range(3000)))
    found = await asyncio.to_thread(reader.wait_count, 3000)
    assert {r.value for r in found} == {b"%d" % n for n in range(3000)}
    assert len({r.partition for r in found}) > 1


async def test_a_record_kafka_never_takes_is_named_and_the_others_are_stored(
    platform_kafka: Kafka, reader: Reader
) -> None:
    huge = os.urandom(5 << 20)  # the topic takes 4 MiB
    one = bulk(0, 7, "same")
    one.values[3] = huge
    async with producing(platform_kafka) as producer:
        refused = await producer.send([one, bulk(7, 3, "same")])
        await producer.send([bulk(10, 5)])
    assert list(refused[0]) == [3]
    assert refused[1] == {}
    found = await asyncio.to_thread(reader.wait_count, 14)
    assert {r.value for r in found} == {b"%d" % n for n in range(15) if n != 3}


@pytest.mark.parametrize("first", range(8))
def test_halves_are_all_there(first: int) -> None:
    one, two = (_Waiting(bulk(n, 3), None) for n in (0, 3))  # type: ignore[arg-type]
    spans: list[Any] = [(one, 0, 3), (two, 1, 3)]
    left, right = _halves(spans, first)
    assert [(w, n) for w, a, b in left + right for n in range(a, b)] == [
        (w, n) for w, a, b in spans for n in range(a, b)
    ]
    assert sum(b - a for _, a, b in left) == min(first, 5)


@pytest.mark.long
async def test_a_broker_that_is_killed_loses_nothing_that_was_answered(own_broker: Broker) -> None:
    topics.apply(own_broker.kafka)
    answered: set[bytes] = set()
    async with producing(own_broker.kafka) as producer:

        async def send(sender: int) -> None:
            for turn in range(40):
                each = bulk(sender * 100_000 + turn * 100, 100, f"{sender}-{turn}")
                await producer.send([each])
                answered.update(each.values)

        sending = [asyncio.create_task(send(n)) for n in range(4)]
        async with asyncio.timeout(100):
            while len(answered) < 2000:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.to_thread(own_broker.kill)
        await asyncio.sleep(0.5)
        stalled = producer.stalled_s
        own_broker.start()
        async with asyncio.timeout(100):
            await asyncio.gather(*sending)
    assert stalled > 0
    reader = Reader(own_broker.kafka, "logs")
    reader._consumer.assign([p.__class__(p.topic, p.partition, 0) for p in reader._consumer.assignment()])
    found = await asyncio.to_thread(reader.wait, lambda records: answered <= {r.value for r in records})
    reader.close()
    assert len(answered) == 16_000
    assert {r.value for r in found} == answered
