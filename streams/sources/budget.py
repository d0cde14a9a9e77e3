"""Bounds on bytes in memory, kept by waiting: the sender waits with us, as TCP makes it."""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """At most `limit` bytes held at once, first come first served; more than that only while nobody else holds any."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self.used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.used -= size
            self._grant()
            raise

    def give(self, size: int) -> None:
        self.used -= size
        self._grant()

    def _fits(self, size: int) -> bool:
        return self.used == 0 or self.used + size <= self._limit

    def _grant(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.done():
                if not self._fits(size):
                    return
                self.used += size
                turn.set_result(None)
            self._waiting.popleft()


class ReadGate:
    """Who may read while unfinished input fills the memory: one connection after the other.

    Below `limit` everybody reads. Above it only one that is within a frame does, until its frame is complete: so memory
    stays under the limit and one frame, and half-read frames never block each other for good. One that holds nothing
    may begin beyond the limit, up to a quarter more: so those that fill the memory do not silence the others.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reserve = limit // 4
        self.held = 0
        self._owner: object | None = None
        self._changed = asyncio.Event()

    def add(self, size: int) -> None:
        self.held += size

    def remove(self, size: int) -> None:
        self.held -= size
        self._changed.set()

    async def enter(self, who: object, *, unfinished: bool, holds: int = 0) -> None:
        """Return when `who` may read once more; `unfinished`: it has read a part of a frame; `holds`: bytes of it."""
        while self.held >= self._limit and self._owner is not who:
            if unfinished and self._owner is None:
                self._owner = who
                return
            if not holds and not unfinished and self.held < self._limit + self._reserve:
                return
            self._changed.clear()
            await self._changed.wait()

    def leave(self, who: object) -> None:
        """`who` has no unfinished frame (any more)."""
        if self._owner is who:
            self._owner = None
            self._changed.set()
