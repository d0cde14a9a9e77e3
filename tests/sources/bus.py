"""Reading back what a source wrote."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.batch import Message, as_record
from streams.kafka import client
from streams.record import Record
from streams.settings import Kafka

WAIT_S = 60.0


class Reader:
    """The records of one topic from where it ended when the reader was made, in the order they are read."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self._consumer = Consumer(client(kafka) | {"group.id": "tests.reader", "enable.auto.commit": False})
        parts = self._consumer.list_topics(topic, 30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, p, self._end(topic, p)) for p in parts])
        self.topic = topic
        self.records: list[Record] = []

    def _end(self, topic: str, partition: int) -> int:
        """A topic just made takes a moment until its leaders answer."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return int(self._consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)[1])
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def close(self) -> None:
        self._consumer.close()

    def poll(self, timeout_s: float = 0.2) -> list[Record]:
        for message in self._consumer.consume(10_000, timeout_s):
            if message.error() is None:
                self.records.append(as_record(self.topic, message.partition() or 0, cast(Message, message)))
        return self.records

    def wait(self, done: Callable[[list[Record]], bool], timeout_s: float = WAIT_S) -> list[Record]:
        """All records so far, once `done(records)`."""
        deadline = time.monotonic() + timeout_s
        while not done(self.poll()):
            assert time.monotonic() < deadline, f"{len(self.records)} records of {self.topic}: {self.records[-3:]}"
        return self.records

    def wait_count(self, count: int, timeout_s: float = WAIT_S) -> list[Record]:
        return self.wait(lambda records: len(records) >= count, timeout_s)


def headers(record: Record) -> dict[str, bytes]:
    return dict(record.headers or [])
