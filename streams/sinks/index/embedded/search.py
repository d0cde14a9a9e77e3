"""A `Query` as tantivy's, and one page of its answer in the port's order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tantivy
from tantivy import FieldType, Occur, Order

from streams.sinks.index.embedded.schema import SCHEMA, SIMPLE, STANDARD, decode_where, order_at, order_of, tokens
from streams.sinks.index.fields import decode
from streams.sinks.index.ids import MAX_TIME_MS
from streams.sinks.index.port import Hit, Page, Query
from streams.sinks.index.query import FILTERS, Keyword, Position, cursor, keywords, limit, position

MAX_TIES = 10_000
"""Documents of one and the same sort number (a time and 20 bits of an offset) that a page may have to sort out."""


def compiled(query: Query) -> tantivy.Query:
    """Raises Invalid("query")."""
    parts = [_terms(field, getattr(query, field)) for field in FILTERS if getattr(query, field)]
    parts += [_keyword(keyword) for keyword in keywords(query.text)]
    for place in ("partition", "offset"):
        if (at := getattr(query, place)) >= 0:
            parts.append(_between(place, at, at))
    if query.start_ms > 0 or query.end_ms > 0:
        end = query.end_ms if query.end_ms > 0 else MAX_TIME_MS
        parts.append(_between("order", order_of(query.start_ms, 0), order_of(end, 0) - 1))
    return _all(parts)


def check(query: Query) -> None:
    """Raises Invalid("query") for one that no index could answer."""
    compiled(query)
    position(query.cursor)


def page(searcher: tantivy.Searcher, query: Query) -> Page:
    """One page. Raises Invalid("query")."""
    wanted = compiled(query)
    total = _count(searcher, wanted)
    size = limit(query)
    if not size or not total:
        return Page(items=[], total=total)
    hits = _following(searcher, wanted, position(query.cursor), size + 1, query.oldest_first)
    items = hits[:size]
    return Page(items=items, total=total, next=cursor(items[-1]) if len(hits) > size else "")


def get(searcher: tantivy.Searcher, id: str) -> Hit | None:  # noqa: A002
    found = searcher.search(tantivy.Query.term_query(SCHEMA, "id", id, "basic"), 1, False).hits
    return _hit(searcher, found[0][1]) if found else None


def _following(
    searcher: tantivy.Searcher, wanted: tantivy.Query, after: Position | None, size: int, oldest_first: bool
) -> list[Hit]:
    """The first `size` hits after a position, in order of (time, offset, partition, id).

    tantivy sorts by one number, which equal hits share: those equal to the position's are looked at by themselves,
    and so are those equal to the last one found, of which only some may have been.
    """
    hits: list[Hit] = []
    rest = wanted
    if after is not None:
        at = order_at(after)
        hits = [hit for hit in _equal(searcher, wanted, at) if _is_after(hit, after, oldest_first)]
        bounds = (at + 1, (1 << 64) - 1) if oldest_first else (0, max(at - 1, 0))
        rest = _all([wanted, _between("order", *bounds)]) if at or oldest_first else tantivy.Query.empty_query()
    found = _sorted_by_number(searcher, rest, size, oldest_first)
    if len(found) == size:
        last = found[-1][0]
        hits += [_hit(searcher, address) for number, address in found if number != last]
        hits += _equal(searcher, wanted, last)
    else:
        hits += [_hit(searcher, address) for _, address in found]
    return sorted(hits, key=_key, reverse=not oldest_first)[:size]


def _count(searcher: tantivy.Searcher, wanted: tantivy.Query) -> int:
    found: Any = searcher.search(wanted, 1, True)
    return int(found.count)


def _sorted_by_number(
    searcher: tantivy.Searcher, wanted: tantivy.Query, size: int, oldest_first: bool
) -> list[tuple[int, Any]]:
    order = Order.Asc if oldest_first else Order.Desc
    return searcher.search(wanted, size, False, order_by_field="order", order=order).hits


def _equal(searcher: tantivy.Searcher, wanted: tantivy.Query, number: int) -> list[Hit]:
    equal = _all([wanted, _between("order", number, number)])
    return [_hit(searcher, address) for _, address in searcher.search(equal, MAX_TIES, False).hits]


def _key(hit: Hit) -> tuple[int, int, int, int, str]:
    return (order_of(hit.time_ms, hit.offset), hit.time_ms, hit.offset, hit.partition, hit.id)


def _is_after(hit: Hit, after: Position, oldest_first: bool) -> bool:
    ours, theirs = _key(hit), (order_at(after), *after)
    return ours > theirs if oldest_first else ours < theirs


def _hit(searcher: tantivy.Searcher, address: Any) -> Hit:
    stored: Any = searcher.doc(address)
    where = decode_where(stored.get_first("where"))
    return Hit(
        id=where.id,
        time_ms=where.time_ms,
        topic=where.topic,
        partition=where.partition,
        offset=where.offset,
        record=decode(stored.get_first("value")),
    )


def _terms(field: str, values: Iterable[str]) -> tantivy.Query:
    return tantivy.Query.term_set_query(SCHEMA, field, list(values))


def _keyword(keyword: Keyword) -> tantivy.Query:
    alternatives = []
    if keyword.is_word:
        alternatives.append(_phrase("words", tokens(SIMPLE, keyword.text), "basic"))
    if not keyword.is_word or not keyword.text.isascii():
        alternatives.append(_phrase("text", tokens(STANDARD, keyword.text), "position"))
    return tantivy.Query.boolean_query([(Occur.Should, each) for each in alternatives])


def _phrase(field: str, words: list[Any], index_option: str) -> tantivy.Query:
    if not words:
        return tantivy.Query.empty_query()
    if len(words) == 1:
        return tantivy.Query.term_query(SCHEMA, field, words[0], index_option)
    return tantivy.Query.phrase_query(SCHEMA, field, words)


def _between(field: str, lowest: int, highest: int) -> tantivy.Query:
    if lowest > highest:
        return tantivy.Query.empty_query()
    return tantivy.Query.range_query(SCHEMA, field, FieldType.Unsigned, lowest, highest)


def _all(parts: list[tantivy.Query]) -> tantivy.Query:
    if not parts:
        return tantivy.Query.all_query()
    return tantivy.Query.boolean_query([(Occur.Must, part) for part in parts])
