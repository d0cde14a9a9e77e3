"""A complete table of a compacted topic in this process: silences, states of alerts, owners of pods.

A thread reads all partitions from the beginning with `assign` (no group, nothing committed) and keeps following.
Nothing that happens to the topic or the bus ends it: away -> tried again, recreated -> read again (the old contents
stand until the new are complete), a record that cannot be decoded -> counted and skipped. Memory: the decoded records.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, ItemsView, Sequence, ValuesView
from typing import Any, Generic, TypeVar

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.envelope import content
from streams.kafka import client
from streams.metrics import VIEW_SKIPPED
from streams.settings import Kafka
from streams.topics import Identity, identity

log = structlog.get_logger(__name__)
T = TypeVar("T")

BATCH_RECORDS = 10_000
POLL_S = 0.2
RETRY_S = 1.0
CHECK_S = 5.0
"""How often the topic is asked whether it still is the one that was read."""
ENDED = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
"""Errors of a topic that is not the one that was read: start over."""


class _Again(Exception):
    """Start over; the text says why."""


class View(Generic[T]):
    """Read on the event loop that called `start`; `decode` and the reading run in a thread."""

    def __init__(self, kafka: Kafka, topic: str, decode: Callable[[bytes], T]) -> None:
        self.topic = topic
        self.ready = False
        self._kafka = kafka
        self._decode = decode
        self._table: dict[str, T] = {}
        self._callbacks: list[Callable[[str, T | None], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._complete = asyncio.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._skipped = VIEW_SKIPPED.labels(topic)

    async def start(self) -> None:
        """Return once everything up to the partitions' ends was read, however long the bus is away; or on close."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name=f"view {self.topic}", daemon=True)
            self._thread.start()
        await self._complete.wait()

    async def close(self) -> None:
        self._stopping.set()
        self._complete.set()
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, 2)

    def get(self, key: str) -> T | None:
        return self._table.get(key)

    def items(self) -> ItemsView[str, T]:
        return self._table.items()

    def values(self) -> ValuesView[T]:
        return self._table.values()

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def on_change(self, callback: Callable[[str, T | None], None]) -> None:
        """Call `callback(key, value or None when deleted)` on the event loop for every change after this."""
        self._callbacks.append(callback)

    # On the event loop

    def _replace(self, table: dict[str, T]) -> None:
        before, self._table = self._table, table
        for key in before.keys() - table.keys():
            self._tell(key, None)
        for key, value in table.items():
            if before.get(key) != value:
                self._tell(key, value)
        self.ready = True
        self._complete.set()

    def _apply(self, changes: Sequence[tuple[str, T | None]]) -> None:
        for key, value in changes:
            if value is not None:
                self._table[key] = value
            elif self._table.pop(key, None) is None:
                continue
            self._tell(key, value)

    def _tell(self, key: str, value: T | None) -> None:
        for callback in self._callbacks:
            try:
                callback(key, value)
            except Exception:  # a listener's fault must not stop the table
                log.exception("view.listener_failed", topic=self.topic)

    # In the thread

    def _run(self) -> None:
        told = ""
        while not self._stopping.is_set():
            try:
                self._follow()
            except (_Again, KafkaException) as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("view.again", topic=self.topic, reason=told)
            except Exception:  # whatever it was, a view goes on
                log.exception("view.failed", topic=self.topic)
            self._stopping.wait(RETRY_S)

    def _follow(self) -> None:
        topic = identity(self._kafka, self.topic)
        if topic is None:
            raise _Again("the topic does not exist")
        consumer = Consumer(client(self._kafka) | _PROPERTIES)
        try:
            consumer.assign([TopicPartition(self.topic, p, OFFSET_BEGINNING) for p in range(topic.partitions)])
            self._hand_over(self._replace, self._read_to_end(consumer, topic))
            watch = _Watch(self._kafka, self.topic, topic)
            watch.start()
            try:
                while not self._stopping.is_set() and not watch.changed.is_set():
                    if changes := self._decoded(_read(consumer), set()):
                        self._hand_over(self._apply, changes)
            finally:
                watch.stop()
        finally:
            consumer.close()

    def _read_to_end(self, consumer: Consumer, topic: Identity) -> dict[str, T]:
        table: dict[str, T] = {}
        unread = set(range(topic.partitions))
        while unread and not self._stopping.is_set():
            for key, value in self._decoded(_read(consumer), unread):
                if value is None:
                    table.pop(key, None)
                else:
                    table[key] = value
        return table

    def _decoded(self, messages: Sequence[Message], unread: set[int]) -> list[tuple[str, T | None]]:
        """Changes in order; partitions whose end was reached are taken off `unread`."""
        out: list[tuple[str, T | None]] = []
        for message in messages:
            if (error := message.error()) is not None:
                if error.code() in ENDED:
                    raise _Again(str(error))
                if error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition() or 0)
                continue
            try:
                value = message.value()
                out.append(((message.key() or b"").decode(), None if value is None else self._decode(content(value))))
            except Exception:  # whatever a record holds, the others stand
                self._skipped.inc()
        return out

    def _hand_over(self, function: Callable[[Any], None], argument: Any) -> None:
        """Run `function` on the event loop and wait until it ran, so that a slow loop slows the reading."""
        if self._stopping.is_set() or self._loop is None:
            return
        ran = threading.Event()

        def run() -> None:
            function(argument)
            ran.set()

        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError:  # the loop is closed
            self._stopping.set()
        while not ran.wait(0.5) and not self._stopping.is_set():
            pass


_PROPERTIES = {
    "group.id": "eventsphere.view",  # never joined: librdkafka wants a name
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.queue.backoff.ms": 5,
    "queued.max.messages.kbytes": 16 << 10,
}


def _read(consumer: Consumer) -> list[Message]:
    """What there is, as soon as there is something."""
    first = consumer.poll(POLL_S)
    return [] if first is None else [first, *consumer.consume(BATCH_RECORDS, 0)]


class _Watch(threading.Thread):
    """Asks now and then whether the topic still is the one that is being read: a recreated one looks the same."""

    def __init__(self, kafka: Kafka, name: str, read: Identity) -> None:
        super().__init__(name=f"watch {name}", daemon=True)
        self.changed = threading.Event()
        self._kafka = kafka
        self._name = name
        self._read = read
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(CHECK_S):
            try:
                now = identity(self._kafka, self._name)
            except KafkaException:
                continue
            if now != self._read:
                self.changed.set()
                return

    def stop(self) -> None:
        self._stopping.set()
