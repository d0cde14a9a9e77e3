"""The tantivy adapter of the search index port: `<data_dir>/index/<kind>/<day>`, an index a day (see days.py).

One process writes; it holds a lock for as long as it lives. Reading processes see every commit with their next search.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import tantivy

from streams.batch import Batch
from streams.errors import Fatal, Invalid, Retryable
from streams.settings import Settings
from streams.sinks.index.embedded import counting, search
from streams.sinks.index.embedded.commits import Commits
from streams.sinks.index.embedded.compiled import compiled
from streams.sinks.index.embedded.days import NEWER, OLDER, Day, day_of, name_of, paged, searchers, span
from streams.sinks.index.embedded.folders import DRAFT, leftovers, nbytes, share_deleted, swap
from streams.sinks.index.embedded.store import Lock, Shelf
from streams.sinks.index.embedded.writer import Writer
from streams.sinks.index.language import Node
from streams.sinks.index.language_parser import counted_field
from streams.sinks.index.port import Hit, Kind, Page, Query, Stored, Top
from streams.sinks.index.query import COUNTED

T = TypeVar("T")
LOCK_WAIT_S = 10.0
"""How long a starting writer waits for one that is just ending."""
READERS = 2
MAX_BUCKETS = 10_000
REWRITE_SHARE = 0.5
"""Deleted documents of a day beyond which it is written anew: tantivy gives their disk back in no other way."""


class EmbeddedIndex:
    def __init__(self, settings: Settings, *, writer: bool, lock_wait_s: float = LOCK_WAIT_S) -> None:
        self.folder = folder(settings)
        self._is_writer = writer
        self._lock_wait_s = lock_wait_s
        self._interval_s = settings.index.commit_interval_s
        self._lock = Lock(self.folder)
        self._shelves = {kind: Shelf(self.folder / kind.value) for kind in Kind}
        self._writers: dict[Kind, _Writing] = {}
        self._pool = ThreadPoolExecutor(READERS, "index-read")
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Take the writer's lock. Raises Fatal("index_locked") when another process keeps it."""
        if not self._is_writer:
            return
        async with self._opening:
            deadline = time.monotonic() + self._lock_wait_s
            while not self._lock.held and not self._lock.acquire():
                if time.monotonic() > deadline:
                    holder = self._lock.holder()
                    raise Fatal("index_locked", f"process {holder} writes to {self.folder}; only one can")
                await asyncio.sleep(0.1)
            for kind in Kind:
                for path in leftovers(self.folder / kind.value):
                    await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    async def close(self) -> None:
        writers, self._writers = self._writers, {}
        await asyncio.gather(*(writing.close() for writing in writers.values()))
        self._pool.shutdown(wait=False)
        self._lock.release()

    async def write(self, kind: Kind, batch: Batch) -> None:
        if not self._lock.held and self._is_writer:
            await self.open()
        bad = await self._writing(kind).put(batch)
        if bad:
            raise Invalid("refused", next(iter(bad.values())), bad)

    def _writing(self, kind: Kind) -> _Writing:
        if not self._is_writer:
            raise Fatal("index_read_only", "this process opened the index for reading")
        if not self._lock.held:
            raise Retryable("index_folder", f"{self.folder} is not open yet")
        if kind not in self._writers:
            self._writers[kind] = _Writing(Writer(self.folder / kind.value, kind), self._interval_s)
        return self._writers[kind]

    async def search(self, query: Query) -> Page:
        search.check(query)
        return await self._answer(query, lambda days: paged(days, query, search.page))

    async def histogram(self, query: Query, step_ms: int) -> dict[int, int]:
        search.check(query)
        return await self._answer(query, lambda days: counting.histogram(searchers(days), query, step_ms))

    async def top(self, query: Query, field: str, limit: int) -> Top:
        search.check(query)
        name = counted_field(field)
        return await self._answer(query, lambda days: counting.top(searchers(days), query, name, limit))

    async def containers(self, query: Query) -> int:
        search.check(query)
        return await self._answer(query, lambda days: counting.containers(searchers(days), query))

    async def get(self, kind: Kind, id: str) -> Hit | None:  # noqa: A002
        def look(days: list[Day]) -> Hit | None:
            return next((hit for day in days if (hit := search.get(day.searcher, id))), None)

        return await self._ask(kind, look)

    async def counts(self, kind: Kind, by: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
        if not set(by) <= COUNTED:
            raise Invalid("query", f"counts are by {', '.join(sorted(COUNTED))}")

        def count(days: list[Day]) -> dict[tuple[str, ...], int]:
            total: Counter[tuple[str, ...]] = Counter({} if by else {(): 0})
            for day in days:
                total.update(_counts(day.searcher, by))
            return dict(total)

        return await self._ask(kind, count)

    async def ping(self) -> None:
        await self._ask(Kind.LOGS, len)

    async def stored(self) -> list[Stored]:
        found = await asyncio.gather(*(self._ask(kind, partial(_stored, self.folder, kind)) for kind in Kind))
        return sorted((each for part in found for each in part), key=lambda each: (each.from_ms, each.name))

    async def places(self, stored: Stored) -> set[tuple[str, str]] | None:
        def look(days: list[Day]) -> set[tuple[str, str]] | None:
            pairs = {pair for day in days for pair in _counts(day.searcher, ("cluster", "namespace"))}
            return {(pair[0], pair[1]) for pair in pairs} if len(pairs) < MAX_BUCKETS else None

        return await self._ask(stored.kind, look, stored.from_ms, stored.to_ms)

    async def remove(self, stored: Stored) -> None:
        await self._writing(stored.kind).remove(number(stored))

    async def remove_part(self, stored: Stored, matching: Node) -> int:
        query = Query(kind=stored.kind, where=matching, start_ms=stored.from_ms, end_ms=stored.to_ms, limit=0)
        found = (await self.search(query)).total
        if found:
            writing = self._writing(stored.kind)
            await writing.delete(number(stored), compiled(query))
            if share_deleted(self.folder / stored.name) > REWRITE_SHARE:
                await writing.rewrite(number(stored))
        return found

    async def _answer(self, query: Query, ask: Callable[[list[Day]], T]) -> T:
        return await self._ask(query.kind, ask, query.start_ms, query.end_ms)

    async def _ask(self, kind: Kind, ask: Callable[[list[Day]], T], start_ms: int = 0, end_ms: int = 0) -> T:
        """What `ask`, in a thread, makes of the days that overlap [start_ms, end_ms) (0: no bound), newest first.

        Each day is an index of its own: `ask` puts the answers of their searchers together.
        """

        def work() -> T:
            try:
                return ask(self._shelves[kind].days(start_ms, end_ms))
            except ValueError as error:
                raise Retryable("index_read", str(error)[:300]) from None

        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


class _Writing:
    """A writer and the one thread it is used by."""

    def __init__(self, writer: Writer, interval_s: float) -> None:
        self._writer = writer
        self._pool = ThreadPoolExecutor(1, "index-write")
        self._commits = Commits(self._commit, lambda: writer.pending, interval_s, time.monotonic)

    async def put(self, batch: Batch) -> dict[int, str]:
        bad, generation = await self._run(lambda: (self._writer.put(batch), self._writer.generation))
        await self._commits.done()
        if self._writer.generation != generation:
            raise Retryable("index_commit", "what was written was thrown away by an earlier failure")
        return bad

    async def remove(self, day: int) -> None:
        await self._run(lambda: self._writer.remove(day))

    async def rewrite(self, day: int) -> None:
        """Write a day anew, in a process of its own; meanwhile nothing can be put into it. Raises Retryable."""
        path, kind = self._writer.folder(day), self._writer.kind
        draft = path.with_name(path.name + DRAFT)
        command = [sys.executable, "-m", "streams.sinks.index.embedded.rewrite", kind.value, str(path), str(draft)]
        await self._run(lambda: self._writer.shut(day))
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
            try:
                status = await process.wait()
            except asyncio.CancelledError:
                process.kill()
                raise
            if status:
                raise Retryable("index_rewriting", f"{path} could not be written anew: exit status {status}")
            await self._run(lambda: swap(path, draft))
        finally:
            self._writer.closed_days.discard(day)
            shutil.rmtree(draft, ignore_errors=True)

    async def delete(self, day: int, matching: tantivy.Query) -> None:
        generation = self._writer.generation
        await self._run(lambda: self._writer.delete(day, matching))
        await self._commits.done()
        if self._writer.generation != generation:
            raise Retryable("index_commit", "what was deleted was thrown away by an earlier failure")

    async def close(self) -> None:
        await self._commits.close()
        await self._run(self._writer.close)
        self._pool.shutdown(wait=False)

    async def _commit(self) -> None:
        await self._run(self._writer.commit)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def folder(settings: Settings) -> Path:
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(settings.data_dir or f"{home}/eventsphere").expanduser() / "index"


def _stored(home: Path, kind: Kind, days: list[Day]) -> list[Stored]:
    def of(day: Day) -> Stored:
        name, (first, end) = name_of(day.number), span(day.number)
        return Stored(
            name=f"{kind}/{name}",
            kind=kind,
            dated=day.number not in (OLDER, NEWER),
            from_ms=first,
            to_ms=end,
            documents=day.searcher.num_docs,
            nbytes=nbytes(home / kind.value / name),
        )

    return [of(day) for day in days]


def number(stored: Stored) -> int:
    return day_of(stored.from_ms)


def _counts(searcher: tantivy.Searcher, by: tuple[str, ...]) -> dict[tuple[str, ...], int]:
    if not by:
        return {(): searcher.num_docs}
    request: dict[str, Any] = {}
    for field in reversed(by):
        inner = {"aggs": request} if request else {}
        request = {"by": {"terms": {"field": field, "size": MAX_BUCKETS, "missing": ""}} | inner}
    out: dict[tuple[str, ...], int] = {}
    _collect(searcher.aggregate(tantivy.Query.all_query(), request), (), len(by), out)
    return out


def _collect(found: dict[str, Any], above: tuple[str, ...], depth: int, out: dict[tuple[str, ...], int]) -> None:
    for bucket in found["by"]["buckets"]:
        key = (*above, str(bucket["key"]))
        if depth == 1:
            out[key] = bucket["doc_count"]
        else:
            _collect(bucket, key, depth - 1, out)
