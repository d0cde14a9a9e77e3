"""One kind's documents lie in an index a day (UTC), in folders `<kind>/2026.11.24`: a day goes as a whole, at once, and
a question about an hour opens one of them. Which day is a function of the record's time alone. Pure.

Every day is asked by itself, newest first; what they answer is put together here. Days do not overlap in time, so
pages follow each other; counts add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import msgspec
import tantivy

from streams.sinks.index.ids import DAY_MS, MAX_TIME_MS, NEWEST_MS, OLDEST_MS
from streams.sinks.index.language import And, During, Node, Not, Or
from streams.sinks.index.port import Hit, Page, Query
from streams.sinks.index.query import cursor, limit, position

T = TypeVar("T")
OLDER, NEWER = -1, 1 << 30
"""The days of times that cannot be right: before 2000, from 2100 on."""
_NAMED = {OLDER: "older", NEWER: "newer"}
_NUMBERED = {name: day for day, name in _NAMED.items()}
_FORM = "%Y.%m.%d"


class Day(NamedTuple):
    """A day's index, to be asked."""

    number: int
    searcher: tantivy.Searcher


def searchers(days: Sequence[Day]) -> list[tantivy.Searcher]:
    return [day.searcher for day in days]


def day_of(time_ms: int) -> int:
    """Days since the epoch, or one of the two for times that cannot be right."""
    if time_ms < OLDEST_MS:
        return OLDER
    return NEWER if time_ms >= NEWEST_MS else time_ms // DAY_MS


def name_of(day: int) -> str:
    return _NAMED.get(day) or datetime.fromtimestamp(day * 86_400, UTC).strftime(_FORM)


def number_of(name: str) -> int | None:
    """The day a folder is named for; None for a folder of another purpose."""
    if name in _NUMBERED:
        return _NUMBERED[name]
    try:
        return int(datetime.strptime(name, _FORM).replace(tzinfo=UTC).timestamp()) // 86_400
    except ValueError:
        return None


def span(day: int) -> tuple[int, int]:
    """[first, last + 1) of the times in it, ms."""
    if day == OLDER:
        return 0, OLDEST_MS
    return (NEWEST_MS, MAX_TIME_MS + 1) if day == NEWER else (day * DAY_MS, (day + 1) * DAY_MS)


def within(numbers: Iterable[int], start_ms: int, end_ms: int) -> list[int]:
    """The days that overlap [start_ms, end_ms), newest first; 0 stands for no bound."""

    def overlaps(day: int) -> bool:
        first, end = span(day)
        return end > start_ms and (end_ms <= 0 or first < end_ms)

    return sorted((day for day in numbers if overlaps(day)), reverse=True)


def narrowed(node: Node | None, first_ms: int, end_ms: int) -> Node | bool:
    """What is left to ask of documents whose times are all in [first, end): True when every one fits, False when none
    can. It is what keeps the filter of what has expired away from days it says nothing about."""
    if node is None:
        return True
    if isinstance(node, During):
        if node.start_ms <= first_ms and not 0 < node.end_ms < end_ms:
            return True
        return node if node.start_ms < end_ms and not 0 < node.end_ms <= first_ms else False
    if isinstance(node, Not):
        inner = narrowed(node.part, first_ms, end_ms)
        return not inner if isinstance(inner, bool) else Not(inner)
    if isinstance(node, And | Or):
        settles = isinstance(node, Or)
        parts = [narrowed(part, first_ms, end_ms) for part in node.parts]
        if any(part is settles for part in parts):
            return settles
        left = tuple(part for part in parts if not isinstance(part, bool))
        if len(left) < 2:
            return left[0] if left else not settles
        return type(node)(left)
    return node


def paged(days: Sequence[Day], query: Query, page: Callable[[tantivy.Searcher, Query], Page]) -> Page:
    """One page over all days (newest first) out of the pages that `page` makes of each."""
    after, size = position(query.cursor), limit(query)
    before = day_of(after.time_ms) if after else None
    items: list[Hit] = []
    total, more = 0, False
    for day in reversed(days) if query.oldest_first else days:
        passed = before is not None and (day.number < before if query.oldest_first else day.number > before)
        left = 0 if passed else size - len(items)
        if not query.count and (passed or (more and not left)):
            continue
        where = narrowed(query.where, *span(day.number))
        if where is False:
            continue
        # A page that does not count says by its `next` alone whether there is more: ask for one to know.
        peek = not query.count and not left and size > 0
        at = query.cursor if day.number == before else ""
        left_of_it = None if isinstance(where, bool) else where
        asked = msgspec.structs.replace(query, where=left_of_it, limit=1 if peek else left, cursor=at)
        found = page(day.searcher, asked)
        more = more or bool(found.next) or (not passed and not left and (found.total > 0 or bool(found.items)))
        items += [] if peek else found.items
        total += found.total
    return Page(items=items, total=total if query.count else -1, next=cursor(items[-1]) if more and items else "")
