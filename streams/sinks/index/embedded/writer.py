"""Writes one kind's documents into the indexes of their days. Blocking; used by one thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tantivy

from streams.batch import Batch
from streams.errors import Retryable
from streams.sinks.index import fields
from streams.sinks.index.embedded.days import day_of, name_of
from streams.sinks.index.embedded.folders import days_in, remove
from streams.sinks.index.embedded.schema import Where, document
from streams.sinks.index.embedded.store import opened
from streams.sinks.index.ids import document_id, sort_time
from streams.sinks.index.port import Kind

HEAP_BYTES = {Kind.LOGS: 64_000_000}
SMALL_HEAP_BYTES = 16_000_000
MAX_OPEN = 3
"""Days of a kind that are open for writing at once; late records open theirs again."""
IDLE_COMMITS = 60
"""Commits of other days after which a day is closed."""


class Writer:
    """Puts records (delete by id, then add) into their days and commits. One thread at a time."""

    def __init__(self, path: Path, kind: Kind) -> None:
        self._path = path
        self.kind = kind
        self._days: dict[int, _DayWriter] = {}
        self.closed_days: set[int] = set()
        """Days nothing can be put into for now: Retryable("index_rewriting")."""
        self.generation = 0
        """Grows whenever what was put and not committed is thrown away."""

    @property
    def pending(self) -> int:
        """Documents put since the last commit."""
        return sum(day.pending for day in self._days.values())

    def put(self, batch: Batch) -> dict[int, str]:
        """Add every record of the batch; returns the positions that never can be, and why. Raises Retryable, Fatal."""
        bad: dict[int, str] = {}
        for position, message in enumerate(batch.messages):
            value = message.value()
            if value is None and self.kind is Kind.OBJECTS:
                continue  # a tombstone: the change `deleted` before it says it all
            try:
                if self.kind is Kind.LOGS:
                    record, drawn = None, fields.drawn(value or b"")
                else:
                    record = fields.decode(value or b"")
                    drawn = fields.draw(self.kind, record)
                id_ = document_id(self.kind, batch.topic_id, batch.partition, message, record)
                time_ms = sort_time(message.timestamp()[1])
                where = Where(id_, time_ms, batch.topic, batch.partition, message.offset())
                made = document(where, value or b"", drawn)
            except ValueError as error:
                bad[position] = str(error)
                continue
            self._put(day_of(time_ms), id_, made)
        return bad

    def delete(self, day: int, matching: tantivy.Query) -> None:
        """Delete the documents of a day that match; gone with the next commit. Raises Retryable, Fatal."""
        with self._failing("index_write"):
            self._open(day).delete(matching)

    def commit(self) -> None:
        """Make everything put so far durable and searchable. Raises Retryable; nothing put is kept then."""
        with self._failing("index_commit"):
            for number, day in list(self._days.items()):
                day.commit()
                if day.idle > IDLE_COMMITS:
                    self._days.pop(number).close()

    def remove(self, day: int) -> None:
        """Delete a whole day. Raises Retryable."""
        self.close_day(day)
        remove(self.folder(day))

    def folder(self, day: int) -> Path:
        return self._path / name_of(day)

    def shut(self, day: int) -> None:
        """Close a day and let nothing be put into it, until it is taken out of `closed_days`. Raises Retryable."""
        self.close_day(day)
        self.closed_days.add(day)

    def close_day(self, day: int) -> None:
        """Commit and close one day, so that its folder may be replaced or deleted. Raises Retryable."""
        if day in self._days:
            with self._failing("index_commit"):
                self._days[day].commit()
            self._days.pop(day).close()

    def close(self) -> None:
        with contextlib.suppress(Retryable):
            self.commit()
        for day in self._days.values():
            day.close()
        self._drop()

    def _put(self, day: int, id_: str, made: tantivy.Document) -> None:
        into = self._days.get(day) or self._open(day)
        try:
            into.put(id_, made)
        except ValueError as error:
            self._drop()
            raise Retryable("index_write", str(error)) from None

    def _open(self, day: int) -> _DayWriter:
        if day in self.closed_days:
            raise Retryable("index_rewriting", f"{self.kind} of {name_of(day)} is being rewritten", after_s=5.0)
        if day not in self._days:
            days_in(self._path)
            if len(self._days) >= MAX_OPEN:
                self.close_day(max(self._days, key=lambda number: self._days[number].idle))
            heap = SMALL_HEAP_BYTES if self._days else HEAP_BYTES.get(self.kind, SMALL_HEAP_BYTES)
            self._days[day] = _DayWriter(self.folder(day), heap)
        return self._days[day]

    @contextlib.contextmanager
    def _failing(self, reason: str) -> Iterator[None]:
        """What tantivy refuses throws away all that was put: it comes again."""
        try:
            yield
        except ValueError as error:
            self._drop()
            raise Retryable(reason, str(error)) from None

    def _drop(self) -> None:
        self._days.clear()
        self.generation += 1


class _DayWriter:
    """One day's index, open for writing. Raises Retryable when another process has it."""

    def __init__(self, path: Path, heap: int) -> None:
        index = opened(path, create=True)
        assert index is not None  # noqa: S101
        try:
            self._writer = index.writer(heap, 1)
        except ValueError as error:
            raise Retryable("index_locked", f"{path}: {error}") from None
        self.pending = 0
        self.idle = 0
        """Commits since something was put."""

    def put(self, id_: str, made: tantivy.Document) -> None:
        self._writer.delete_documents_by_term("id", id_)
        self._writer.add_document(made)
        self.pending += 1

    def delete(self, matching: tantivy.Query) -> None:
        self._writer.delete_documents_by_query(matching)
        self.pending += 1

    def commit(self) -> None:
        self.idle += 1
        if self.pending:
            self._writer.commit()
            self.pending = self.idle = 0

    def close(self) -> None:
        with contextlib.suppress(ValueError):
            self._writer.wait_merging_threads()
