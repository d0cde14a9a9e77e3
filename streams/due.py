"""Timers of keyed state: which entries are due, without looking at all of them each second.

The entries are the truth; this is a heap derived from them, made anew whenever a partition's `State` is another object
(after a restart or a rebalance). An entry that moved on leaves an item behind that is passed over when it comes up.
"""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from streams.state import State

E = TypeVar("E")


class Due(Generic[E]):
    """`due_ms(entry)` says when an entry wants attention; 0: never."""

    def __init__(self, due_ms: Callable[[E], int]) -> None:
        self._due_ms = due_ms
        self._heaps: dict[int, tuple[weakref.ref[State[E]], list[tuple[int, str]]]] = {}

    def put(self, state: State[E], key: str, entry: E) -> None:
        """Set an entry and its timer."""
        heap = self._heap(state)
        state[key] = entry
        if due := self._due_ms(entry):
            heapq.heappush(heap, (due, key))

    def next_ms(self, state: State[E]) -> int:
        """When the next entry may be due; 0: none waits."""
        heap = self._heap(state)
        return heap[0][0] if heap else 0

    def pop(self, state: State[E], now_ms: int) -> Iterator[tuple[str, E]]:
        """Entries that are due, the longest due first. Whoever takes one puts it again, or deletes it."""
        heap = self._heap(state)
        while heap and heap[0][0] <= now_ms:
            due, key = heapq.heappop(heap)
            entry = state.get(key)
            if entry is not None and self._due_ms(entry) == due:
                yield key, entry

    def _heap(self, state: State[E]) -> list[tuple[int, str]]:
        known = self._heaps.get(state.partition)
        if known is not None and known[0]() is state:
            return known[1]
        heap = [(due, key) for key, entry in state.items() if (due := self._due_ms(entry))]
        heapq.heapify(heap)
        self._heaps[state.partition] = (weakref.ref(state), heap)
        return heap
