"""How large bulk requests are and how many are under way: what the server takes, found out by what it answers.

Requests shrink when one is too large or slow, and grow again; fewer go at once while the server says it is busy
(halved), more again after as many have been taken (one at a time). So what is held here is bounded:
`MAX_REQUEST_BYTES` * `MAX_AT_ONCE`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MAX_REQUEST_BYTES = 2 << 20
MIN_REQUEST_BYTES = 64 << 10
MAX_AT_ONCE = 4
SLOW_S = 5.0
GROW_AFTER = 50
"""Requests taken in a row before the next may be larger."""
PROBE_AFTER = 1000
"""The same where a larger one was refused for its size: the limit is not likely to have changed."""


class Pace:
    def __init__(self) -> None:
        self.request_bytes = MAX_REQUEST_BYTES
        """Of the records in one request."""
        self.at_once = MAX_AT_ONCE
        self._under_way = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._taken = 0
        self._calm = 0
        self._grow_after = GROW_AFTER

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the places requests are made from."""
        while self._under_way >= self.at_once:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._wake()

    def _wake(self) -> None:
        """All look again: they are few, and who was cancelled meanwhile cannot hold up the others."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    def too_large(self, nbytes: int) -> None:
        """A request of `nbytes` was refused for its size."""
        self._shrink(min(nbytes, self.request_bytes))
        self._grow_after = PROBE_AFTER

    def busy(self) -> None:
        """The server did not take all of a request for now."""
        self.at_once = max(1, self.at_once // 2)
        self._calm = 0

    def taken(self, seconds: float) -> None:
        """A request was taken, after `seconds`."""
        if seconds > SLOW_S:
            self._shrink(self.request_bytes)
            return
        self._taken += 1
        self._calm += 1
        if self._taken >= self._grow_after:
            self.request_bytes = min(MAX_REQUEST_BYTES, 2 * self.request_bytes)
            self._taken, self._grow_after = 0, GROW_AFTER
        if self._calm >= self.at_once and self.at_once < MAX_AT_ONCE:
            self.at_once += 1
            self._calm = 0
            self._wake()

    def _shrink(self, nbytes: int) -> None:
        self.request_bytes = max(MIN_REQUEST_BYTES, nbytes // 2)
        self._taken = 0
