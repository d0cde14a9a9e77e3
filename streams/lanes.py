"""Lanes: work off what the outbox says is due, each lane one delivery after the other, lanes beside each other.

A lane is a server. A delivery's outcome is written down before the lane's next one is sent: a crash in between repeats
one delivery a lane (with the same Message-ID), never more, and loses none. A server that is away makes its lane wait
(1 s to 30 s), so that it is not asked again for each delivery; the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from streams.errors import Failure, Invalid, Retryable
from streams.keyed import Keyed
from streams.metrics import NOTIFIED
from streams.outbox import AWAY_MS, Due, Entry, Outbox
from streams.sinks.channel import Away

log = structlog.get_logger(__name__)

LOOK_S = 0.1
"""How often the outbox is looked through for what became due."""
STOP_S = 3.0
RECORD_S = 0.5
STUCK_MS = 3_600_000
ROUND = 64
"""Deliveries of one lane taken from the outbox at once."""


class Attempt(msgspec.Struct, frozen=True):
    """How one delivery is made. `last`: a re-sending after which no more follow."""

    lane: str
    send: Callable[[], Awaitable[None]]
    last: bool = False


class Lane:
    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.failures = 0
        self.paused_until_ms = 0


class Lanes:
    def __init__(
        self, ledger: Keyed[Entry], outbox: Outbox, prepare: Callable[[Due], Attempt], clock: Callable[[], int]
    ) -> None:
        """`prepare` says how to make a delivery; it raises Invalid when its target is gone."""
        self._ledger = ledger
        self._outbox = outbox
        self._prepare = prepare
        self._clock = clock
        self._lanes: dict[str, Lane] = {}
        self._stopping = False

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                for partition in list(self._ledger.partitions):
                    await self._look(partition)
                await asyncio.sleep(LOOK_S)
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

    async def _look(self, partition: int) -> None:
        """Start the lanes that have something due and are not at work."""
        now = self._clock()
        try:
            due = await self._ledger.apply(partition, lambda state: (self._outbox.due(state, now), []))
        except Retryable:
            return
        work: dict[str, list[tuple[Due, Attempt]]] = {}
        for each in due:
            try:
                attempt = self._prepare(each)
            except Invalid as gone:
                await self._settle(partition, each, gone)
                continue
            work.setdefault(attempt.lane, []).append((each, attempt))
        for name, items in work.items():
            lane = self._lanes.setdefault(name, Lane())
            if (lane.task is None or lane.task.done()) and now >= lane.paused_until_ms:
                lane.task = asyncio.create_task(self._work(lane, partition, items[:ROUND]), name=f"lane {name}")

    async def _work(self, lane: Lane, partition: int, items: Sequence[tuple[Due, Attempt]]) -> None:
        try:
            await self._work_off(lane, partition, items)
        except Exception:
            # Sent, perhaps, and not written down: going on would send it again and again.
            log.exception("lane.stopped", partition=partition)
            lane.paused_until_ms = self._clock() + STUCK_MS

    async def _work_off(self, lane: Lane, partition: int, items: Sequence[tuple[Due, Attempt]]) -> None:
        for due, attempt in items:
            if self._stopping or not await self._waits(partition, due):
                return
            failure = await self._attempt(due, attempt)
            if isinstance(failure, Away):
                pause = max(AWAY_MS[min(lane.failures, len(AWAY_MS) - 1)], round(failure.after_s * 1000))
                lane.failures += 1
                lane.paused_until_ms = self._clock() + pause
                await self._settle(partition, due, failure, wait_ms=pause)
                return
            lane.failures = 0
            if not await self._settle(partition, due, failure, last=attempt.last):
                return

    async def _waits(self, partition: int, due: Due) -> bool:
        """Whether the partition is still ours and the delivery still to be made: both may have changed meanwhile."""
        try:
            return await self._ledger.apply(partition, lambda state: (self._outbox.waits(state, due), []))
        except Retryable:
            return False

    async def _attempt(self, due: Due, attempt: Attempt) -> Failure | None:
        try:
            await attempt.send()
        except Failure as error:
            failure: Failure | None = error
        except Exception as error:
            # A fault of ours must not take the lane down: the delivery comes again, and expires at last.
            log.exception("delivery.failed", notification=due.notification.id, channel=due.delivery.channel)
            failure = Retryable("internal", type(error).__name__)
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

    async def _settle(
        self, partition: int, due: Due, failure: Failure | None, *, wait_ms: int = 0, last: bool = False
    ) -> bool:
        """Write down what became of it, as long as it takes. False: the partition went to another owner meanwhile."""
        now = self._clock()
        while partition in self._ledger.partitions:
            try:
                await self._ledger.apply(
                    partition,
                    lambda state: (None, self._outbox.settle(state, due, failure, now, wait_ms=wait_ms, last=last)),
                )
                return True
            except Retryable as error:
                log.warning("delivery.not_recorded", notification=due.notification.id, reason=error.reason)
                await asyncio.sleep(RECORD_S)
        return False
