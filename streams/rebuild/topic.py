"""A topic's records from beginning to end, as batches; apart from every consumer group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.batch import Batch
from streams.errors import Retryable
from streams.kafka import client
from streams.runs import by_partition
from streams.settings import Kafka
from streams.topics import identity, leaderless

AT_ONCE = 5_000
WAIT_S = 30.0
RETRY_S = 0.2
Ends = dict[int, int]


class TopicReader:
    """Raises Retryable when the cluster does not answer."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._consumer: Consumer | None = None
        self._thread = ThreadPoolExecutor(1, "rebuild")
        self.topic_id = ""

    async def __aenter__(self) -> TopicReader:
        await self._run(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def ends(self) -> tuple[Ends, Ends]:
        """First offset and end of each partition, now."""
        found: tuple[Ends, Ends] = await self._run(self._ends)
        return found

    async def batches(self, starts: Ends, ends: Ends) -> AsyncIterator[Batch]:
        """The records there are in [start, end) of each partition."""
        left = {partition: end for partition, end in ends.items() if end > starts.get(partition, 0)}
        await self._run(self._assign, {partition: starts.get(partition, OFFSET_BEGINNING) for partition in left})
        while left:
            messages: list[Message] = await self._run(self._consume)
            if not messages:
                raise Retryable("bus_away", f"{self._topic}: nothing comes from partitions {sorted(left)}")
            runs, events = by_partition(messages)
            for (topic, partition), run in runs.items():
                end = left.get(partition, -1)
                wanted = [message for message in run if message.offset() < end]
                if wanted:
                    yield Batch(topic, partition, wanted, topic_id=self.topic_id)
                if run[-1].offset() + 1 >= end:
                    left.pop(partition, None)
            for event in events:
                self._event(event, left)

    def _event(self, event: Any, left: Ends) -> None:
        if event.error().code() == KafkaError._PARTITION_EOF:
            if event.offset() >= left.get(event.partition(), 0):
                left.pop(event.partition(), None)
        elif not event.error().retriable():
            raise Retryable("bus_away", event.error().str())

    def _open(self) -> None:
        found = identity(self._kafka, self._topic)
        if found is None:
            raise Retryable("topic_missing", f"there is no topic {self._topic}")
        deadline = time.monotonic() + WAIT_S
        while leaderless(self._kafka, {self._topic}):
            if time.monotonic() > deadline:
                raise Retryable("no_leader", f"{self._topic}: a partition has no leader")
            time.sleep(RETRY_S)
        self.topic_id = found.id
        self._consumer = Consumer(
            client(self._kafka)
            | {"group.id": "eventsphere-rebuild", "enable.auto.commit": False, "enable.partition.eof": True}
        )

    def _ends(self) -> tuple[Ends, Ends]:
        consumer = self._opened()
        partitions = consumer.list_topics(self._topic, timeout=WAIT_S).topics[self._topic].partitions
        found = {p: consumer.get_watermark_offsets(TopicPartition(self._topic, p), timeout=WAIT_S) for p in partitions}
        return {p: low for p, (low, _) in found.items()}, {p: high for p, (_, high) in found.items()}

    def _assign(self, starts: Ends) -> None:
        self._opened().assign([TopicPartition(self._topic, p, offset) for p, offset in starts.items()])

    def _consume(self) -> list[Message]:
        first = self._opened().poll(WAIT_S)
        return [] if first is None else [first, *self._opened().consume(AT_ONCE - 1, 0.05)]

    def _close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()

    def _opened(self) -> Consumer:
        assert self._consumer is not None  # noqa: S101
        return self._consumer

    async def _run(self, work: Any, *arguments: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except KafkaException as error:
            raise Retryable("bus_away", str(error)) from error
