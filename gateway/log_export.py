"""Log records as a stream of any length: page by page in constant memory, as text, CSV or NDJSON."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import msgspec
import orjson
import structlog

from gateway.lists import shown
from schemas.base import rfc3339
from streams.errors import Failure, Retryable
from streams.sinks.index.port import Hit, Index, Page, Query

log = structlog.get_logger(__name__)

A_PAGE, LEAST, MOST = 500, 20, 5000
"""Records of the first page, and of the smallest and largest of the following."""
PAGE_BYTES = 4 << 20
"""What a page should come to: long lines make short pages."""
TRIES = 8
FIRST_PAUSE_S = 0.25
MAX_PAUSE_S = 8.0
COLUMNS = ("time", "cluster", "namespace", "pod", "container", "level", "log", "id")
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a cell that a spreadsheet would run: they get a quote in front."""
Render = Callable[[Iterable[Hit]], bytes]


class CutShort(Exception):
    """The stream ends before its end: the connection is cut so that nobody takes it for whole."""


class Pace:
    """How many records the next page is of: twice as many at most as the last, as many as `PAGE_BYTES` hold."""

    def __init__(self, size: int) -> None:
        self.size = size

    def wrote(self, count: int, nbytes: int) -> None:
        fitting = PAGE_BYTES * count // max(1, nbytes)
        self.size = max(LEAST, min(MOST, 2 * self.size, fitting))


async def pages(index: Index, query: Query, first: Page, limit: int, pace: Pace) -> AsyncIterator[list[Hit]]:
    """Every page from `first` on, `limit` records at most (0: all). An index that is away is asked again for a while;
    raises Failure when it stays so."""
    page, left = first, limit
    while True:
        items = page.items[:left] if limit else page.items
        if items:
            yield items
        left -= len(items)
        if not page.next or (limit and left <= 0):
            return
        page = await patiently(index, msgspec.structs.replace(query, cursor=page.next, count=False, limit=pace.size))


async def patiently(index: Index, query: Query) -> Page:
    for attempt in range(TRIES):
        try:
            return await index.search(query)
        except Retryable:
            if attempt == TRIES - 1:
                raise
            await asyncio.sleep(min(MAX_PAUSE_S, FIRST_PAUSE_S * 2**attempt))
    raise AssertionError("unreachable")


async def streamed(index: Index, query: Query, first: Page, limit: int, format_: str) -> AsyncIterator[bytes]:
    """The body of an export. What breaks it off is said in a last line, and the connection is cut."""
    render, head, problem = FORMATS[format_]
    count, pace = 0, Pace(query.limit)
    if head:
        yield head
    try:
        async for hits in pages(index, query, first, limit, pace):
            piece = render(hits)
            yield piece
            count += len(hits)
            pace.wrote(len(hits), len(piece))
    except Failure as error:
        log.warning("export.cut_short", reason=error.reason, records=count)
        yield problem(f"cut short after {count} records: {error.reason}")
        raise CutShort(error.reason) from error


def line_of(record: Mapping[str, Any]) -> str:
    """The text of a record: its line, or whole as JSON when it has none."""
    for name in ("log", "message", "msg"):
        found = record.get(name)
        if isinstance(found, str):
            return found
    return orjson.dumps(record).decode()


def places_of(record: Mapping[str, Any]) -> dict[str, str]:
    about = record.get("kubernetes")
    inside = about if isinstance(about, dict) else {}
    names = {name: inside.get(f"{name}_name") for name in ("namespace", "pod", "container")}
    found = {"cluster": record.get("cluster"), "level": record.get("level"), **names}
    return {name: value if isinstance(value, str) else "" for name, value in found.items()}


def plain(text: str) -> str:
    """A line without colours and line ends."""
    return ANSI.sub("", text).rstrip("\r\n")


def _text(hits: Iterable[Hit]) -> bytes:
    out = []
    for hit in hits:
        at = places_of(hit.record)
        where = "/".join(filter(None, (at["namespace"], at["pod"], at["container"]))) or "-"
        out.append(f"{rfc3339(hit.time_ms)} {where} {plain(line_of(hit.record))}\n")
    return "".join(out).encode("utf-8", "replace")


def lines_only(hits: Iterable[Hit]) -> bytes:
    return "".join(f"{plain(line_of(hit.record))}\n" for hit in hits).encode("utf-8", "replace")


def _csv(hits: Iterable[Hit]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    for hit in hits:
        row = {**places_of(hit.record), "time": rfc3339(hit.time_ms), "log": plain(line_of(hit.record)), "id": hit.id}
        writer.writerow([_cell(row[name]) for name in COLUMNS])
    return out.getvalue().encode("utf-8", "replace")


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _ndjson(hits: Iterable[Hit]) -> bytes:
    return b"".join(orjson.dumps(shown(hit)) + b"\n" for hit in hits)


FORMATS: dict[str, tuple[Render, bytes, Callable[[str], bytes]]] = {
    "text": (_text, b"", lambda why: f"# {why}\n".encode()),
    "lines": (lines_only, b"", lambda why: f"# {why}\n".encode()),
    "csv": (_csv, (",".join(COLUMNS) + "\r\n").encode(), lambda why: f"# {why}\r\n".encode()),
    "ndjson": (_ndjson, b"", lambda why: orjson.dumps({"problem": why}) + b"\n"),
}
"""Name -> how records are written, what stands before the first, how the last line tells of a failure."""
TYPES = {
    "text": "text/plain; charset=utf-8",
    "lines": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
}
