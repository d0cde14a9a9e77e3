"""The bulk producer: whole partition batches into Kafka, for sources whose records are many and small.

Where `streams.producer` costs 3 us a record (a call, a queue and a delivery report each), this one costs 1: records are
packed here, in the partition they go to, and Kafka's answer is about a batch. Same promise: `acks=all`, idempotent, and
what `send` returned for is durable. Bulks that wait for the same partition go together, so many small senders are as
cheap as a large one.

While Kafka is away `send` waits, for ever if it must: whoever cannot wait puts a timeout around it and looks at
`stalled_s`. Records whose `send` was cancelled may be stored.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

from streams.errors import Retryable
from streams.kafka import ssl_context
from streams.record import Bulk
from streams.settings import Kafka

log = structlog.get_logger(__name__)

BATCH_BYTES = 1 << 20
"""Of records that go to Kafka in one batch, before compression; a larger record goes alone."""
BATCH_RECORDS = 8192
MAX_RECORD_BYTES = 16 << 20
"""Client-side bound; each topic has its own, smaller one."""
REQUEST_MS = 15_000
READY_S = 5.0
"""How long `send` waits to learn where a topic's partitions are."""
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 5.0
CLOSE_S = 4.0
STUCK_S = 30.0
"""A client that has not delivered a batch for so long is replaced."""
CODEC = DefaultRecordBatch.CODEC_ZSTD
"""Of all codecs the least CPU, to pack and to unpack, for what it saves: half of lz4's bytes at its price."""
NO_HEADERS: list[tuple[str, bytes | None]] = []
_OF_RECORDS = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidTimestampError)
"""What Kafka says of a batch because of some record in it."""


class _Waiting:
    """A bulk of which something is not in Kafka yet. `refused`: index -> why."""

    __slots__ = ("bulk", "done", "refused", "size")

    def __init__(self, bulk: Bulk, done: asyncio.Future[None]) -> None:
        self.bulk = bulk
        self.done = done
        self.size = sum(map(len, bulk.values)) + 64 * len(bulk.values)
        self.refused: dict[int, str] = {}


class _Packed(BatchBuilder):  # type: ignore[misc, unused-ignore]
    """A batch for aiokafka, filled from a bulk at once: its `append` costs as much again as what it does."""

    def __init__(self) -> None:
        super().__init__(2 * MAX_RECORD_BYTES, CODEC)

    def extend(self, bulk: Bulk, part: slice) -> None:
        append = self._builder.append
        offset: int = self.record_count()
        for key, value, time_ms in zip(bulk.keys[part], bulk.values[part], bulk.times_ms[part], strict=True):
            append(offset, time_ms, key, value, NO_HEADERS)
            offset += 1
        self._relative_offset = offset


class _Client:
    """A client of Kafka. `ended`: nothing it still holds will be answered."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Raises KafkaError, OSError or TimeoutError."""
        async with asyncio.timeout(REQUEST_MS / 1000):
            await self.producer.start()

    async def known(self, topic: str) -> set[int]:
        """The topic's partitions; asks the cluster when none are known, and gives none when there is no such topic."""
        client = self.producer.client
        for _ in repeat(None, 3):  # a topic just made has no leaders in the first answer
            if found := client.cluster.partitions_for_topic(topic):
                return set(found)
            client.add_topic(topic)
            await client.force_metadata_update()
            await asyncio.sleep(0.1)
        return set()

    async def put(self, lane: _Lane, spans: list[Span]) -> None:
        """Return when the batch is in Kafka. Raises KafkaError."""
        builder = _Packed()
        for waiting, start, end in spans:
            builder.extend(waiting.bulk, slice(start, end))
        answer = await self.producer.send_batch(builder, lane.topic, partition=lane.partition)
        await asyncio.wait({answer, self.ended}, timeout=STUCK_S, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            raise KafkaTimeoutError("the client ended" if self.ended.done() else f"no answer in {STUCK_S:.0f} s")
        answer.result()

    async def end(self) -> None:
        """Stop it, whether or not Kafka answers; what it holds is for the next client to send again."""
        if not self.ended.done():
            self.ended.set_result(None)
        sender = self.producer._sender
        if sender is not None and sender.sender_task is not None:
            sender.sender_task.cancel()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.producer.stop()
        except (TimeoutError, asyncio.CancelledError, KafkaError, OSError):
            log.info("a kafka client did not stop in time")


Span = tuple[_Waiting, int, int]
"""Records `start` to `end` of a bulk."""


class _Lane:
    """What waits for one partition. One batch is under way at a time, so the order stays."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.size = 0
        self.waiting: deque[_Waiting] = deque()
        self.filled = asyncio.Event()

    def put(self, waiting: _Waiting) -> None:
        self.waiting.append(waiting)
        self.size += waiting.size
        self.filled.set()

    async def take(self) -> list[_Waiting]:
        """The next batch: at least one bulk, and more while they fit. Cancelled ones are left out."""
        out: list[_Waiting] = []
        size = records = 0
        while not out:
            while not self.waiting:
                self.filled.clear()
                await self.filled.wait()
            while self.waiting:
                each = self.waiting[0]
                size, records = size + each.size, records + len(each.bulk.values)
                if out and (size > BATCH_BYTES or records > BATCH_RECORDS):
                    break
                self.waiting.popleft()
                if each.done.cancelled():
                    self.size -= each.size
                else:
                    out.append(each)
        return out


class BulkProducer:
    def __init__(self, kafka: Kafka, client_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._clock = clock
        self._client: _Client | None = None
        self._connecting: asyncio.Task[_Client] | None = None
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._open: set[_Waiting] = set()
        self._under_way: dict[_Lane, float] = {}
        self._closed = False

    @property
    def waiting_bytes(self) -> int:
        return sum(lane.size for lane in self._lanes.values())

    @property
    def stalled_s(self) -> float:
        """For how long Kafka has not answered, the longest of all partitions with something under way; else 0."""
        return max((self._clock() - since for since in self._under_way.values()), default=0.0)

    async def close(self) -> None:
        """Wait (bounded) for what is under way, then stop."""
        self._closed = True
        if self._open:
            await asyncio.wait({each.done for each in self._open}, timeout=CLOSE_S)
        client, self._client = self._client, None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if client is not None:
            await client.end()

    async def send(self, bulks: Sequence[Bulk]) -> list[dict[int, str]]:
        """Return when Kafka has every record; for each bulk the indexes Kafka will never take (too large), and why.

        Raises Retryable when the topic is not there or nothing is known about it.
        """
        if self._closed:
            raise Retryable("producer_closed")
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(bulk, loop.create_future()) for bulk in bulks]
        self._open.update(waiting)
        try:
            for each in waiting:
                (await self._lane(each.bulk)).put(each)
            for each in waiting:
                await each.done
        finally:
            for each in waiting:
                each.done.cancel()
            self._open.difference_update(waiting)
        return [each.refused for each in waiting]

    async def _lane(self, bulk: Bulk) -> _Lane:
        numbers = await self._partitions(bulk.topic)
        if bulk.spread:
            return self._own(bulk.topic, numbers[zlib.crc32(bulk.spread.encode()) % len(numbers)])
        return min((self._own(bulk.topic, number) for number in numbers), key=lambda lane: lane.size)

    def _own(self, topic: str, partition: int) -> _Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = _Lane(topic, partition)
            self._keep(asyncio.create_task(self._run(lane), name=f"lane {topic}-{partition}"))
        return lane

    async def _partitions(self, topic: str) -> list[int]:
        try:
            async with asyncio.timeout(READY_S):
                found = await (await self._connected()).known(topic)
        except TimeoutError:
            raise Retryable("bus_away", "kafka does not answer") from None
        except KafkaError as error:
            raise Retryable("bus_away", str(error)) from None
        if not found:
            raise Retryable("no_topic", f"topic {topic} is not there")
        return sorted(found)

    async def _connected(self) -> _Client:
        """The client; where there is none, one is made, however long that takes."""
        if self._client is None:
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.create_task(self._connect(), name="connect")
                self._keep(self._connecting)
            await asyncio.shield(self._connecting)
        assert self._client is not None  # noqa: S101
        return self._client

    async def _connect(self) -> _Client:
        backoff = FIRST_BACKOFF_S
        while True:
            client = _Client(_made(self._kafka, self._client_id))
            try:
                await client.start()
            except (KafkaError, OSError, TimeoutError) as error:
                await client.end()
                log.info("kafka is away", error=str(error)[:200])
            except BaseException:
                await client.end()
                raise
            else:
                self._client = client
                return client
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_S)

    async def _run(self, lane: _Lane) -> None:
        while True:
            batch = await lane.take()
            self._under_way[lane] = self._clock()
            await self._deliver(lane, [(each, 0, len(each.bulk.values)) for each in batch])
            del self._under_way[lane]
            for each in batch:
                lane.size -= each.size
                if not each.done.done():
                    each.done.set_result(None)

    async def _deliver(self, lane: _Lane, spans: list[Span]) -> None:
        """Return when Kafka has the records of `spans`, or will never take them."""
        backoff = FIRST_BACKOFF_S
        while True:
            client = await self._connected()
            try:
                return await client.put(lane, spans)
            except _OF_RECORDS as error:
                # Kafka has seen a number of the sequence that it did not take: the next client begins anew.
                self._replace(client)
                return await self._narrow(lane, spans, str(error))
            except KafkaError as error:
                log.warning("kafka does not take a batch", topic=lane.topic, error=str(error)[:200])
                self._replace(client)
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_S)

    async def _narrow(self, lane: _Lane, spans: list[Span], why: str) -> None:
        """Find the records Kafka does not take: each half alone."""
        count = sum(end - start for _, start, end in spans)
        if count == 1:
            waiting, index, _ = spans[0]
            waiting.refused[index] = why
            return
        for half in _halves(spans, count // 2):
            await self._deliver(lane, half)

    def _replace(self, client: _Client) -> None:
        if self._client is client:
            self._client = None
            self._keep(asyncio.create_task(client.end(), name="end"))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _halves(spans: list[Span], first: int) -> tuple[list[Span], list[Span]]:
    """The first `first` records, and the rest."""
    left: list[Span] = []
    right: list[Span] = []
    for waiting, start, end in spans:
        middle = min(end, start + max(first, 0))
        if start < middle:
            left.append((waiting, start, middle))
        if middle < end:
            right.append((waiting, middle, end))
        first -= end - start
    return left, right


def _made(kafka: Kafka, client_id: str) -> AIOKafkaProducer:
    sasl: dict[str, Any] = {}
    if kafka.sasl_mechanism == "OAUTHBEARER":
        from streams.oauth import Tokens

        sasl = {"sasl_mechanism": kafka.sasl_mechanism, "sasl_oauth_token_provider": Tokens(kafka)}
    elif kafka.sasl_mechanism:
        sasl = {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": kafka.password.get_secret_value(),
        }
    return AIOKafkaProducer(
        bootstrap_servers=[server.strip() for server in kafka.bootstrap_servers.split(",")],
        client_id=client_id,
        security_protocol=kafka.security_protocol,
        ssl_context=ssl_context(kafka),
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        max_request_size=2 * MAX_RECORD_BYTES,
        request_timeout_ms=REQUEST_MS,
        metadata_max_age_ms=60_000,
        **sasl,
    )
