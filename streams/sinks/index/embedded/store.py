"""One kind's folder, a tantivy index a day in it: written by one process, read by any. Blocking; for threads."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import tantivy

from streams.errors import Retryable
from streams.sinks.index.embedded.days import Day, name_of, within
from streams.sinks.index.embedded.folders import META, days_in, other_version
from streams.sinks.index.embedded.schema import ANALYZERS, SCHEMA

BLOCK_BYTES = 64 << 10
"""Stored records compressed together: a tenth less on disk than with tantivy's 16 KiB, for pages as fast."""


def opened(path: Path, *, create: bool) -> tantivy.Index | None:
    """The index in `path`; None when there is none and it is not to be created. Raises Fatal, Retryable."""
    try:
        if create:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (path / META).exists():
                _make(path)
        elif not (path / META).exists():
            return None
        index = tantivy.Index(SCHEMA, str(path), reuse=True)
        index.config_reader("manual")
    except OSError as error:
        raise Retryable("index_folder", f"{path}: {error.strerror}") from None
    except ValueError as error:
        if "schema" in str(error).lower():
            raise other_version(path) from None
        raise Retryable("index_folder", f"{path}: {error}") from None
    for name, analyzer in ANALYZERS.items():
        index.register_tokenizer(name, analyzer)
    return index


def _make(path: Path) -> None:
    """A new, empty index. The size of its blocks cannot be asked for, but is in the file that says what it is."""
    tantivy.Index(SCHEMA, str(path), reuse=True)
    file = path / META
    meta = msgspec.json.decode(file.read_bytes())
    meta["index_settings"]["docstore_blocksize"] = BLOCK_BYTES
    draft = file.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(meta))
    draft.replace(file)


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


class Shelf:
    """The days of one kind, for reading. One thread at a time may list them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._readers: dict[int, Reader] = {}
        self._lock = threading.Lock()

    def days(self, start_ms: int = 0, end_ms: int = 0) -> list[Day]:
        """Those that overlap [start_ms, end_ms), newest first, as of their last commit. Raises Retryable, Fatal."""
        with self._lock:
            present = days_in(self._path)
            for day in self._readers.keys() - present:
                del self._readers[day]
            wanted = within(present, start_ms, end_ms)
            readers = [(day, self._readers.setdefault(day, Reader(self._path / name_of(day)))) for day in wanted]
        found = ((day, reader.searcher()) for day, reader in readers)
        return [Day(day, searcher) for day, searcher in found if searcher is not None]


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
