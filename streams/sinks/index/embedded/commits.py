"""Group commit: batches that are waiting together are made durable by one commit, at most one an interval unless much
is waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from streams.errors import Failure, Retryable

AT_ONCE = 2000
"""Documents that are not kept waiting for the interval to pass."""


class Commits:
    """Awaiting `done` joins the next commit. The first after a quiet interval is immediate."""

    def __init__(
        self,
        commit: Callable[[], Awaitable[None]],
        pending: Callable[[], int],
        interval_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._commit = commit
        self._pending = pending
        self._interval_s = interval_s
        self._clock = clock
        self._last = float("-inf")
        self._waiting: list[asyncio.Future[None]] = []
        self._many = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def done(self) -> None:
        """Return when all that was put before the call is durable. Raises what the commit raised."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if self._pending() >= AT_ONCE:
            self._many.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="index-commit")
        await future

    async def close(self) -> None:
        self._many.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._waiting:
            await self._pause()
            self._many.clear()
            group, self._waiting = self._waiting, []
            error: Exception | None = None
            try:
                await self._commit()
            except Failure as failure:
                error = failure
            except Exception as unknown:
                error = Retryable("index_commit", repr(unknown))
            self._last = self._clock()
            for future in group:
                if future.done():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

    async def _pause(self) -> None:
        left = self._last + self._interval_s - self._clock()
        if left > 0 and not self._many.is_set():
            try:
                await asyncio.wait_for(self._many.wait(), left)
            except TimeoutError:
                return
