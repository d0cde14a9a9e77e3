"""The condition of a Sigma rule: searches joined by and, or, not, `1 of ...`, `all of ...` -> condition. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

from streams.rules.imports import conditions as c
from streams.rules.imports.conditions import Condition

MAX_DEPTH = 24
MAX_TEXT = 8192
_TOKEN = re.compile(r"\s*(\(|\)|[\w*?.-]+)")
_WORDS = ("and", "or", "not", "of")


class Wrong(ValueError):
    """What cannot be said of a condition."""


def combined(text: str, searches: Mapping[str, Condition]) -> Condition:
    """Raises Wrong."""
    if len(text) > MAX_TEXT:
        raise Wrong(f"longer than {MAX_TEXT} characters")
    if "|" in text:
        raise Wrong("aggregations after | are of the past: a correlation says that now")
    parser = _Parser(_tokens(text), searches)
    out = parser.either()
    parser.expect_end()
    return out


def _tokens(text: str) -> list[str]:
    out, at = [], 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Wrong(f"unexpected {text[at:].lstrip()[:1]!r}")
        out.append(found[1])
        at = found.end()
    return out


class _Parser:
    def __init__(self, tokens: list[str], searches: Mapping[str, Condition]) -> None:
        self._tokens = tokens
        self._next = 0
        self._searches = searches
        self._depth = 0

    @property
    def _token(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self, word: str) -> bool:
        if self._token.lower() != word:
            return False
        self._next += 1
        return True

    def expect_end(self) -> None:
        if self._token:
            raise Wrong(f"expected and, or or the end, not {self._token!r}")

    def either(self) -> Condition:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Wrong(f"nested deeper than {MAX_DEPTH}")
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        self._depth -= 1
        return c.any_of(parts)

    def _both(self) -> Condition:
        parts = [self._operand()]
        while self._take("and"):
            parts.append(self._operand())
        return c.all_of(parts)

    def _operand(self) -> Condition:
        negations = 0
        while self._take("not"):
            negations += 1
        if self._take("("):
            out = self.either()
            if not self._take(")"):
                raise Wrong("expected ')'")
        else:
            out = self._search()
        return c.negated(out) if negations % 2 else out

    def _search(self) -> Condition:
        name = self._token
        if not name or name in ("(", ")"):
            raise Wrong(f"expected a search, not {name!r}" if name else "expected a search, not the end")
        self._next += 1
        if name.lower() in ("1", "any", "all") and self._take("of"):
            return self._several(every=name.lower() == "all")
        if name.isdigit() and self._token.lower() == "of":
            raise Wrong(f"{name} of: only 1, any or all of several searches can be asked for")
        if name not in self._searches or name.lower() in _WORDS:
            raise Wrong(f"no search {name!r}: there is {', '.join(self._searches)}")
        return self._searches[name]

    def _several(self, *, every: bool) -> Condition:
        pattern = self._token
        self._next += 1
        names = [
            name
            for name in self._searches
            if not name.startswith("_") and (pattern == "them" or fnmatch.fnmatchcase(name, pattern))
        ]
        if not names:
            raise Wrong(f"no search is meant by {pattern!r}")
        return (c.all_of if every else c.any_of)([self._searches[name] for name in names])
