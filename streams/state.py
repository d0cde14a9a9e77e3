"""Keyed state of a stateful agent's partition, and the core that works on it (concept: docs/concepts/architecture.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Protocol, TypeVar

from streams.record import Outgoing, Record

E = TypeVar("E")


class State(MutableMapping[str, E]):
    """Entries of one partition by key. Setting or deleting a key marks it dirty; entries are replaced, not mutated."""

    def __init__(self, entries: dict[str, E] | None = None, *, partition: int = 0) -> None:
        self._entries: dict[str, E] = entries or {}
        self.dirty: set[str] = set()
        self.partition = partition

    def __getitem__(self, key: str) -> E:
        return self._entries[key]

    def __setitem__(self, key: str, value: E) -> None:
        self._entries[key] = value
        self.dirty.add(key)

    def __delitem__(self, key: str) -> None:
        del self._entries[key]
        self.dirty.add(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Core(Protocol[E]):
    """The pure part of a stateful agent. Neither function does I/O or asks the clock."""

    version: int
    """Version of the entries' form; `upgrade` reads those of version - 1."""
    entry: type[E]
    """A msgspec Struct."""

    def decide(self, state: State[E], record: Record) -> Iterable[Outgoing]:
        """Apply one input record. Validate first, then change `state`: Invalid dead-letters the record."""

    def tick(self, state: State[E], now_ms: int) -> Iterable[Outgoing]:
        """Let time pass: called about once a second for each partition, between batches."""
