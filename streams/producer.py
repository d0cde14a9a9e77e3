"""The producer: a batch in, durable in Kafka when `send` returns (`acks=all`, idempotent), bounded all the way.

One librdkafka producer a process; a thread of its own serves delivery reports.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as RdProducer

from streams.errors import Invalid, Retryable
from streams.kafka import client
from streams.record import Outgoing
from streams.settings import Kafka

log = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES = 16 << 20
"""Client-side bound; each topic has its own, smaller one."""
DELIVERY_TIMEOUT_MS = 30_000
QUEUE_KIB = 64 << 10
QUEUE_RECORDS = 200_000
FULL_WAIT_S = 0.01


class _Pending:
    """Delivery reports still to come for one `send`."""

    __slots__ = ("errors", "future", "left", "lock", "loop")

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.left = count
        self.errors: dict[int, KafkaError] = {}
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()
        self.lock = threading.Lock()

    def settle(self, index: int, error: KafkaError | None, count: int = 1) -> None:
        with self.lock:
            if error is not None:
                self.errors[index] = error
            self.left -= count
            done = self.left == 0
        if done:
            self.loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Producer:
    def __init__(self, kafka: Kafka, client_id: str, **properties: Any) -> None:
        self._properties = (
            client(kafka)
            | {
                "client.id": client_id,
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "partitioner": "murmur2_random",
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                "queue.buffering.max.kbytes": QUEUE_KIB,
                "queue.buffering.max.messages": QUEUE_RECORDS,
            }
            | properties
        )
        self._producer: RdProducer | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        self._producer = RdProducer(self._properties)
        self._thread = threading.Thread(target=self._serve, name="producer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Wait (bounded) for what is under way, then stop."""
        if self._producer is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._producer.flush, 5)
            self._stopping.set()
            if self._thread is not None:
                await asyncio.get_running_loop().run_in_executor(None, self._thread.join, 5)
            self._producer = None

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Return when Kafka acked every record.

        Raises Invalid("too_large", indexes=...) when the only failures are records over their topic's limit, and
        Retryable when anything else failed: some records may be stored then, so send the same ones again.
        """
        if not records:
            return
        producer = self._producer
        if producer is None:
            raise Retryable("producer_closed")
        pending = _Pending(len(records), asyncio.get_running_loop())
        for index, record in enumerate(records):
            # Nobody tells when librdkafka's queue has room again.
            while not _produce(producer, record, index, pending):  # noqa: ASYNC110
                await asyncio.sleep(FULL_WAIT_S)
        await pending.future
        if pending.errors:
            raise self._failure(producer, pending.errors)

    def _failure(self, producer: RdProducer, errors: dict[int, KafkaError]) -> Exception:
        too_large = {i: str(e) for i, e in errors.items() if e.code() == KafkaError.MSG_SIZE_TOO_LARGE}
        if len(too_large) == len(errors):
            return Invalid("too_large", f"{len(too_large)} records over the topic's limit", too_large)
        error = next(e for i, e in errors.items() if i not in too_large)
        if error.code() == KafkaError._FATAL or error.fatal():
            # An idempotent producer that lost its sequence (its topic was recreated, say) is replaced by a new one.
            if self._producer is producer:
                self._producer = RdProducer(self._properties)
            log.warning("producer.replaced", error=str(error))
        return Retryable("bus_away", str(error))

    def _serve(self) -> None:
        while not self._stopping.is_set():
            producer = self._producer
            if producer is None:
                return
            producer.poll(0.1)


def _produce(producer: RdProducer, record: Outgoing, index: int, pending: _Pending) -> bool:
    """False: the queue is full, try again."""

    def delivered(error: KafkaError | None, _message: Message) -> None:
        pending.settle(index, error)

    try:
        producer.produce(
            record.topic,
            value=record.value,
            key=record.key,
            partition=record.partition,
            timestamp=record.timestamp_ms,
            headers=list(record.headers or ()),
            on_delivery=delivered,
        )
    except BufferError:
        return False
    except KafkaException as error:
        pending.settle(index, error.args[0])
    return True
