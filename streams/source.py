"""The batch source: a librdkafka consumer group whose records reach a Faust agent as `Batch`es on a channel.

It commits only what is finished, bounds what is in flight by records and bytes, and gives a batch again when its agent
dropped it (streams/offsets.py). Keyed state is loaded by `on_assigned` before a partition's first batch is given out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from weakref import WeakSet

import mode
import structlog
from confluent_kafka import KafkaException, Message

from streams.account import Account
from streams.batch import Batch, Lease
from streams.book import Book
from streams.channel import BatchChannel, Window
from streams.dead_letters import DeadLetterLimit
from streams.errors import Invalid, Retryable
from streams.gaps import outgoing, retention_gap
from streams.group import TP, Commit, Group, Start
from streams.in_flight import InFlight
from streams.metrics import CONSUMED, FINISHED, GAPS, IN_FLIGHT, LAG, REDELIVERED
from streams.offsets import Tracker
from streams.producer import Producer
from streams.runs import by_partition
from streams.settings import Settings
from streams.topic_ids import TopicIds

log = structlog.get_logger(__name__)

SURVEY_S = 2.0
"""How often topic ids and ends are asked for."""
FULL_WAIT_S = 0.25
"""How long a full source waits for room before its partitions are paused (which throws fetched records away)."""
DRAIN_S = 3.0
"""How long a source that stops waits for the batch being worked on."""
READ_END_S = 2.0
"""How long it waits for the read under way."""
RETRY_S = 1.0

Callback = Callable[[Sequence[TP]], Awaitable[None]]


class BatchSource(mode.Service):
    """`channel` is what agents read; `assigned` the partitions held, `lag` their records not finished; `fetched` how
    often records came or what is needed was found away. Callbacks get (topic, partition) pairs, one call at a time."""

    def __init__(
        self,
        app: Any,
        settings: Settings,
        producer: Producer,
        name: str,
        topics: Sequence[str],
        *,
        clock: Callable[[], int],
    ) -> None:
        super().__init__()
        self.app = app
        self.name = name
        self.topics = list(topics)
        self.clock = clock
        self.fetched = 0
        self.joined = False
        """Whether the group has given out its partitions once: to this source some, or none."""
        self.on_assigned: list[Callback] = []
        self.on_revoked: list[Callback] = []
        self.dead_letter_limit = DeadLetterLimit(clock)
        self.book: Book | None = None
        """Keeps accounts of what becomes of the records, where the agent asks for it."""
        self.channel = BatchChannel(app, open_window=self._open_window)
        self._settings = settings
        self._producer = producer
        self._ids = TopicIds(settings.kafka)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"source-{name}")
        worker = settings.worker
        self._flight = InFlight(worker.max_batch_records, worker.max_in_flight_bytes, self._on_change)
        self._windows: WeakSet[Window] = WeakSet()
        self._rewinding: set[TP] = set()
        self._less = asyncio.Event()
        self._read_all = asyncio.Event()
        self._callbacks = asyncio.Lock()
        self._group: Group | None = None

    @property
    def assigned(self) -> set[TP]:
        return set(self._flight.trackers)

    @property
    def positions(self) -> dict[TP, int]:
        """Of each partition held, the offset before which everything is finished; -1 while nothing is known."""
        return {tp: tracker.advance() for tp, tracker in self._flight.trackers.items()}

    @property
    def lag(self) -> int:
        return sum(tracker.lag for tracker in list(self._flight.trackers.values()))

    def topic_id(self, topic: str) -> str:
        """Kafka's id of `topic` as last asked for; empty before the first assignment."""
        return self._ids.known.get(topic, "")

    async def on_start(self) -> None:
        self._events = asyncio.get_running_loop()
        group = await self._call(Group, self._settings, self.name, self.topics, self._ids, self)
        await self._call(group.subscribe)
        self._group = group

    async def on_stop(self) -> None:
        """Wait (bounded) for what is being worked on, commit what is finished, and leave the group."""
        end = self._events.time() + DRAIN_S if self._group is not None else 0.0
        while self._flight.held and (left := end - self._events.time()) > 0:
            self._less.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._less.wait(), left)
        if self._group is not None:
            self._group.closing = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._read_all.wait(), READ_END_S)
            await self._call(self._group.close)
        self._thread.shutdown(wait=False)

    @mode.Service.task
    async def _read(self) -> None:
        group = self._group
        while group is not None and not self.should_stop:
            limit = await self._room()
            if self.should_stop:
                break
            messages = await self._call(group.turn, limit, self._commits(group))
            if messages:
                await self._take(group, messages)
            self._wake()
        self._read_all.set()

    def _commits(self, group: Group) -> dict[TP, Commit]:
        """What the next turn is to commit; what the accounts cannot put into a commit is flushed meanwhile."""
        if self.book is not None:
            self.book.flush_due(self._flight.trackers)
        if group.committing:
            return {}
        commits = self._flight.commits()
        for tp, commit in commits.items():
            self._flight.trackers[tp].offered(commit)
        return commits

    @mode.Service.task
    async def _survey(self) -> None:
        """Ask the broker, apart from the fetching, how far partitions reach and whether topics are still the same."""
        while not self.should_stop:
            await self.sleep(SURVEY_S)
            if self.should_stop or not self._flight.trackers:
                continue
            try:
                ids = await asyncio.to_thread(self._ids.ask, self.topics)
                ends = await asyncio.to_thread(self._ids.ends, list(self._flight.trackers))
            except KafkaException as error:
                log.warning("source.survey_failed", source=self.name, error=str(error))
                self.fetched += 1  # the bus is away: that is no stall
                continue
            await self._recreated(ids)
            for tp, end in ends.items():
                tracker = self._flight.trackers.get(tp)
                if tracker is not None and tracker.topic_id == ids.get(tp[0]):
                    tracker.high = end
            self._measure()

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run in the consumer thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    # What agents see.

    def _open_window(self) -> Window:
        window = Window(self._give, self._has)
        self._windows.add(window)
        return window

    def _has(self, taker: object) -> bool:
        return not self.should_stop and self._flight.peek(taker, _ended) is not None

    def _give(self, taker: object) -> Batch | None:
        batch = None if self.should_stop else self._flight.give(taker, _ended)
        if batch is not None and batch.puts > 1:
            REDELIVERED.labels(self.name).inc()
            log.info("source.redelivered", source=self.name, batch=repr(batch))
        return batch

    def _wake(self) -> None:
        for window in list(self._windows):
            window.wake()

    def _on_change(self, batch: Batch) -> None:
        if batch.lease is Lease.FINISHED:
            FINISHED.labels(self.name, batch.topic).inc(len(batch))
            IN_FLIGHT.labels(self.name).set(self._flight.bytes)
            self._less.set()
        self._wake()

    # What is read.

    async def _room(self) -> int:
        """How many records the next turn may bring; 0 when there is no room even after a wait."""
        end = self._events.time() + FULL_WAIT_S
        while not self._flight.room() and (left := end - self._events.time()) > 0:
            if self._flight.must_commit() and self._flight.commits():
                break  # the next turn does that
            self._less.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._less.wait(), left)
        return self._flight.room()

    async def _take(self, group: Group, messages: list[Message]) -> None:
        self.fetched += 1
        runs, events = by_partition(messages)
        for tp, run in runs.items():
            if tp in self._flight.trackers and tp not in self._rewinding:
                await self._check(group, tp, run[0].offset())
            # Asked again: checking took time, and the partition may be gone.
            if tp in self._flight.trackers and tp not in self._rewinding:
                self._flight.add(tp, run, group.high(tp))
                CONSUMED.labels(self.name, tp[0]).inc(len(run))
        for event in events:
            self._event(event)
        IN_FLIGHT.labels(self.name).set(self._flight.bytes)

    def _event(self, event: Message) -> None:
        tp = event.topic(), event.partition()
        error, offset = event.error(), event.offset()
        if error is not None and error.name() != "_PARTITION_EOF":
            log.warning("source.error", source=self.name, topic=tp[0], partition=tp[1], error=error.str())
        elif tp in self._flight.trackers and tp not in self._rewinding and offset is not None:
            self._flight.trackers[tp].at_end(offset)

    def _measure(self) -> None:
        lags = dict.fromkeys(self.topics, 0)
        for (topic, _partition), tracker in self._flight.trackers.items():
            lags[topic] = lags.get(topic, 0) + tracker.lag
        for topic, lag in lags.items():
            LAG.labels(self.name, topic).set(lag)

    # Offsets that are not the next ones.

    async def _check(self, group: Group, tp: TP, first: int) -> None:
        expected = self._flight.trackers[tp].expected
        if first < expected:
            # The log is shorter than what was read of it: its topic was recreated, or the log was truncated.
            log.warning("source.went_back", source=self.name, partition=tp, expected=expected, got=first)
            with contextlib.suppress(KafkaException):
                await asyncio.to_thread(self._ids.ask, [tp[0]])
            await self._restart(tp, first)
        elif first > expected >= 0:
            # Compaction, markers of transactions, or retention was faster than we were.
            low = await self._call(group.first_offset, tp)
            if low > expected:
                await self._publish_gap(tp, expected, min(low, first))

    async def _publish_gap(self, tp: TP, since: int, until: int) -> None:
        log.error("source.gap", source=self.name, topic=tp[0], partition=tp[1], since=since, until=until)
        gap = retention_gap(
            self.name, self._settings.cluster.name, *tp, self.topic_id(tp[0]), since, until, self.clock()
        )
        while not self.should_stop:
            try:
                await self._producer.send([outgoing(gap)])
                GAPS.labels(self.name).inc()
                return
            except Retryable as error:
                log.warning("source.gap_not_published", source=self.name, error=str(error))
                await self.sleep(RETRY_S)
            except Invalid as error:
                log.error("source.gap_not_published", source=self.name, error=str(error))
                return

    async def _recreated(self, ids: dict[str, str]) -> None:
        """Partitions assigned under another id of their topic: what was read was the old one. Read from the start."""
        trackers = self._flight.trackers
        stale = {tp for tp, t in trackers.items() if t.topic_id and ids.get(tp[0], t.topic_id) != t.topic_id}
        if not stale or self._group is None:
            return
        log.warning("source.topic_recreated", source=self.name, partitions=sorted(stale))
        self._rewinding |= stale
        try:
            for tp in stale:
                await self._restart(tp, 0)
            await self._call(self._group.rewind, stale)
        finally:
            self._rewinding -= stale

    async def _restart(self, tp: TP, start: int) -> None:
        """Forget what was read of a partition that stays assigned."""
        async with self._callbacks:
            if tp not in self._flight.trackers:
                return
            if self.book is not None:
                await self.book.finish({tp: self._flight.trackers[tp]})
            if tp not in self._flight.trackers:
                return
            account = None if self.book is None else self.book.open(start, None)
            self._flight.assign(tp, _fresh(start, self.topic_id(tp[0]), account), closed=bool(self.on_assigned))
            for callback in self.on_revoked:
                await callback([tp])
        self.add_future(self._load([tp]))

    # Partitions come and go. The next three are called in the consumer thread, in the order of what happens.

    def partitions_assigned(self, starts: dict[TP, Start]) -> None:
        self._events.call_soon_threadsafe(self._assign, starts)

    def partitions_revoked(self, partitions: Sequence[TP], *, lost: bool) -> Future[dict[TP, Commit]]:
        return asyncio.run_coroutine_threadsafe(self._revoke(partitions, lost=lost), self._events)

    def offsets_committed(self, offsets: dict[TP, int]) -> None:
        self._events.call_soon_threadsafe(self._committed, offsets)

    def _committed(self, offsets: dict[TP, int]) -> None:
        self._flight.committed(offsets)
        self._less.set()

    def _assign(self, starts: dict[TP, Start]) -> None:
        log.info("source.assigned", source=self.name, partitions=sorted(starts))
        self.joined = True
        for tp, start in starts.items():
            account = None if self.book is None else self.book.open(start.offset, start.note)
            tracker = Tracker(start.offset, start.topic_id, account)
            self._flight.assign(tp, tracker, closed=bool(self.on_assigned))
        if self.on_assigned and starts:
            self.add_future(self._load(list(starts)))

    async def _load(self, partitions: Sequence[TP]) -> None:
        """Await the callbacks, however often it takes, then let the batches of these partitions out."""
        mine = {tp: self._flight.trackers.get(tp) for tp in partitions}
        while not self.should_stop:
            async with self._callbacks:
                loading = [tp for tp, tracker in mine.items() if tracker and self._flight.trackers.get(tp) is tracker]
                try:
                    for callback in self.on_assigned if loading else ():
                        await callback(loading)
                except Retryable as failure:
                    log.warning("source.load_failed", source=self.name, partitions=loading, error=str(failure))
                    self.fetched += 1  # what it needs is away: that is no stall
                else:
                    self._flight.closed.difference_update(loading)
                    self._wake()
                    return
            await self.sleep(RETRY_S)

    async def _revoke(self, partitions: Sequence[TP], *, lost: bool) -> dict[TP, Commit]:
        """Returns what to commit before these are given up."""
        log.info("source.revoked", source=self.name, partitions=sorted(partitions), lost=lost)
        async with self._callbacks:
            mine = [tp for tp in partitions if tp in self._flight.trackers]
            for callback in self.on_revoked if mine else ():
                await callback(mine)
            if self.book is not None and not lost:
                await self.book.finish({tp: self._flight.trackers[tp] for tp in mine})
            commits = {tp: commit for tp, commit in self._flight.commits().items() if tp in mine}
            for tp in mine:
                self._flight.forget(tp)
        self._measure()
        self._wake()
        self._less.set()
        return {} if lost else commits


def _fresh(start: int, topic_id: str, account: Account | None) -> Tracker:
    tracker = Tracker(start, topic_id, account)
    tracker.committed = -1
    return tracker


def _ended(taker: object) -> bool:
    return isinstance(taker, asyncio.Task) and taker.done()
