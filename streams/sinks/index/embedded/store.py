"""One kind's folder: the tantivy index of it, written by one process, read by any. Blocking; called from threads."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import tantivy

from streams.batch import Batch
from streams.errors import Fatal, Retryable
from streams.sinks.index import fields
from streams.sinks.index.embedded.schema import ANALYZERS, SCHEMA, Where, document
from streams.sinks.index.ids import document_id, sort_time
from streams.sinks.index.port import Kind

HEAP_BYTES = {Kind.LOGS: 64_000_000}
SMALL_HEAP_BYTES = 16_000_000
META = "meta.json"


def opened(path: Path, *, create: bool) -> tantivy.Index | None:
    """The index in `path`; None when there is none and it is not to be created. Raises Fatal, Retryable."""
    try:
        if create:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        elif not (path / META).exists():
            return None
        index = tantivy.Index(SCHEMA, str(path), reuse=True)
        index.config_reader("manual")
    except OSError as error:
        raise Retryable("index_folder", f"{path}: {error.strerror}") from None
    except ValueError as error:
        if "schema" in str(error).lower():
            raise Fatal("index_version", f"{path} is of another version of Eventsphere: move it away") from None
        raise Retryable("index_folder", f"{path}: {error}") from None
    for name, analyzer in ANALYZERS.items():
        index.register_tokenizer(name, analyzer)
    return index


class Reader:
    """Searchers of the newest commit. Cheap to ask: the folder is looked at, the index loaded only when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index: tantivy.Index | None = None
        self._seen: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def searcher(self) -> tantivy.Searcher | None:
        """None while there is no index. Raises Retryable, Fatal."""
        with self._lock:
            try:
                found = (self._path / META).stat()
            except OSError:
                self._index = None
                return None
            state = (found.st_ino, found.st_mtime_ns)
            if self._index is None:
                self._index, self._seen = opened(self._path, create=False), None
            if self._index is None:
                return None
            if state != self._seen:
                try:
                    self._index.reload()
                except ValueError as error:
                    self._index = None
                    raise Retryable("index_folder", str(error)) from None
                self._seen = state
            return self._index.searcher()


class Writer:
    """Puts records (delete by id, then add) and commits. One thread at a time."""

    def __init__(self, path: Path, kind: Kind) -> None:
        self._path = path
        self._kind = kind
        self._writer: tantivy.IndexWriter | None = None
        self.pending = 0
        """Documents put since the last commit."""
        self.generation = 0
        """Grows whenever what was put and not committed is thrown away."""

    def put(self, batch: Batch) -> dict[int, str]:
        """Add every record of the batch; returns the positions that never can be, and why. Raises Retryable, Fatal."""
        bad: dict[int, str] = {}
        writer = self._open()
        for position, message in enumerate(batch.messages):
            value = message.value()
            if value is None and self._kind is Kind.OBJECTS:
                continue  # a tombstone: the change `deleted` before it says it all
            try:
                record = fields.decode(value or b"")
                id_ = document_id(self._kind, batch.topic_id, batch.partition, message, record)
                time_ms = sort_time(message.timestamp()[1])
                where = Where(id_, time_ms, batch.topic, batch.partition, message.offset())
                made = document(where, value or b"", fields.draw(self._kind, record))
            except ValueError as error:
                bad[position] = str(error)
                continue
            self._put(writer, id_, made)
        return bad

    def commit(self) -> None:
        """Make everything put so far durable and searchable. Raises Retryable; nothing put is kept then."""
        if self._writer is None or not self.pending:
            return
        try:
            self._writer.commit()
        except ValueError as error:
            self._drop()
            raise Retryable("index_commit", str(error)) from None
        self.pending = 0

    def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(Retryable, ValueError):
                self.commit()
                if self._writer is not None:
                    self._writer.wait_merging_threads()
        self._drop()

    def _put(self, writer: tantivy.IndexWriter, id_: str, made: tantivy.Document) -> None:
        try:
            writer.delete_documents_by_term("id", id_)
            writer.add_document(made)
        except ValueError as error:
            self._drop()
            raise Retryable("index_write", str(error)) from None
        self.pending += 1

    def _open(self) -> tantivy.IndexWriter:
        if self._writer is None:
            index = opened(self._path, create=True)
            assert index is not None  # noqa: S101
            try:
                self._writer = index.writer(HEAP_BYTES.get(self._kind, SMALL_HEAP_BYTES), 1)
            except ValueError as error:
                raise Retryable("index_locked", f"{self._path}: {error}") from None
        return self._writer

    def _drop(self) -> None:
        self._writer = None
        self.pending = 0
        self.generation += 1


class Lock:
    """Held by the one process that writes below `folder`; the kernel frees it when the process ends in any way."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "writer.lock"
        self._file: Any = None

    def acquire(self) -> bool:
        """Whether we hold it now. Raises Retryable when the folder cannot be made."""
        import fcntl

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = self._path.open("a+")
        except OSError as error:
            raise Retryable("index_folder", f"{self._path.parent}: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file
        return True

    @property
    def held(self) -> bool:
        return self._file is not None

    def holder(self) -> str:
        with contextlib.suppress(OSError):
            return self._path.read_text("ascii")
        return ""

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
