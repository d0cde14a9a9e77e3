"""What waits in the state of one partition: matches for their time, windows for their end. Derived from the entries."""

from __future__ import annotations

import heapq
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from streams.rules.window import Hit, Window


class Waiting:
    """Queues of matches by window, and which windows want attention when."""

    def __init__(self) -> None:
        self.queues: dict[str, list[Hit]] = defaultdict(list)
        self.count = 0
        """Matches in all queues."""
        self.groups: Counter[str] = Counter()
        """Windows of each rule."""
        self.windows = 0
        self.late: set[str] = set()
        """Windows with late matches, or an alert of such: they follow another clock."""
        self._due: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self._next: dict[str, int] = {}
        self._forget: list[tuple[int, str]] = []

    def opened(self, window_id: str, window: Window, forget_at_ms: int) -> None:
        self.groups[window.rule] += 1
        self.windows += 1
        heapq.heappush(self._forget, (forget_at_ms, window_id))

    def add(self, window_id: str, hit: Hit, topic: str, lateness_ms: int) -> None:
        insort(self.queues[window_id], hit, key=_order)
        self.count += 1
        if hit.late:
            self.late.add(window_id)
        else:
            self.due(window_id, topic, hit.time_ms + lateness_ms)

    def take(self, window_id: str, ready: Callable[[Hit], bool]) -> list[Hit]:
        """Remove and return the matches that are ready, in order; a late one that is not holds the late ones behind."""
        queue = self.queues.get(window_id, [])
        taken, left = [], []
        held = False
        for hit in queue:
            if (held and hit.late) or not ready(hit):
                left.append(hit)
                held = held or hit.late
            else:
                taken.append(hit)
        self.count -= len(taken)
        if left:
            self.queues[window_id] = left
        else:
            self.queues.pop(window_id, None)
        return taken

    def due(self, window_id: str, topic: str, at_ms: int) -> None:
        """Look at it once the time of `topic` has passed `at_ms`, or before: it then says again."""
        if at_ms < self._next.get(window_id, at_ms + 1):
            self._next[window_id] = at_ms
            heapq.heappush(self._due[topic], (at_ms, window_id))

    def forget_at(self, window_id: str, at_ms: int) -> None:
        heapq.heappush(self._forget, (at_ms, window_id))

    def pop_due(self, topic: str, time_ms: int) -> set[str]:
        found = set(_pop(self._due[topic], time_ms))
        for window_id in found:
            self._next.pop(window_id, None)
        return found

    def pop_forgettable(self, clock_ms: int) -> set[str]:
        return set(_pop(self._forget, clock_ms))

    def drop(self, window_id: str, window: Window) -> list[Hit]:
        """Everything about a window is over; returns the matches that waited for it."""
        self.groups[window.rule] -= 1
        self.windows -= 1
        self.late.discard(window_id)
        self._next.pop(window_id, None)
        queue = self.queues.pop(window_id, [])
        self.count -= len(queue)
        return queue


def _pop(heap: list[tuple[int, str]], before_ms: int) -> Iterator[str]:
    while heap and heap[0][0] < before_ms:
        yield heapq.heappop(heap)[1]


def _order(hit: Hit) -> tuple[int, str, int, int]:
    return hit.order
