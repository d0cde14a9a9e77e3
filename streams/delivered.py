"""What deliveries came to, written down: a mark at once for what was taken, outcomes in the keyed state many at a time.

A mark says that this attempt was taken over. Whoever owns the partition next finds it and writes the outcome instead of
sending again. It is taken back once the outcome is durable.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import msgspec
import structlog

from streams.errors import Failure, Invalid, Retryable
from streams.keyed import Keyed
from streams.outbox import REFRESH, Due, Entry, Outbox
from streams.partition import Sender
from streams.record import Outgoing
from streams.state import State

log = structlog.get_logger(__name__)

RECORD_S = 0.5
"""Wait before a write that failed is tried again."""
Place = tuple[int, str, str]


class Result(msgspec.Struct, frozen=True):
    """What an attempt came to at `now_ms`, as `Outbox.settle` takes it."""

    due: Due
    failure: Failure | None
    now_ms: int
    wait_ms: int = 0
    last: bool = False


class Recorder:
    def __init__(self, ledger: Keyed[Entry], outbox: Outbox, marker: Sender) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._marker = marker
        self._results: defaultdict[int, list[Result]] = defaultdict(list)
        self._busy: set[Place] = set()
        self._stuck: set[Place] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def knows(self, partition: int, due: Due, now_ms: int) -> bool:
        """Whether the delivery is at work, waits to be written down, or was made by a former owner."""
        place = _place(partition, due)
        if place in self._busy or place in self._stuck:
            return True
        if not due.key.startswith(REFRESH) and self._ledger.marked(partition, mark_key(due)) == mark_value(due):
            self.put(partition, Result(due, None, now_ms))
            return True
        return False

    def begin(self, partition: int, due: Due) -> None:
        """It is at work until a result is `put`, or it is left."""
        self._busy.add(_place(partition, due))

    def leave(self, partition: int, due: Due) -> None:
        self._busy.discard(_place(partition, due))

    async def mark(self, partition: int, due: Due) -> bool:
        """Note that it was taken over, as long as it takes. A re-sending needs no note: it comes again anyway."""
        if due.key.startswith(REFRESH):
            return True
        while True:
            try:
                await self._marker.send([self._ledger.mark(partition, mark_key(due), mark_value(due))])
                return True
            except Retryable as error:
                log.warning("delivery.not_marked", notification=due.notification.id, reason=error.reason)
                if not self._ledger.owner(partition):
                    return True
                await asyncio.sleep(RECORD_S)

    def put(self, partition: int, result: Result) -> None:
        """Write it down soon; until then the delivery is known."""
        self._busy.add(_place(partition, result.due))
        self._results[partition].append(result)
        task = self._tasks.get(partition)
        if task is None or task.done():
            self._tasks[partition] = asyncio.create_task(self._record(partition), name=f"outcomes {partition}")

    async def close(self, timeout_s: float) -> None:
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _record(self, partition: int) -> None:
        while results := self._results.pop(partition, []):
            try:
                await self._insist(partition, results)
            except Exception:
                log.exception("delivery.not_recorded", partition=partition)
                for each in results:
                    await self._alone(partition, each)
            self._busy.difference_update(_place(partition, each.due) for each in results)
            await self._take_back(partition, results)

    async def _alone(self, partition: int, result: Result) -> None:
        try:
            await self._insist(partition, [result])
        except Exception:
            # Sent, perhaps, and not written down: going on would send it again and again.
            log.exception("delivery.stuck", notification=result.due.notification.id)
            self._stuck.add(_place(partition, result.due))

    async def _insist(self, partition: int, results: Sequence[Result]) -> None:
        """As long as it takes, unless the partition goes to another owner meanwhile."""
        while self._ledger.owner(partition):
            try:
                await self._ledger.apply(
                    partition,
                    lambda state: (None, [out for each in results for out in self._settled(state, each)]),
                )
            except Retryable as error:
                log.warning("delivery.not_recorded", partition=partition, reason=error.reason)
                await asyncio.sleep(RECORD_S)
            else:
                return

    def _settled(self, state: State[Entry], result: Result) -> list[Outgoing]:
        return self._outbox.settle(
            state,
            result.due,
            result.failure,
            result.now_ms,
            wait_ms=result.wait_ms,
            last=result.last,
        )

    async def _take_back(self, partition: int, results: Sequence[Result]) -> None:
        """A mark that stays does no harm: it counts for its own attempt only."""
        keys = {mark_key(each.due) for each in results if each.failure is None and not each.due.key.startswith(REFRESH)}
        try:
            await self._marker.send([self._ledger.mark(partition, key, None) for key in keys])
        except (Retryable, Invalid) as error:
            log.info("delivery.mark_stays", partition=partition, reason=error.reason)


def mark_key(due: Due) -> str:
    return f"{due.key}/{due.delivery.ref}"


def mark_value(due: Due) -> bytes:
    """The attempt it is of: of this notification (a digest's entry has one after the other), by its number."""
    return f"{due.delivery.attempts} {due.notification.id}".encode()


def _place(partition: int, due: Due) -> Place:
    return partition, due.key, due.delivery.ref
