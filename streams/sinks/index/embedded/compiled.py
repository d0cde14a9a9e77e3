"""A `Query` as tantivy's."""

from __future__ import annotations

from collections.abc import Iterable

import tantivy
from tantivy import FieldType, Occur

from streams.errors import Invalid
from streams.sinks.index.embedded.schema import SCHEMA, SIMPLE, STANDARD, order_of, tokens
from streams.sinks.index.ids import MAX_TIME_MS
from streams.sinks.index.language import And, Between, During, Has, Is, Like, Node, Not, Or, Word, Words
from streams.sinks.index.language_fields import HAS, NUMBER, TEXT
from streams.sinks.index.language_numbers import keys
from streams.sinks.index.language_parser import DRAWN, tree
from streams.sinks.index.language_pattern import ANYTHING, Sequence, literal, rust
from streams.sinks.index.port import Query
from streams.sinks.index.query import FILTERS, Keyword

OWN = "own"


def compiled(query: Query) -> tantivy.Query:
    """Raises Invalid("query")."""
    parts = [terms(field, getattr(query, field)) for field in FILTERS if getattr(query, field)]
    if (asked := tree(query)) is not None:
        parts.append(_node(asked))
    places = ((place, getattr(query, place)) for place in ("partition", "offset"))
    parts += [between(place, at, at) for place, at in places if at >= 0]
    if query.start_ms > 0 or query.end_ms > 0:
        parts.append(_during(query.start_ms, query.end_ms))
    return all_of(parts)


def all_of(parts: list[tantivy.Query]) -> tantivy.Query:
    if not parts:
        return tantivy.Query.all_query()
    return parts[0] if len(parts) == 1 else tantivy.Query.boolean_query([(Occur.Must, part) for part in parts])


def terms(field: str, values: Iterable[str]) -> tantivy.Query:
    found = list(values)
    if len(found) == 1:
        return tantivy.Query.term_query(SCHEMA, field, found[0], "basic")
    return tantivy.Query.term_set_query(SCHEMA, field, found)


def between(field: str, lowest: int, highest: int) -> tantivy.Query:
    if lowest > highest:
        return tantivy.Query.empty_query()
    return tantivy.Query.range_query(SCHEMA, field, FieldType.Unsigned, lowest, highest)


def _node(node: Node) -> tantivy.Query:
    if isinstance(node, And):
        return all_of([_node(part) for part in node.parts])
    if isinstance(node, Or):
        return tantivy.Query.boolean_query([(Occur.Should, _node(part)) for part in node.parts])
    if isinstance(node, Not):
        everything = tantivy.Query.all_query()
        return tantivy.Query.boolean_query([(Occur.Must, everything), (Occur.MustNot, _node(node.part))])
    return _leaf(node)


def _leaf(node: Node) -> tantivy.Query:
    if isinstance(node, Words):
        return _keyword(node.keyword)
    if isinstance(node, Word):
        patterns = [_regex(field, rust(node.pattern)) for field in ("text", "words")]
        return tantivy.Query.boolean_query([(Occur.Should, each) for each in patterns])
    if isinstance(node, During):
        return _during(node.start_ms, node.end_ms)
    if isinstance(node, Between):
        pattern = keys(node)
        return _regex(OWN, f"{_stem(node.field + NUMBER)}(?:{pattern})") if pattern else tantivy.Query.empty_query()
    if isinstance(node, Is):
        drawn = node.field in DRAWN
        return terms(
            node.field if drawn else OWN, node.values if drawn else [node.field + TEXT + v for v in node.values]
        )
    if isinstance(node, Has):
        return _regex(node.field, rust(ANYTHING)) if node.field in DRAWN else terms(OWN, (HAS + node.field,))
    if isinstance(node, Like):
        if node.field in DRAWN:
            return _regex(node.field, rust(node.pattern))
        return _regex(OWN, _stem(node.field + TEXT) + rust(Sequence((node.pattern,))))
    raise TypeError(type(node))


def _stem(text: str) -> str:
    return rust(literal(text))


def _during(start_ms: int, end_ms: int) -> tantivy.Query:
    end = end_ms if end_ms > 0 else MAX_TIME_MS + 1
    return between("order", order_of(start_ms, 0), order_of(end, 0) - 1 if end_ms > 0 else (1 << 64) - 1)


def _regex(field: str, pattern: str) -> tantivy.Query:
    try:
        return tantivy.Query.regex_query(SCHEMA, field, pattern)
    except ValueError as error:
        raise Invalid("query", f"this pattern costs too much: {error}"[:200]) from None


def _keyword(keyword: Keyword) -> tantivy.Query:
    alternatives = []
    if keyword.is_word:
        alternatives.append(_phrase("words", tokens(SIMPLE, keyword.text), "basic"))
    if not keyword.is_word or not keyword.text.isascii():
        alternatives.append(_phrase("text", tokens(STANDARD, keyword.text), "position"))
    if len(alternatives) == 1:
        return alternatives[0]
    return tantivy.Query.boolean_query([(Occur.Should, each) for each in alternatives])


def _phrase(field: str, words: list[str], index_option: str) -> tantivy.Query:
    if not words:
        return tantivy.Query.empty_query()
    if len(words) == 1:
        return tantivy.Query.term_query(SCHEMA, field, words[0], index_option)
    return tantivy.Query.phrase_query(SCHEMA, field, list(words))
