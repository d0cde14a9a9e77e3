"""Exports page by page: an index that is away for a while, for good, a reader that leaves, and memory."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from gateway import log_export
from gateway.log_export import CutShort, Pace, streamed
from streams.batch import batch_of
from streams.errors import Retryable
from streams.record import Record
from streams.settings import Index as IndexSettings
from streams.settings import Settings
from streams.sinks.index.port import Index, Kind, Page, Query, open_index

A_PAGE = 2000
NOON = 1_795_608_000_000
ALL = Query(kind=Kind.LOGS, limit=A_PAGE, oldest_first=True)


class Failing:
    """A real index that is away on some of its searches."""

    def __init__(self, index: Index, away: set[int]) -> None:
        self._index = index
        self._away = away
        self.searches = 0

    async def search(self, query: Query) -> Page:
        self.searches += 1
        if self.searches in self._away:
            raise Retryable("index_away", "on purpose")
        return await self._index.search(query)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)


async def filled(folder: Path, count: int) -> Index:
    settings = Settings(data_dir=str(folder), index=IndexSettings(commit_interval_s=0.05))
    index = open_index(settings, writer=True)
    await index.open()
    for start in range(0, count, 20_000):
        numbers = range(start, min(count, start + 20_000))
        records = [Record("logs", 0, n, None, b'{"log":"line %d","n":%d}' % (n, n), NOON + n) for n in numbers]
        await index.write(Kind.LOGS, batch_of(records, topic_id="t"))
    return index


@pytest.fixture
async def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Index]:
    monkeypatch.setattr(log_export, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(log_export, "MAX_PAUSE_S", 0.001)
    monkeypatch.setattr(log_export, "MOST", A_PAGE)
    found = await filled(tmp_path, 3 * A_PAGE + 10)
    yield found
    await found.close()


async def test_an_index_that_is_away_for_a_while_is_asked_again(index: Index) -> None:
    failing = Failing(index, {2, 3, 5})
    first = await failing.search(ALL)
    body = b"".join([piece async for piece in streamed(failing, ALL, first, 0, "ndjson")])
    assert [orjson.loads(line)["record"]["n"] for line in body.splitlines()] == list(range(3 * A_PAGE + 10))


@pytest.mark.parametrize("form", ["text", "csv", "ndjson"])
async def test_an_export_that_cannot_go_on_says_so_and_is_cut(index: Index, form: str) -> None:
    failing = Failing(index, set(range(3, 1000)))
    first = await failing.search(ALL)
    pieces: list[bytes] = []

    async def read() -> None:
        async for piece in streamed(failing, ALL, first, 0, form):
            pieces.append(piece)  # noqa: PERF401  # those before the failure count

    with pytest.raises(CutShort):
        await read()
    assert f"cut short after {2 * A_PAGE} records: index_away".encode() in pieces[-1]
    assert failing.searches == 2 + log_export.TRIES


async def test_a_reader_that_leaves_ends_the_work(index: Index) -> None:
    counting = Failing(index, set())
    first = await counting.search(ALL)
    body = streamed(counting, ALL, first, 0, "text")
    await anext(body)
    await body.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert counting.searches == 1


async def test_a_limit_is_kept_over_pages(index: Index) -> None:
    first = await index.search(ALL)
    for limit in (1, A_PAGE, A_PAGE + 1, 10**6):
        body = b"".join([piece async for piece in streamed(index, ALL, first, limit, "lines")])
        assert body.count(b"\n") == min(limit, 3 * A_PAGE + 10)


def test_long_lines_make_short_pages() -> None:
    pace = Pace(500)
    pace.wrote(500, 500 * 400)
    assert pace.size == 1000
    pace.wrote(1000, 1000 * (2 << 20))
    assert pace.size == log_export.LEAST
    for _ in range(20):
        pace.wrote(pace.size, pace.size * 100)
    assert pace.size == log_export.MOST


@pytest.mark.long
async def test_an_export_takes_the_same_memory_however_long(tmp_path: Path) -> None:
    count = 400_000
    index = await filled(tmp_path, count)
    try:
        first = await index.search(ALL)
        seen, early = 0, 0
        async for piece in streamed(index, msgspec.structs.replace(ALL), first, 0, "ndjson"):
            seen += piece.count(b"\n")
            if not early and seen > count // 10:
                gc.collect()
                early = _anonymous_mib()
        assert seen == count
        assert _anonymous_mib() - early < 20
    finally:
        await index.close()


def _anonymous_mib() -> int:
    """Memory of this process's own: pages of the index's files are the system's to drop."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon:"))) // 1024
