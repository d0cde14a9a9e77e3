"""Follows state topics: one thread and one librdkafka consumer an agent, by `assign`, so without any group's say.

A partition is followed as long as it is owned: first to read its state, then to see who else writes (journal.py).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.errors import Failure, Fatal, Retryable
from streams.journal import Reader
from streams.kafka import client
from streams.settings import Kafka
from streams.topic_ids import TopicIds

log = structlog.get_logger(__name__)

BATCH_RECORDS = 5000
POLL_S = 0.1
GONE = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)


class Followed:
    """One partition being read. Filled by the thread; `changed` is called there after each time."""

    def __init__(self, partition: int, reader: Reader[Any], changed: Callable[[], None]) -> None:
        self.partition = partition
        self.reader = reader
        self.at_end = False
        """Everything that was in the log when following began was read."""
        self.failure: Failure | None = None
        self.changed = changed


class StateLog:
    """The input of the agent is `input_`: where that ends is asked here, too."""

    def __init__(self, kafka: Kafka, topic: str, input_: str, group: str) -> None:
        self.topic = topic
        self._input = input_
        self._ids = TopicIds(kafka)
        self._properties = client(kafka) | {
            "group.id": group,  # `assign` joins no group: librdkafka wants a name
            "client.id": topic,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 100,  # a fetch that waits at the broker holds up the first one of another partition
            "queued.max.messages.kbytes": 16 << 10,
        }
        self._commands: queue.SimpleQueue[Callable[[Consumer], None]] = queue.SimpleQueue()
        self._followed: dict[int, Followed] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self.topic, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2)

    def follow(self, followed: Followed) -> None:
        """Read a partition from its beginning and go on reading it."""
        self._commands.put(lambda consumer: self._add(consumer, followed))

    def unfollow(self, followed: Followed) -> None:
        self._commands.put(lambda consumer: self._remove(consumer, followed))

    def ends(self, partitions: Sequence[int]) -> dict[int, int]:
        """The end offset of each partition of the input. Blocks; raises Retryable when Kafka does not say."""
        found = self._ids.ends((self._input, partition) for partition in partitions)
        if len(found) < len(partitions):
            raise Retryable("bus_away", f"no end offsets of {self._input}")
        return {partition: end for (_, partition), end in found.items()}

    # In the thread

    def _run(self) -> None:
        consumer = Consumer(self._properties)
        try:
            while not self._stopping.is_set():
                self._turn(consumer)
        except Exception as error:
            log.exception("state_log.failed", topic=self.topic)
            for followed in self._followed.values():
                self._fail(followed, Fatal("state_log_failed", f"{self.topic}: {error}"))
        finally:
            consumer.close()

    def _turn(self, consumer: Consumer) -> None:
        while True:
            try:
                command = self._commands.get_nowait() if self._followed else self._commands.get(timeout=POLL_S)
            except queue.Empty:
                break
            command(consumer)
        if not self._followed or (first := consumer.poll(POLL_S)) is None:
            return
        touched = set()
        for message in [first, *consumer.consume(BATCH_RECORDS, 0)]:
            followed = self._followed.get(message.partition() or 0)
            if followed is not None and followed.failure is None:
                self._take(followed, message)
                touched.add(followed)
        for followed in touched:
            followed.changed()

    def _take(self, followed: Followed, message: Message) -> None:
        try:
            if (error := message.error()) is None:
                followed.reader.add(message.key(), message.value(), message.headers)
            elif error.code() == KafkaError._PARTITION_EOF:
                followed.at_end = True
            elif error.code() in GONE:
                kind = Fatal if followed.reader.mine else Retryable
                raise kind("state_topic_gone", f"{self.topic}-{followed.partition}: {error.str()}")
        except Failure as failure:
            self._fail(followed, failure)

    def _add(self, consumer: Consumer, followed: Followed) -> None:
        if old := self._followed.get(followed.partition):
            self._remove(consumer, old)
        try:
            consumer.incremental_assign([TopicPartition(self.topic, followed.partition, OFFSET_BEGINNING)])
            self._followed[followed.partition] = followed
        except KafkaException as error:
            self._fail(followed, Retryable("bus_away", str(error)))

    def _remove(self, consumer: Consumer, followed: Followed) -> None:
        if self._followed.get(followed.partition) is followed:
            del self._followed[followed.partition]
            consumer.incremental_unassign([TopicPartition(self.topic, followed.partition)])

    def _fail(self, followed: Followed, failure: Failure) -> None:
        followed.failure = failure
        followed.changed()
