"""Lanes: work off what the outbox says is due, lanes beside each other.

A lane is a server. Several of its deliveries are got ready at once (`AHEAD`), but only `Attempt.concurrency` of them,
one as a rule, is between "the other side may have it" and "it is written down that it has": that note is a mark beside
the keyed state, one acknowledged write. So a crash repeats one delivery a lane (with the same Message-ID), never more,
and loses none. The marks become outcomes many at a time (`Recorder`). A server that is away makes its lane wait
(1 s to 30 s), so that it is not asked again for each delivery; the others go on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import structlog

from streams.delivered import Recorder, Result
from streams.errors import Failure, Invalid, Retryable
from streams.keyed import Keyed
from streams.metrics import NOTIFIED
from streams.outbox import AWAY_MS, Due, Entry, Outbox
from streams.pace import Pace
from streams.partition import Sender
from streams.sinks.channel import Away, Final

log = structlog.get_logger(__name__)

LOOK_S = 0.1
"""How often the outbox is looked through for what became due."""
STOP_S = 3.0
STUCK_MS = 3_600_000
ROUND = 64
"""Deliveries of one lane taken from the outbox at once."""
AHEAD = 3
"""Deliveries of a lane that are got ready while another is on its way."""


class Attempt(msgspec.Struct, frozen=True):
    """How one delivery is made. `last`: a re-sending after which no more follow. `pace`: what its receiver allows."""

    lane: str
    send: Callable[[Final], Awaitable[None]]
    last: bool = False
    pace: Pace = msgspec.field(default_factory=Pace)


class Superseded(Exception):
    """The delivery is not ours to make any more."""


class Lane:
    def __init__(self, concurrency: int) -> None:
        self.task: asyncio.Task[None] | None = None
        self.failures = 0
        self.paused_until_ms = 0
        self.concurrency = concurrency
        self.gate = asyncio.Semaphore(concurrency)

    @property
    def at_work(self) -> bool:
        return self.task is not None and not self.task.done()


class Item(msgspec.Struct, frozen=True):
    """`owner`: the ownership of the partition under which the delivery was found due."""

    partition: int
    owner: int
    due: Due
    attempt: Attempt


class Lanes:
    def __init__(
        self,
        ledger: Keyed[Entry],
        outbox: Outbox,
        prepare: Callable[[Due], Attempt],
        clock: Callable[[], int],
        marker: Sender,
    ) -> None:
        """`prepare` says how to make a delivery; it raises Invalid when its target is gone, Retryable when that is not
        known yet. `marker` writes marks: one
        that does not wait to fill batches."""
        self._ledger = ledger
        self._outbox = outbox
        self._prepare = prepare
        self._clock = clock
        self._recorder = Recorder(ledger, outbox, marker)
        self._lanes: dict[str, Lane] = {}
        self._paces: dict[str, Pace] = {}
        self._lane_of: dict[str, Lane] = {}
        self._look_now = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                for partition in list(self._ledger.partitions):
                    await self._look(partition)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._look_now.wait()
                self._look_now.clear()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        """What is under way is finished and written down, if that does not take long."""
        self._stopping = True
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._recorder.close(STOP_S)

    async def _look(self, partition: int) -> None:
        """Start the lanes that have something due and are not at work."""
        now = self._clock()
        owner = self._ledger.owner(partition)
        try:
            due = await self._ledger.apply(partition, lambda state: (self._outbox.due(state, now, self._open), []))
        except Retryable:
            return
        if not owner or self._ledger.owner(partition) != owner:
            return
        work: dict[str, list[Item]] = {}
        for each in due:
            if self._recorder.knows(partition, each, now):
                continue
            try:
                attempt = self._prepare(each)
            except Invalid as gone:
                self._recorder.put(partition, Result(each, gone, now))
                continue
            except Retryable:
                continue
            work.setdefault(attempt.lane, []).append(Item(partition, owner, each, attempt))
        for name, items in work.items():
            concurrency = max(item.attempt.pace.concurrency for item in items)
            lane = self._lanes.setdefault(name, Lane(concurrency))
            self._lane_of.update((item.due.delivery.ref, lane) for item in items)
            if not lane.at_work and now >= lane.paused_until_ms:
                if lane.concurrency != concurrency:
                    lane.concurrency, lane.gate = concurrency, asyncio.Semaphore(concurrency)
                lane.task = asyncio.create_task(self._work(lane, items), name=f"lane {name}")

    def _open(self, due: Due) -> bool:
        """Whether it can be made now, as far as is known: what cannot must not hide what can."""
        lane = self._lane_of.get(due.delivery.ref)
        if lane is not None and (
            (lane.task is not None and not lane.task.done()) or self._clock() < lane.paused_until_ms
        ):
            return False
        pace = self._paces.get(due.notification.receiver)
        return pace is None or pace.free(self._clock())

    async def _work(self, lane: Lane, items: list[Item]) -> None:
        waiting = deque(items[:ROUND])

        async def hand() -> None:
            while waiting and not self._stopping and self._clock() >= lane.paused_until_ms:
                item = waiting.popleft()
                if self._allowed(item):
                    await self._deliver(lane, item)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(len(waiting), lane.concurrency + AHEAD)):
                    group.create_task(hand())
        except* Exception:
            # Sent, perhaps, and not written down: going on would send it again and again.
            log.exception("lane.stopped")
            lane.paused_until_ms = self._clock() + STUCK_MS
        finally:
            self._look_now.set()

    def _allowed(self, item: Item) -> bool:
        """Whether its receiver may be told of something more by now."""
        pace, receiver = item.attempt.pace, item.due.notification.receiver
        known = self._paces.get(receiver)
        if known is None or not known.same(pace):
            known = self._paces[receiver] = pace
        return known.take(self._clock())

    async def _deliver(self, lane: Lane, item: Item) -> None:
        if self._recorder.knows(item.partition, item.due, self._clock()):
            return
        self._recorder.begin(item.partition, item.due)
        try:
            failure = await self._attempt(lane, item)
        except BaseException as error:
            self._recorder.leave(item.partition, item.due)
            if isinstance(error, Superseded):
                return
            raise
        now, pause = self._clock(), 0
        if isinstance(failure, Away):
            pause = max(AWAY_MS[min(lane.failures, len(AWAY_MS) - 1)], round(failure.after_s * 1000))
            if now >= lane.paused_until_ms:
                lane.failures += 1
                lane.paused_until_ms = now + pause
        else:
            lane.failures = 0
        self._recorder.put(item.partition, Result(item.due, failure, now, pause, item.attempt.last))

    async def _attempt(self, lane: Lane, item: Item) -> Failure | None:
        due = item.due
        marked = False

        @asynccontextmanager
        async def final() -> AsyncIterator[None]:
            nonlocal marked
            async with lane.gate:
                # Both may have changed while it was got ready: whose partition it is, and whether we go on.
                if self._stopping or self._ledger.owner(item.partition) != item.owner:
                    raise Superseded
                yield
                marked = await self._recorder.mark(item.partition, due)

        try:
            await item.attempt.send(final)
        except Failure as error:
            failure: Failure | None = error
        except Superseded:
            raise
        except Exception as error:
            # A fault of ours must not take the lane down: the delivery comes again, and expires at last.
            log.exception("delivery.failed", notification=due.notification.id, channel=due.delivery.channel)
            failure = None if marked else Retryable("internal", type(error).__name__)
        else:
            failure = None
        result = "sent" if failure is None else "failed" if isinstance(failure, Invalid) else "retry"
        NOTIFIED.labels(due.delivery.channel, result).inc()
        if failure is not None:
            log.warning(
                "delivery.refused",
                notification=due.notification.id,
                channel=due.delivery.channel,
                reason=failure.reason,
                detail=failure.detail,
            )
        return failure
