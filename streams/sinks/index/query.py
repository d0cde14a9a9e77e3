"""What both adapters make of a `Query` before they ask their engine: its tree, cursors, limits. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.errors import Invalid

if TYPE_CHECKING:
    from streams.sinks.index.port import Hit, Query

MAX_LIMIT = 5000
MAX_KEYWORDS = 64
FILTERS = ("cluster", "namespace", "workload", "pod", "container", "names", "tenants")
COUNTED = frozenset({"cluster", "namespace"})
"""Fields documents can be counted by."""
_LETTERS = 255
"""Longest run of letters the engines index as one word."""


class Keyword(NamedTuple):
    """`is_word`: letters only, found wherever such a run of letters stands (`refused` in `err:refused.`); anything
    else is a phrase of the tokens Unicode's word boundaries (UAX #29) make of it."""

    text: str
    is_word: bool


class Position(NamedTuple):
    """Where a page ended: documents are ordered by time, then offset, partition and id."""

    time_ms: int
    offset: int
    partition: int
    id: str


def is_word(text: str) -> bool:
    """Whether there is anything in it that an index could find."""
    return any(char.isalnum() for char in text)


def keyword(text: str) -> Keyword:
    return Keyword(text, text.isalpha() and len(text) <= _LETTERS)


def limit(query: Query) -> int:
    return min(max(query.limit, 0), MAX_LIMIT)


def cursor(hit: Hit) -> str:
    """The cursor of what follows `hit`."""
    raw = msgspec.json.encode((hit.time_ms, hit.offset, hit.partition, hit.id))
    return urlsafe_b64encode(raw).decode().rstrip("=")


def position(text: str) -> Position | None:
    """The position a cursor stands for, None for an empty one. Raises Invalid("cursor")."""
    if not text:
        return None
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return Position(*msgspec.json.decode(raw, type=tuple[int, int, int, str]))
    except (ValueError, msgspec.DecodeError):
        raise Invalid("cursor", "not a cursor of this list") from None
