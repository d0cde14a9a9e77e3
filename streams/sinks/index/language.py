"""The query language of the logs list: text -> a tree that every engine compiles, and that is evaluated on records.

    payment refused                       both words (case-insensitive)
    "connection refused"                  the phrase
    refus*                                words by wildcard
    namespace:shop level:error            fields (exact; `level` in any case)
    label.app:pay pod:pay-* host:node-1   labels, wildcards, the record's own fields
    status:>=500  status>=500             numbers
    time:>=2026-11-24T10:00:00Z           the record's time
    pod:/pay-[0-9]+/                      a regular expression over the whole value
    trace_id:*                            there is such a field
    namespace:(shop OR data)              alternatives
    (refused OR timeout) NOT stream:stdout

Words beside each other must all hold; AND, OR, NOT (upper case) and parentheses combine. See docs/concepts/search.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from streams.errors import Invalid
from streams.sinks.index.language_pattern import Pattern
from streams.sinks.index.query import Keyword


class And(msgspec.Struct, frozen=True, tag=True):
    parts: tuple[Node, ...]


class Or(msgspec.Struct, frozen=True, tag=True):
    parts: tuple[Node, ...]


class Not(msgspec.Struct, frozen=True, tag=True):
    part: Node


class Words(msgspec.Struct, frozen=True, tag=True):
    """A keyword or phrase in the record's text."""

    keyword: Keyword


class Word(msgspec.Struct, frozen=True, tag=True):
    """One word (a token, lower-cased) of the record's text that the pattern matches."""

    pattern: Pattern


class Is(msgspec.Struct, frozen=True, tag=True):
    """`field` is one of these values, exactly."""

    field: str
    values: tuple[str, ...]


class Like(msgspec.Struct, frozen=True, tag=True):
    """A value of `field` that the pattern matches as a whole."""

    field: str
    pattern: Pattern


class Has(msgspec.Struct, frozen=True, tag=True):
    field: str


class Between(msgspec.Struct, frozen=True, tag=True):
    """A value of `field` that is a number from `low` to `high` (None: no bound)."""

    field: str
    low: float | None
    high: float | None
    low_open: bool = False
    high_open: bool = False


class During(msgspec.Struct, frozen=True, tag=True):
    """The record's time in [start_ms, end_ms); 0: no bound."""

    start_ms: int = 0
    end_ms: int = 0


Node = And | Or | Not | Words | Word | Is | Like | Has | Between | During


class QueryError(Invalid):
    """A query that cannot be understood; `position`: the character of it where."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__("query", f"at character {position + 1}: {why}")
        self.position = position
        self.why = why


def leaves(node: Node | None) -> Iterator[Node]:
    """Every condition of a tree."""
    if isinstance(node, And | Or):
        for part in node.parts:
            yield from leaves(part)
    elif isinstance(node, Not):
        yield from leaves(node.part)
    elif node is not None:
        yield node


def all_of(*nodes: Node | None) -> Node | None:
    parts = tuple(node for node in nodes if node is not None)
    return And(parts) if len(parts) > 1 else parts[0] if parts else None


def any_of(*nodes: Node | None) -> Node | None:
    parts = tuple(node for node in nodes if node is not None)
    return Or(parts) if len(parts) > 1 else parts[0] if parts else None
