"""Reads given records from Kafka: one by its offset, or a span of a partition. One consumer, one reading at a time."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.batch import as_record
from streams.errors import Retryable
from streams.kafka import client
from streams.record import Record
from streams.settings import Kafka

TIMEOUT_S = 10.0
MAX_RECORDS = 1000


class Reader:
    """Raises Retryable("bus_away") when the cluster does not answer in time."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._consumer: Consumer | None = None
        self._thread = ThreadPoolExecutor(1, "reader")

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def one(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at exactly this offset, None when there is none (any more)."""
        found = await self.span(topic, partition, offset, offset + 1)
        return found[0] if found and found[0].offset == offset else None

    async def span(self, topic: str, partition: int, start: int, end: int) -> list[Record]:
        """Records with offsets in [start, end) that are still there, oldest first, at most `MAX_RECORDS`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._read, topic, partition, start, end)

    def _read(self, topic: str, partition: int, start: int, end: int) -> list[Record]:
        consumer = self._consumer = self._consumer or Consumer(_properties(self._kafka))
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
            start, end = max(start, low), min(end, high)
            if start >= end:
                return []
            consumer.assign([TopicPartition(topic, partition, start)])
            return _collect(consumer, topic, partition, end)
        except KafkaException as error:
            if error.args[0].code() in (KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART):
                return []
            raise Retryable("bus_away", str(error)) from error
        finally:
            consumer.unassign()

    def _close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()


def _collect(consumer: Consumer, topic: str, partition: int, end: int) -> list[Record]:
    """Read until `end`. What compaction removed is passed over: the end of the partition ends it too."""
    out: list[Record] = []
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        message: Any
        for message in consumer.consume(MAX_RECORDS, timeout=0.2):
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                return out
            if error is not None:
                raise KafkaException(error)
            record = as_record(topic, partition, message)
            if record.offset >= end or len(out) >= MAX_RECORDS:
                return out
            out.append(record)
            if record.offset == end - 1:
                return out
    raise Retryable("bus_away", f"{topic}-{partition} could not be read in time")


def _properties(kafka: Kafka) -> dict[str, object]:
    return client(kafka) | {
        "group.id": "eventsphere-gateway-reader",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 50,
        "queued.max.messages.kbytes": 16384,
        "log_level": 2,
    }
