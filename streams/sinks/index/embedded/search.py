"""One page of tantivy's answer to a query, in the port's order; and what it counts."""

from __future__ import annotations

from typing import Any

import tantivy
from tantivy import Order

from streams.sinks.index.embedded.compiled import all_of, between, compiled
from streams.sinks.index.embedded.schema import SCHEMA, decode_where, order_at, order_of
from streams.sinks.index.fields import decode
from streams.sinks.index.port import Hit, Page, Query
from streams.sinks.index.query import Position, cursor, limit, position

MAX_TIES = 10_000
"""Documents of one and the same sort number (a time and 20 bits of an offset) that a page may have to sort out."""


def check(query: Query) -> None:
    """Raises Invalid("query") for one that no index could answer."""
    compiled(query)
    position(query.cursor)


def page(searcher: tantivy.Searcher, query: Query) -> Page:
    """One page. Raises Invalid("query")."""
    wanted, size, after = compiled(query), limit(query), position(query.cursor)
    total = -1
    if query.count and (after is not None or not size):
        total = count(searcher, wanted)
    if not size or total == 0:
        return Page(items=[], total=total)
    found, hits = _following(searcher, wanted, after, size + 1, query)
    items = hits[:size]
    return Page(
        items=items,
        total=found if query.count and after is None else total,
        next=cursor(items[-1]) if len(hits) > size else "",
    )


def get(searcher: tantivy.Searcher, id: str) -> Hit | None:  # noqa: A002
    found = searcher.search(tantivy.Query.term_query(SCHEMA, "id", id, "basic"), 1, False).hits
    return _hit(searcher, found[0][1]) if found else None


def _following(
    searcher: tantivy.Searcher, wanted: tantivy.Query, after: Position | None, size: int, query: Query
) -> tuple[int, list[Hit]]:
    """How many match (when that is counted), and the first `size` hits after a position, in order of (time, offset,
    partition, id).

    tantivy sorts by one number, which equal hits share: those equal to the position's are looked at by themselves,
    and so are those equal to the last one found, of which only some may have been.
    """
    oldest_first = query.oldest_first
    hits: list[Hit] = []
    rest = wanted
    if after is not None:
        at = order_at(after)
        hits = [hit for hit in _equal(searcher, wanted, at) if _is_after(hit, after, oldest_first)]
        bounds = (at + 1, (1 << 64) - 1) if oldest_first else (0, max(at - 1, 0))
        rest = all_of([wanted, between("order", *bounds)]) if at or oldest_first else tantivy.Query.empty_query()
    order = Order.Asc if oldest_first else Order.Desc
    counted = query.count and after is None
    found: Any = searcher.search(rest, size, counted, order_by_field="order", order=order)
    if len(found.hits) == size:
        last = found.hits[-1][0]
        hits += [_hit(searcher, address) for number, address in found.hits if number != last]
        hits += _equal(searcher, wanted, last)
    else:
        hits += [_hit(searcher, address) for _, address in found.hits]
    return int(found.count or 0), sorted(hits, key=_key, reverse=not oldest_first)[:size]


def count(searcher: tantivy.Searcher, wanted: tantivy.Query) -> int:
    found: Any = searcher.search(wanted, 1, True)
    return int(found.count)


def _equal(searcher: tantivy.Searcher, wanted: tantivy.Query, number: int) -> list[Hit]:
    equal = all_of([wanted, between("order", number, number)])
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
