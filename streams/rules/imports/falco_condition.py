"""Falco's filter conditions -> tree. Source: falco.org's documentation of conditions, and libsinsp's filter parser.

`and` binds closer than `or`, `not` closest; a bare word is a macro.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

MAX_DEPTH = 24
MAX_TEXT = 32_768


class Wrong(ValueError):
    """What is not of the language."""


@dataclass(frozen=True)
class Check:
    """`field[argument] op values`. `listed`: the values stood in brackets, so that bare ones may be lists."""

    field: str
    argument: str
    op: str
    values: tuple[Value, ...] = ()
    listed: bool = False


class Value(NamedTuple):
    text: str
    quoted: bool


@dataclass(frozen=True)
class Macro:
    name: str


@dataclass(frozen=True)
class Joined:
    op: str
    """`and` or `or`."""
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Not:
    operand: Tree


Tree = Check | Macro | Joined | Not
_WORDS = (
    "icontains", "contains", "bcontains", "istartswith", "startswith", "bstartswith", "endswith", "iendswith", "glob",
    "iglob", "regex", "intersects", "in", "pmatch", "exists",
)  # fmt: skip
_SIGNS = ("==", "!=", "<=", ">=", "=", "<", ">")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
_ARGUMENT = re.compile(r"\[([^\]\"']*|\"[^\"]*\"|'[^']*')\]")
_QUOTED = re.compile(r"\"((?:\\.|[^\"\\])*)\"|'((?:\\.|[^'\\])*)'", re.DOTALL)
_BARE = re.compile(r"[^\s()\"',=<>!]+")
_BARE_VALUE = re.compile(r"[^\s()\"',]+")


def parse(text: str) -> Tree:
    """Raises Wrong."""
    if len(text) > MAX_TEXT:
        raise Wrong(f"longer than {MAX_TEXT} characters")
    parser = _Parser(text)
    out = parser.either()
    parser.expect_end()
    return out


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def _space(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _wrong(self, what: str) -> Wrong:
        shown = repr(self._text[self._at : self._at + 20]) if self._at < len(self._text) else "the end"
        return Wrong(f"expected {what}, not {shown} (character {self._at + 1} of the condition)")

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._space()
        if found := pattern.match(self._text, self._at):
            self._at = found.end()
        return found

    def _word(self, *words: str) -> str:
        """One of these words, if it stands here by itself."""
        self._space()
        for word in words:
            end = self._at + len(word)
            ended = not word[-1].isalpha() or not re.match(r"[\w.\[-]", self._text[end : end + 1])
            if self._text.startswith(word, self._at) and ended:
                self._at = end
                return word
        return ""

    def expect_end(self) -> None:
        self._space()
        if self._at < len(self._text):
            raise self._wrong("and, or or the end")

    def either(self) -> Tree:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Wrong(f"nested deeper than {MAX_DEPTH}")
        parts = [self._both()]
        while self._word("or"):
            parts.append(self._both())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Joined("or", tuple(parts))

    def _both(self) -> Tree:
        parts = [self._operand()]
        while self._word("and"):
            parts.append(self._operand())
        return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))

    def _operand(self) -> Tree:
        negations = 0
        while self._word("not"):
            negations += 1
        if self._word("("):
            out = self.either()
            if not self._word(")"):
                raise self._wrong("')'")
        else:
            out = self._check()
        return Not(out) if negations % 2 else out

    def _check(self) -> Tree:
        named = self._match(_NAME)
        if named is None:
            raise self._wrong("a field or a macro")
        name, argument = named[0], ""
        if self._text[self._at : self._at + 1] == "[":
            found = self._match(_ARGUMENT)
            if found is None:
                raise self._wrong("']'")
            argument = found[1].strip("\"'")
        op = self._word(*_SIGNS) or self._word(*_WORDS)
        if not op:
            if "." in name or argument:
                raise self._wrong(f"an operator after {name}")
            return Macro(name)
        if op == "exists":
            return Check(name, argument, op)
        if op in ("in", "intersects", "pmatch"):
            return Check(name, argument, op, self._list(), listed=True)
        return Check(name, argument, "=" if op == "==" else op, (self._value(_BARE_VALUE),))

    def _value(self, bare: re.Pattern[str]) -> Value:
        if found := self._match(_QUOTED):
            return Value(re.sub(r"\\(.)", r"\1", found[1] if found[1] is not None else found[2]), True)
        if found := self._match(bare):
            return Value(found[0], False)
        raise self._wrong("a value")

    def _list(self) -> tuple[Value, ...]:
        if not self._word("("):
            return (self._value(_BARE_VALUE),)
        out: list[Value] = []
        while not self._word(")"):
            if out and not self._word(","):
                raise self._wrong("',' or ')'")
            out.append(self._value(_BARE_VALUE))
        return tuple(out)
