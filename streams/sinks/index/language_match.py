"""Whether a record matches a query: what live tails filter by, and what the engines are compared with. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import re2

from streams.sinks.index.embedded.schema import SIMPLE, STANDARD, tokens
from streams.sinks.index.fields import Fields
from streams.sinks.index.language import And, Between, During, Has, Is, Like, Node, Not, Or, Word, Words
from streams.sinks.index.language_fields import HAS, NUMBER, TEXT, number_key
from streams.sinks.index.language_parser import DRAWN
from streams.sinks.index.language_pattern import Pattern, rust
from streams.sinks.index.query import Keyword


class Matcher:
    """A tree made ready to be evaluated on many records."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._patterns: dict[Pattern, re2._Regexp] = {}

    def __call__(self, drawn: Fields, time_ms: int) -> bool:
        return self._holds(self._node, drawn, time_ms)

    def _holds(self, node: Node, drawn: Fields, time_ms: int) -> bool:
        if isinstance(node, And):
            return all(self._holds(part, drawn, time_ms) for part in node.parts)
        if isinstance(node, Or):
            return any(self._holds(part, drawn, time_ms) for part in node.parts)
        if isinstance(node, Not):
            return not self._holds(node.part, drawn, time_ms)
        if isinstance(node, During):
            return node.start_ms <= time_ms and not 0 < node.end_ms <= time_ms
        if isinstance(node, Words):
            return any(_occurs(node.keyword, text) for text in drawn.text)
        if isinstance(node, Word):
            return any(self._like(node.pattern, _words(text)) for text in drawn.text)
        if isinstance(node, Is):
            return not set(node.values).isdisjoint(_values(drawn, node.field))
        if isinstance(node, Like):
            return self._like(node.pattern, _values(drawn, node.field))
        if isinstance(node, Has):
            return bool(getattr(drawn, node.field)) if node.field in DRAWN else HAS + node.field in drawn.own
        return _is_between(node, drawn)

    def _like(self, pattern: Pattern, values: Iterable[str]) -> bool:
        found = self._patterns.get(pattern)
        if found is None:
            options = re2.Options()
            options.never_nl = False
            options.log_errors = False
            found = self._patterns[pattern] = re2.compile(rust(pattern), options)
        return any(found.fullmatch(value) for value in values)


def _occurs(keyword: Keyword, text: str) -> bool:
    if keyword.is_word and set(tokens(SIMPLE, keyword.text)) & set(tokens(SIMPLE, text)):
        return True
    if keyword.is_word and keyword.text.isascii():
        return False
    wanted, there = tokens(STANDARD, keyword.text), tokens(STANDARD, text)
    return bool(wanted) and any(there[at : at + len(wanted)] == wanted for at in range(len(there) - len(wanted) + 1))


def _words(text: str) -> Iterable[str]:
    return {*tokens(SIMPLE, text), *tokens(STANDARD, text)}


def _values(drawn: Fields, field: str) -> Iterable[str]:
    if field in DRAWN:
        return getattr(drawn, field)  # type: ignore[no-any-return]  # a tuple of words, by its name
    stem = field + TEXT
    return [term[len(stem) :] for term in drawn.own if term.startswith(stem)]


def _is_between(node: Between, drawn: Fields) -> bool:
    stem = node.field + NUMBER
    low = None if node.low is None else number_key(node.low)
    high = None if node.high is None else number_key(node.high)
    for term in drawn.own:
        if term.startswith(stem):
            key = term[len(stem) :]
            above = low is None or (key > low if node.low_open else key >= low)
            if above and (high is None or (key < high if node.high_open else key <= high)):
                return True
    return False
