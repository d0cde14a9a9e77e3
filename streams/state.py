"""Keyed state of a stateful agent's partition, and the core that works on it (docs/concepts/architecture.md, ADR 3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, MutableMapping
from typing import Protocol, TypeVar

from streams.record import Outgoing, Record

E = TypeVar("E")


class State(MutableMapping[str, E]):
    """Entries of one partition by key. Setting or deleting a key marks it dirty; entries are replaced, not mutated.

    Changes can be taken back: those since the last `mark` (one record's), or all since the last `clean` (one step's).
    Whoever does gives the core a `twin` from then on, so that what a core derived from the entries is derived anew.
    """

    def __init__(self, entries: dict[str, E] | None = None, *, partition: int = 0) -> None:
        self._entries: dict[str, E] = {} if entries is None else entries
        self._before: dict[str, E | None] = {}  # values at the last `clean`
        self._marked: dict[str, tuple[E | None, bool]] = {}  # values at the last `mark`, and whether dirty then
        self.partition = partition

    @property
    def dirty(self) -> KeysView[str]:
        """Keys set or deleted since the last `clean`."""
        return self._before.keys()

    def __getitem__(self, key: str) -> E:
        return self._entries[key]

    def __setitem__(self, key: str, value: E) -> None:
        self._touch(key)
        self._entries[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self._entries:
            raise KeyError(key)
        self._touch(key)
        del self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def mark(self) -> None:
        """What changes from here on can be taken back by `back_to_mark`."""
        self._marked.clear()

    def back_to_mark(self) -> bool:
        """Whether there was anything to take back."""
        changed = bool(self._marked)
        for key, (value, dirty) in self._marked.items():
            self._put_back(key, value)
            if not dirty:
                del self._before[key]
        self._marked.clear()
        return changed

    def twin(self) -> State[E]:
        """Another object over the same entries and marks; this one must not be used any more."""
        twin = State(self._entries, partition=self.partition)
        twin._before, twin._marked = self._before, self._marked
        return twin

    def rewrite(self, key: str) -> None:
        """Mark a key dirty as it is, there or not."""
        self._before.setdefault(key, self._entries.get(key))

    def clean(self) -> None:
        """The dirty entries are written: nothing is dirty any more."""
        self._before.clear()
        self._marked.clear()

    def back_to_clean(self) -> None:
        for key, value in self._before.items():
            self._put_back(key, value)
        self.clean()

    def _touch(self, key: str) -> None:
        before = self._entries.get(key)
        if key not in self._marked:
            self._marked[key] = (before, key in self._before)
        self._before.setdefault(key, before)

    def _put_back(self, key: str, value: E | None) -> None:
        if value is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = value


class Core(Protocol[E]):
    """The pure part of a stateful agent. No function does I/O or asks the clock.

    A core whose entries' form changed has `upgrade(key: str, entry: bytes) -> E` too: it is given the JSON of an entry
    of `version - 1`.
    """

    version: int
    """Version of the entries' form."""
    entry: type[E]
    """A msgspec Struct; its JSON is what is kept."""

    def decide(self, state: State[E], record: Record) -> Iterable[Outgoing]:
        """Apply one input record, each exactly once. Invalid dead-letters the record and takes its changes back."""

    def tick(self, state: State[E], now_ms: int) -> Iterable[Outgoing]:
        """Let time pass: called about once a second for each partition, between batches, once the records that were
        there when the partition came have been applied."""
