"""The Faust channel agents read a batch source by. It holds nothing, so Faust has nothing to throw away.

A Faust channel gives each reader a queue of its own, and Faust empties these queues when its own consumer group
rebalances and abandons them when an agent restarts. Here a reader's queue is only a window onto the source: what it
yields next is asked of the source at that moment (streams/offsets.py `next_batch`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import faust
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from streams.batch import Batch


class Window(ThrowableQueue[Batch]):
    """One reader's queue. Its errors (how Faust stops a reader) are its own, its batches are the source's."""

    def __init__(self, take: Callable[[object], Batch | None], has: Callable[[object], bool]) -> None:
        super().__init__(0, flow_control=FlowControlEvent(initially_suspended=False))
        self._take = take
        self._has = has

    def empty(self) -> bool:
        return not self._errors and not self._has(asyncio.current_task())

    def qsize(self) -> int:
        return 0 if self.empty() else 1

    def get_nowait(self) -> Batch:
        if self._errors:
            raise self._errors.popleft()
        batch = self._take(asyncio.current_task())
        if batch is None:
            raise asyncio.QueueEmpty
        return batch

    def wake(self) -> None:
        """Let the waiting readers look again."""
        getters: deque[asyncio.Future[None]] = self._getters  # type: ignore[attr-defined]
        while getters:
            self._wakeup_next(getters)  # type: ignore[attr-defined]

    def clear(self) -> None:
        """Faust's way to drop what was not read yet: nothing is here to be dropped."""


class BatchChannel(faust.Channel[Batch]):
    """`source.channel`: give it to `app.agent(...)`. Several readers share the batches, each goes to one of them."""

    def __init__(self, app: Any, *, open_window: Callable[[], Window], **kwargs: Any) -> None:
        self._open_window = open_window
        super().__init__(app, **kwargs)

    @property
    def queue(self) -> ThrowableQueue[Batch]:
        if self._queue is None:
            self._queue = self._open_window()
        return self._queue

    def _clone_args(self) -> dict[str, Any]:
        return {**super()._clone_args(), "open_window": self._open_window}

    async def put(self, value: Any) -> None:
        raise NotImplementedError("batches come from the source alone")
