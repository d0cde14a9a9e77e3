"""A tail of topics: a Kafka consumer on a thread of its own, handing pieces of an event stream to one reader.

A reader that does not keep up slows its own consumer alone (Kafka is the buffer); `skip` instead leaves out what is
more than `BEHIND` records old and says so by a gap. What retention removed before it was read is a gap, too.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as NotYet
from typing import Any, NamedTuple

import msgspec
import orjson
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from gateway.resume import Positions, Sign, pack
from gateway.stream_filter import Keep
from schemas.base import rfc3339
from streams.batch import as_record
from streams.kafka import client
from streams.metrics import STREAM_GAPS
from streams.record import Record
from streams.settings import Kafka

log = structlog.get_logger(__name__)

PIECES = 4
"""Pieces handed over and not taken yet."""
RECORDS = 200
POLL_S = 0.1
BEHIND = 5000
STALLED_S = 60.0
SLOW_S = 0.5
"""A reader that takes longer over one piece does not keep up."""
TOLD_S = 5.0
"""How often a reader hears how far a stream is whose records are all filtered out."""
TIMEOUT_S = 10.0
RETRY_S = 1.0
GONE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
MISSING = frozenset({KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})


class Wanted(NamedTuple):
    """What a reader asked for."""

    topics: tuple[str, ...]
    start: Positions | None
    """Where to go on; what is not in it is read from its beginning. None: from `since_ms`."""
    since_ms: int = 0
    """0: only what comes from now on."""
    keep: Mapping[str, Keep | None] = {}
    skip: bool = False
    shape: Callable[[Record], Record | None] | None = None
    """How a record is shown, before `keep` is asked; None: not at all."""


class Tail:
    """`async for piece in tail`: bytes of an event stream, empty when nothing came for a while; ends when closed."""

    def __init__(self, kafka: Kafka, wanted: Wanted, sign: Sign) -> None:
        self._kafka = kafka
        self._wanted = wanted
        self._sign = sign
        self._positions: Positions = {topic: {} for topic in wanted.topics}
        self._pieces: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue(PIECES)
        self._told_s = 0.0
        self.point = ""
        """Where a reader that has taken every piece so far goes on."""
        self._stopping = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def close(self) -> None:
        self.stop()
        await asyncio.to_thread(self._thread.join, 5)

    def stop(self) -> None:
        self._stopping.set()

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    async def next(self, wait_s: float) -> bytes:
        """The next piece, or nothing when none came in time."""
        try:
            async with asyncio.timeout(wait_s):
                piece, self.point = await self._pieces.get()
                return piece
        except TimeoutError:
            return b""

    # In the thread

    @property
    def _here(self) -> str:
        return pack(self._positions, self._sign)

    def _run(self) -> None:
        consumer = Consumer(_properties(self._kafka))
        try:
            while not self._stopping.is_set():
                try:
                    self._begin(consumer)
                    while not self._stopping.is_set():
                        self._turn(consumer)
                except KafkaException as error:
                    log.info("tail.again", reason=str(error))
                    self._stopping.wait(RETRY_S)
        except Exception:
            log.exception("tail.failed")
        finally:
            self._stopping.set()
            consumer.close()

    def _begin(self, consumer: Consumer) -> None:
        """Find where to start (again: where it stopped) and assign."""
        out: list[bytes] = []
        spans = {topic: _spans(consumer, topic) for topic in self._wanted.topics}
        for topic, known in spans.items():
            for partition, (low, high) in known.items():
                wanted = self._positions[topic].get(partition, self._first(consumer, topic, partition, low, high))
                if not low <= wanted <= high:
                    reason = "retention" if wanted < low else "recreated"
                    out.append(self._gap(topic, partition, wanted, low, reason))
                    wanted = low
                self._positions[topic][partition] = wanted
        consumer.assign(
            [TopicPartition(t, p, offset) for t, places in self._positions.items() for p, offset in places.items()]
        )
        self._hand_over(b"".join(out) + f"id: {self._here}\n\n".encode())

    def _first(self, consumer: Consumer, topic: str, partition: int, low: int, high: int) -> int:
        if self._wanted.start is not None and topic in self._wanted.start:
            return self._wanted.start[topic].get(partition, low)
        if self._wanted.since_ms:
            asked = [TopicPartition(topic, partition, self._wanted.since_ms)]
            found = int(consumer.offsets_for_times(asked, timeout=TIMEOUT_S)[0].offset)
            return found if found >= 0 else high
        return high

    def _turn(self, consumer: Consumer) -> None:
        out: list[bytes] = []
        message: Any
        for message in consumer.consume(RECORDS, POLL_S):
            error = message.error()
            if error is not None:
                out.extend(self._trouble(consumer, message.topic(), message.partition(), error))
                continue
            record = as_record(message.topic(), message.partition(), message)
            self._positions[record.topic][record.partition] = record.offset + 1
            keep, shape = self._wanted.keep.get(record.topic), self._wanted.shape
            shown = record if shape is None else shape(record)
            if shown is not None and (keep is None or keep(shown.value, shown.timestamp_ms)):
                out.append(event(shown, self._here))
        if out or time.monotonic() - self._told_s > TOLD_S:
            self._hand_over(b"".join(out))
            if self._wanted.skip and (self._pieces.full() or time.monotonic() - self._told_s > SLOW_S):
                self._skip_ahead(consumer)

    def _trouble(self, consumer: Consumer, topic: str, partition: int, error: Any) -> Sequence[bytes]:
        if error.code() in GONE:
            low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
            gap = self._gap(topic, partition, self._positions[topic][partition], low, "retention")
            self._positions[topic][partition] = low
            consumer.seek(TopicPartition(topic, partition, low))
            return [gap]
        if error.code() in MISSING:
            raise KafkaException(error)
        return []

    def _skip_ahead(self, consumer: Consumer) -> None:
        """Leave out what a slow reader would only get late: the gap names it."""
        out = []
        for topic, places in self._positions.items():
            for partition, position in places.items():
                _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
                if high - position > BEHIND:
                    out.append(self._gap(topic, partition, position, high, "overflow"))
                    places[partition] = high
                    consumer.seek(TopicPartition(topic, partition, high))
        if out:
            self._hand_over(b"".join(out))

    def _gap(self, topic: str, partition: int, start: int, end: int, reason: str) -> bytes:
        STREAM_GAPS.labels(reason).inc()
        return gap(topic, partition, start, end, reason)

    def _hand_over(self, piece: bytes) -> None:
        """Wait until the reader takes it; one that takes nothing for `STALLED_S` is given up."""
        self._told_s = time.monotonic()
        handing = asyncio.run_coroutine_threadsafe(self._pieces.put((piece, self._here)), self._loop)
        deadline = self._told_s + STALLED_S
        while not self._stopping.is_set():
            try:
                handing.result(POLL_S)
            except NotYet:
                if time.monotonic() > deadline:
                    self._stopping.set()
            else:
                return
        handing.cancel()


def event(record: Record, point: str) -> bytes:
    """A record as a server-sent event: where it stands, and its JSON value as it was produced."""
    about = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key.decode("utf-8", "replace") if record.key is not None else None,
        "time": rfc3339(max(0, record.timestamp_ms)),
    }
    head = orjson.dumps(about)[:-1]
    return b"id: %b\ndata: %b,%b}\n\n" % (point.encode(), head, _value(record.value))


def gap(topic: str, partition: int, start: int, end: int, reason: str) -> bytes:
    told = {"topic": topic, "partition": partition, "from": start, "to": end, "reason": reason}
    return b"event: gap\ndata: %b\n\n" % orjson.dumps(told)


def _value(value: bytes | None) -> bytes:
    if value is None:
        return b'"record":null'
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return b'"text":' + orjson.dumps(value.decode("utf-8", "replace"))
    if b"\n" in value or b"\r" in value:
        value = msgspec.json.format(value, indent=-1)
    return b'"record":' + value


def _spans(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """First and next offset of each partition. Raises KafkaException."""
    found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    spans: dict[int, tuple[int, int]] = {}
    for partition in sorted(found.partitions):
        spans[partition] = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
    return spans


def _properties(kafka: Kafka) -> dict[str, object]:
    return client(kafka) | {
        "group.id": "eventsphere-gateway-tail",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": 4096,
        "fetch.message.max.bytes": 1 << 20,
        "log_level": 2,
    }
