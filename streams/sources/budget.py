"""Bounds on bytes in memory, kept by waiting: the sender waits with us, as TCP makes it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Budget:
    """At most `limit` bytes held at once, first come first served; more than that only while nobody else holds any.

    Who holds nothing yet (`first`) may take up to a quarter of it more, past those that wait: so that what one wants
    much of does not keep it from the others.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int, *, first: bool = False) -> None:
        if (not self._waiting and self._fits(size)) or (first and self.used + size <= self._limit + self._limit // 4):
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
    """Who may read while input fills the memory. What is held is on its way out (whole frames), or parts of frames.

    Below `limit` everybody reads. Above it one that holds nothing may begin, up to a quarter more: so those that fill
    the memory do not silence the others. Nobody else reads until something left; only when nothing is on its way out,
    one that is within a frame goes on until that is complete: so half-read frames never block each other for good, and
    memory stays under the limit, a quarter of it and one frame. `emptied` is called when little is left of a limit
    that was reached.
    """

    def __init__(self, limit: int, emptied: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._reserve = limit // 4
        self._emptied = emptied
        self._was_full = False
        self.held = 0
        self._leaving = 0
        self._owner: object | None = None
        self._changed = asyncio.Event()

    def add(self, size: int) -> None:
        """Bytes read."""
        self.held += size
        self._was_full |= self.held >= self._limit

    def complete(self, who: object, size: int) -> None:
        """`who` read all of some frames, `size` bytes of those held: they are on their way out."""
        self._leaving += size
        self.leave(who)

    def remove(self, size: int) -> None:
        """So much of what was on its way out has gone."""
        self._leaving -= size
        self.drop(size)

    def drop(self, size: int) -> None:
        """So much of what was read will never be complete."""
        self.held -= size
        self._changed.set()
        if self._was_full and self.held <= self._limit // 8:
            self._was_full = False
            self._emptied()

    async def enter(self, who: object, *, unfinished: bool, holds: int = 0) -> None:
        """Return when `who` may read once more; `unfinished`: it has read a part of a frame; `holds`: bytes of it."""
        while self.held >= self._limit and self._owner is not who:
            if unfinished and self._owner is None and not self._leaving:
                self._owner = who
                return
            if not holds and not unfinished and self.held < self._limit + self._reserve:
                return
            self._changed.clear()
            await self._changed.wait()

    def leave(self, who: object) -> None:
        """`who` is not within the frame any more that it was to complete."""
        if self._owner is who:
            self._owner = None
            self._changed.set()
