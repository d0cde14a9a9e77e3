"""Tokens of a query -> its tree. Raises QueryError with the position of what is wrong. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from schemas.base import parse_time
from streams.errors import Invalid
from streams.sinks.index import language_fields as names
from streams.sinks.index import language_pattern as patterns
from streams.sinks.index.language import (
    Between,
    During,
    Has,
    Is,
    Like,
    Node,
    Not,
    QueryError,
    Word,
    Words,
    all_of,
    any_of,
    leaves,
)
from streams.sinks.index.language_lexer import Is as Kind
from streams.sinks.index.language_lexer import Token, tokens
from streams.sinks.index.port import Kind as DocumentKind
from streams.sinks.index.port import Query
from streams.sinks.index.query import MAX_KEYWORDS, is_word, keyword

MAX_DEPTH = 20
TEXT = "text"
EXACT = {
    "cluster": "cluster",
    "namespace": "namespace",
    "ns": "namespace",
    "workload": "workload",
    "pod": "pod",
    "container": "container",
    "tenant": "tenants",
    "workspace": "tenants",
    "kubernetes.namespace_name": "namespace",
    "kubernetes.pod_name": "pod",
    "kubernetes.container_name": "container",
}
DRAWN = frozenset({*EXACT.values(), "names"})
"""Fields drawn from every document; the others are a log record's own."""
_ALIASES = {"node": "kubernetes.host", "image": "kubernetes.container_image", **dict.fromkeys(names.LEVELS, "level")}
_LABELS = "kubernetes.labels."
LEVELS = (("warn", "warning"), ("error", "err"), ("fatal", "critical", "crit", "panic"), ("info", "information"))
"""Names of one and the same level."""
_MS = re.compile(r"\d{9,14}", re.ASCII)
_BETWEEN_WORDS = re.compile(r"[^\w*.:',;]+")


@lru_cache(maxsize=256)
def parse(text: str, *, own_fields: bool = True) -> Node | None:
    """The tree of a query, None for a blank one. `own_fields`: its documents have fields of their own (logs do)."""
    if not text.strip():
        return None
    reader = _Reader(text, own_fields)
    found = reader.alternatives(0)
    if (token := reader.token).kind is not Kind.END:
        raise QueryError(token.at, f"unexpected {token.text}")
    if found is None:
        raise QueryError(0, f"no letter or digit to look for in {text[:50]!r}")
    if sum(1 for _ in leaves(found)) > MAX_KEYWORDS:
        raise QueryError(0, f"over {MAX_KEYWORDS} keywords or conditions")
    return _one_way(found)


def tree(query: Query) -> Node | None:
    """All that a query asks for beside its filters. Raises QueryError."""
    return all_of(parse(query.text, own_fields=query.kind is DocumentKind.LOGS), query.where)


class _Reader:
    def __init__(self, text: str, own_fields: bool) -> None:
        self._tokens = tokens(text)
        self._at = 0
        self._own_fields = own_fields

    @property
    def token(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self.token
        self._at += token.kind is not Kind.END
        return token

    def alternatives(self, depth: int) -> Node | None:
        if depth > MAX_DEPTH:
            raise QueryError(self.token.at, f"over {MAX_DEPTH} parentheses in each other")
        parts = [self._all(depth)]
        while self.token.kind is Kind.OR:
            self._operator()
            parts.append(self._all(depth))
        return any_of(*parts)

    def _all(self, depth: int) -> Node | None:
        parts = [self._not(depth)]
        while True:
            if self.token.kind is Kind.AND:
                self._operator()
            elif self.token.kind in (Kind.OR, Kind.CLOSE, Kind.END):
                return all_of(*dict.fromkeys(parts))
            parts.append(self._not(depth))

    def _operator(self) -> None:
        """AND or OR, between two conditions."""
        token = self._take()
        if self.token.kind in (Kind.AND, Kind.OR, Kind.CLOSE, Kind.END):
            raise QueryError(token.at, f"nothing after {token.text} (the word itself is written in quotes)")

    def _not(self, depth: int) -> Node | None:
        token = self.token
        negated = False
        while self.token.kind is Kind.NOT:
            self._take()
            negated = not negated
        found = self._atom(depth)
        if found is None and token.kind is Kind.NOT:
            raise QueryError(token.at, "nothing to look for after NOT")
        return Not(found) if negated and found is not None else found

    def _atom(self, depth: int) -> Node | None:
        token = self._take()
        if token.kind is Kind.OPEN:
            found = self.alternatives(depth + 1)
            if self._take().kind is not Kind.CLOSE:
                raise QueryError(token.at, "( is not closed")
            return found
        if token.kind is Kind.FIELD:
            return self._field(token, depth)
        if token.kind in (Kind.WORD, Kind.PHRASE, Kind.REGEX):
            return _text(token)
        if token.kind is Kind.END:
            raise QueryError(token.at, "something to look for is missing")
        raise QueryError(token.at, f"nothing before {token.text} (the word itself is written in quotes)")

    def _field(self, name: Token, depth: int) -> Node | None:
        field = resolved(name.text, self._own_fields)
        if self.token.kind is Kind.OPEN:
            opened = self._take()
            found = self._values(name, field, depth + 1)
            if self._take().kind is not Kind.CLOSE:
                raise QueryError(opened.at, "( is not closed")
            return found
        return self._value(name, field)

    def _values(self, name: Token, field: str | None, depth: int) -> Node | None:
        """`a OR b` of `field:(a OR b)`."""
        parts = []
        while True:
            parts.append(self._value(name, field))
            if self.token.kind is not Kind.OR:
                return any_of(*parts)
            self._take()

    def _value(self, name: Token, field: str | None) -> Node | None:
        token = self._take()
        if token.kind is Kind.COMPARE:
            value = self._take()
            if value.kind not in (Kind.WORD, Kind.PHRASE):
                raise QueryError(value.at, f"expected a value after {token.text}")
            return _compared(name, field, token, value)
        if token.kind not in (Kind.WORD, Kind.PHRASE, Kind.REGEX) and token.text not in ("AND", "OR", "NOT"):
            raise QueryError(token.at, f"expected a value of {name.text}")
        if field is None:
            return self._unknown(name, token)
        if field == TEXT:
            return _text(token)
        if field == "time":
            raise QueryError(name.at, "compare time: time:>=2026-11-24T10:00:00Z")
        found = _is(name, field, token)
        own = field not in DRAWN and field != "level" and token.kind is Kind.WORD
        if own and not field.startswith(names.LABEL) and "*" not in token.text:
            return any_of(found, _keyword(f"{name.text}:{token.text}"))  # it may be text with a colon in it
        return found

    def _unknown(self, name: Token, token: Token) -> Node | None:
        if self._own_fields or token.kind is not Kind.WORD:
            known = "cluster, namespace, workload, pod, container, name, time"
            raise QueryError(
                name.at, f"{name.text} is not searched by" + ("" if self._own_fields else f": use {known}")
            )
        return _keyword(f"{name.text}:{token.text}")


def resolved(name: str, own_fields: bool) -> str | None:
    """The field a name stands for, None for one that is not searched by."""
    if name in EXACT:
        return EXACT[name]
    if name == "time":
        return name
    if name in names.TEXTS or name == TEXT:
        return TEXT
    if not own_fields:
        return "names" if name == "name" else None
    if name.startswith(_LABELS):
        return names.LABEL + name.removeprefix(_LABELS)
    name = _ALIASES.get(name, name)
    top = name.partition(".")[0]
    if top in names.FIXED and name not in {f"kubernetes.{each}" for each in names.KUBERNETES}:
        return None
    return name


def counted_field(name: str) -> str:
    """The field whose values are to be counted. Raises Invalid("field") for one that has none to count."""
    found = resolved(name, own_fields=True) if names.NAME.fullmatch(name) else None
    if found in (None, TEXT, "time", "workload", "tenants"):
        raise Invalid("field", f"{name[:64]} has no values to count")
    return str(found)


def _text(token: Token) -> Node | None:
    """A word, phrase or pattern of the record's text."""
    if token.kind is Kind.REGEX:
        return Word(patterns.any_case(_pattern(token)))
    if token.kind is Kind.PHRASE or "*" not in token.text:
        return _keyword(token.text)
    return all_of(*map(_piece, filter(None, _BETWEEN_WORDS.split(token.text))))


def _piece(text: str) -> Node | None:
    if "*" not in text:
        return _keyword(text)
    if not any(char.isalnum() for char in text):
        return None
    return Word(patterns.any_case(patterns.wildcard(text)))


def _keyword(text: str) -> Node | None:
    return Words(keyword(text)) if is_word(text) else None


def _is(name: Token, field: str, token: Token) -> Node:
    if token.kind is Kind.REGEX:
        pattern = _pattern(token)
        return Like(field, patterns.any_case(pattern) if field == "level" else pattern)
    if token.kind is Kind.WORD and token.text.strip("*") == "":
        return Has(field)
    value = token.text
    if len(value) > names.MAX_VALUE:
        raise QueryError(token.at, f"a value of over {names.MAX_VALUE} characters")
    if field == "level":
        value = value.lower()
    if token.kind is Kind.WORD and "*" in value:
        return Like(field, patterns.wildcard(value))
    if field == "level":
        return Is(field, next((same for same in LEVELS if value in same), (value,)))
    return Is(field, (value,))


def _pattern(token: Token) -> patterns.Pattern:
    try:
        return patterns.parse(token.text)
    except patterns.PatternError as error:
        raise QueryError(token.at + 1 + error.at, str(error)) from None


def _compared(name: Token, field: str | None, operator: Token, value: Token) -> Node:
    if field == "time":
        return _during(operator.text, _time(value))
    if field is None or field == TEXT or field == "level" or field in EXACT.values() or field == "names":
        raise QueryError(name.at, f"{name.text} is not a number")
    number = names.as_number(value.text)
    if number is None:
        raise QueryError(value.at, f"expected a number after {operator.text}")
    is_open = "=" not in operator.text
    if operator.text[0] == ">":
        return Between(field, number, None, low_open=is_open)
    return Between(field, None, number, high_open=is_open)


def _during(operator: str, at_ms: int) -> Node:
    made: dict[str, Callable[[], Node]] = {
        ">=": lambda: During(start_ms=max(1, at_ms)),
        ">": lambda: During(start_ms=at_ms + 1),
        "<": lambda: During(end_ms=max(1, at_ms)),
        "<=": lambda: During(end_ms=at_ms + 1),
    }
    return made[operator]()


def _time(token: Token) -> int:
    if _MS.fullmatch(token.text):
        return int(token.text) * (1000 if len(token.text) <= 10 else 1)
    try:
        return parse_time(token.text)
    except (ValueError, OverflowError):
        raise QueryError(token.at, "expected RFC 3339 (2026-11-24T10:00:00Z) or milliseconds") from None


def _one_way(node: Node) -> Node:
    """A field that is compared as a number is one throughout: engines read it either as text or as numbers."""
    numbers = {leaf.field for leaf in leaves(node) if isinstance(leaf, Between)}
    return _as_numbers(node, numbers) if numbers else node


def _as_numbers(node: Node, numbers: set[str]) -> Node:
    from streams.sinks.index.language import And, Or

    if isinstance(node, And | Or):
        return type(node)(tuple(_as_numbers(part, numbers) for part in node.parts))
    if isinstance(node, Not):
        return Not(_as_numbers(node.part, numbers))
    if isinstance(node, Has) and node.field in numbers:
        return Between(node.field, None, None)
    if isinstance(node, Like) and node.field in numbers:
        raise QueryError(0, f"{node.field} is compared as a number and as text: do one of them")
    if isinstance(node, Is) and node.field in numbers:
        found = [names.as_number(value) for value in node.values]
        if None in found:
            raise QueryError(0, f"{node.field} is compared as a number and as text: do one of them")
        wanted = any_of(*(Between(node.field, number, number) for number in found))
        assert wanted is not None  # noqa: S101
        return wanted
    return node
