"""Offsets that are not the next ones: a topic made again, retention faster than the consumer, another's reset."""

from __future__ import annotations

import asyncio

import msgspec
from confluent_kafka import Consumer, TopicPartition

from schemas.platform import Gap
from streams.batch import Batch
from streams.kafka import client
from streams.settings import Kafka
from streams.topic_ids import TopicIds
from tests.batch_source.harness import (
    committed,
    create,
    delete,
    delete_records,
    produce,
    read_all,
    running,
    unique,
    until,
)


class Ids:
    """A handler that keeps the id of each record, as the search index makes it, with its value."""

    def __init__(self) -> None:
        self.values: dict[str, bytes | None] = {}

    async def __call__(self, batch: Batch) -> None:
        for record in batch.records():
            self.values[f"{batch.topic_id}-{record.partition}-{record.offset}"] = record.value

    def having(self, prefix: bytes) -> int:
        return len({value for value in self.values.values() if value and value.startswith(prefix)})


async def test_a_topic_recreated_under_a_running_source_loses_nothing_when_the_new_one_is_longer(kafka: Kafka) -> None:
    """The consumer's position exists in the new topic too, so Kafka alone would silently go on from there."""
    topic, group = unique("records"), unique("longer")
    create(kafka, topic)
    produce(kafka, topic, (b"old %d" % i for i in range(100)))
    ids = Ids()
    async with running(kafka, group, [topic], ids) as run:
        await until(lambda: committed(kafka, group, topic) == {0: 100}, "the old records are committed")
        old = run.source.topic_id(topic)
        await asyncio.to_thread(delete, kafka, topic)
        await asyncio.to_thread(create, kafka, topic)
        await asyncio.to_thread(produce, kafka, topic, [b"new %d" % i for i in range(300)])
        await until(lambda: ids.having(b"new") == 300, "every new record came")
        await until(lambda: committed(kafka, group, topic) == {0: 300}, "the new records are committed")
        assert run.source.topic_id(topic) != old
    assert ids.having(b"old") == 100, "no id of an old record was used again"


async def test_a_topic_recreated_under_a_running_source_loses_nothing_when_the_new_one_is_shorter(kafka: Kafka) -> None:
    topic, group = unique("records"), unique("shorter")
    create(kafka, topic)
    produce(kafka, topic, (b"old %d" % i for i in range(200)))
    ids = Ids()
    async with running(kafka, group, [topic], ids):
        await until(lambda: committed(kafka, group, topic) == {0: 200}, "the old records are committed")
        await asyncio.to_thread(delete, kafka, topic)
        await asyncio.sleep(1)
        await asyncio.to_thread(create, kafka, topic)
        await asyncio.to_thread(produce, kafka, topic, [b"new %d" % i for i in range(50)])
        await until(lambda: ids.having(b"new") == 50, "every new record came")
        await until(lambda: committed(kafka, group, topic) == {0: 50}, "the new records are committed")
    assert len(ids.values) == 250, "each record under one id"


async def test_an_offset_committed_for_the_old_topic_means_nothing_for_the_new_one(kafka: Kafka) -> None:
    """What a worker commits late, for records of the deleted topic, lands on the new one."""
    topic, group = unique("records"), unique("stale")
    create(kafka, topic)
    produce(kafka, topic, (b"old %d" % i for i in range(100)))
    old = TopicIds(kafka).ask([topic])[topic]
    delete(kafka, topic)
    create(kafka, topic)
    produce(kafka, topic, (b"new %d" % i for i in range(300)))
    _commit(kafka, group, TopicPartition(topic, 0, 100, old))
    ids = Ids()
    async with running(kafka, group, [topic], ids):
        await until(lambda: committed(kafka, group, topic) == {0: 300}, "the new records are committed")
    assert ids.having(b"new") == 300


async def test_an_offset_set_by_another_tool_is_honoured(kafka: Kafka) -> None:
    topic, group = unique("records"), unique("reset")
    create(kafka, topic)
    produce(kafka, topic, (b"%d" % i for i in range(100)))
    _commit(kafka, group, TopicPartition(topic, 0, 90))
    ids = Ids()
    async with running(kafka, group, [topic], ids):
        await until(lambda: committed(kafka, group, topic) == {0: 100}, "the rest is committed")
    assert len(ids.values) == 10


async def test_what_retention_deleted_before_it_was_read_is_a_record_on_gaps(platform_kafka: Kafka) -> None:
    kafka = platform_kafka
    topic, group = unique("records"), unique("fell-off")
    create(kafka, topic)
    produce(kafka, topic, (b"%d" % i for i in range(1000)))
    _commit(kafka, group, TopicPartition(topic, 0, 100))
    delete_records(kafka, topic, 700)
    ids = Ids()
    async with running(kafka, group, [topic], ids):
        await until(lambda: committed(kafka, group, topic) == {0: 1000}, "the rest is committed")
    assert len(ids.values) == 300
    record = read_all(kafka, "gaps", 1)[0]
    gap = msgspec.json.decode(record.value or b"", type=Gap)
    assert record.key == group.encode()
    assert (gap.source, gap.topic, gap.partition, gap.since, gap.until) == (group, topic, 0, "100", "700")
    assert gap.reason == "retention"


def _commit(kafka: Kafka, group: str, offset: TopicPartition) -> None:
    consumer = Consumer(client(kafka) | {"group.id": f"eventsphere.{group}"})
    consumer.commit(offsets=[offset], asynchronous=False)
    consumer.close()
