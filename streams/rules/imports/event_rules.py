"""The condition language of KubeSphere's event and audit rules -> tree.

Source: github.com/kubesphere/event-rule-engine, EventRule.g4 and visitor/eventrule.go. Two things differ from what one
would expect, and are kept: `and` and `or` bind alike, from left to right, and `not` takes everything up to the
closing bracket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

MAX_DEPTH = 24
MAX_TEXT = 32_768


class Wrong(ValueError):
    """What is not of the language, and at which character (0-based)."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True)
class Test:
    """`field op values`; `op` is one of = != > < >= <= contains in like regex exists is, or one of them after `not `.

    Values are text as it is written: of numbers, too (`number`). `is` has none: the field is true.
    """

    field: str
    op: str
    values: tuple[str, ...]
    number: bool
    at: int


@dataclass(frozen=True)
class Both:
    op: str
    """`and` or `or`."""
    left: Tree
    right: Tree


@dataclass(frozen=True)
class Without:
    operand: Tree


Tree = Test | Both | Without


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


_INDEX = r"(?:\[(?:\*|[0-9]+|[0-9]*:[0-9]*)\])?"
_PART = rf"[a-zA-Z_][a-zA-Z0-9_-]*{_INDEX}"
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\r\n]+)
      | (?P<op>not[ ](?:contains|in|like|regex|exists)(?![\w.-])|==|!=|>=|<=|=|>|<|!)
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?)
      | (?P<text>"(?:\\.|[^"\\])*")
      | (?P<word>{_PART}(?:\.{{1,2}}{_PART})*\.?)
      | (?P<mark>[(),])""",
    re.VERBOSE | re.DOTALL,
)
_COMPARISONS = ("=", "==", "!=", ">", "<", ">=", "<=")
_WORDS = ("contains", "in", "like", "regex", "exists")
_BOOLEANS = ("True", "TRUE", "true", "False", "FALSE", "false")


def parse(text: str) -> Tree:
    """Raises Wrong."""
    if len(text) > MAX_TEXT:
        raise Wrong(0, f"longer than {MAX_TEXT} characters")
    parser = _Parser(_tokens(text))
    out = parser.expression()
    parser.expect_end()
    return out


def _tokens(text: str) -> list[_Token]:
    out = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Wrong(at, f"unexpected {text[at]!r}")
        kind, word = str(found.lastgroup), found[0]
        if kind == "word" and word in (*_WORDS, "not"):
            kind = "op"
        elif kind == "word" and word in ("and", "or"):
            kind = "join"
        elif kind == "word" and word in _BOOLEANS:
            kind = "boolean"
        if kind != "space":
            out.append(_Token(kind, word, at))
        at = found.end()
    return [*out, _Token("end", "", len(text))]


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, kind: str, *texts: str) -> _Token | None:
        token = self._token
        if token.kind == kind and (not texts or token.text in texts):
            self._next += 1
            return token
        return None

    def expect_end(self) -> None:
        if self._token.kind != "end":
            raise self._wrong("and, or or the end")

    def _wrong(self, what: str) -> Wrong:
        shown = repr(self._token.text) if self._token.kind != "end" else "the end"
        return Wrong(self._token.at, f"expected {what}, not {shown}")

    def expression(self) -> Tree:
        """From left to right, as many as there are."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Wrong(self._token.at, f"nested deeper than {MAX_DEPTH}")
        out = self._operand()
        while join := self._take("join"):
            out = Both(join.text, out, self._operand())
        self._depth -= 1
        return out

    def _operand(self) -> Tree:
        if self._take("op", "not", "!"):
            return Without(self.expression())
        if self._take("mark", "("):
            out = self.expression()
            if not self._take("mark", ")"):
                raise self._wrong("')'")
            return out
        return self._test()

    def _test(self) -> Test:
        field = self._take("word")
        if field is None:
            raise self._wrong("a field")
        name, at = field.text.rstrip("."), field.at
        op = self._take("op")
        if op is None or op.text in ("not", "!"):
            if op is not None:
                raise Wrong(op.at, "expected an operator such as = or not in, with one blank after not")
            return Test(name, "is", (), False, at)
        word = op.text.removeprefix("not ")
        if word == "exists":
            return Test(name, op.text, (), False, at)
        if word == "in":
            return self._list(name, op.text, at)
        if word in ("like", "regex"):
            return Test(name, op.text, (self._text("text"),), False, at)
        if word in ("=", "==", "!=") and (boolean := self._take("boolean")):
            return Test(name, "is" if word != "!=" else "not is", (boolean.text.lower(),), False, at)
        number = self._token.kind == "number"
        return Test(name, "=" if word == "==" else op.text, (self._text("text", "number"),), number, at)

    def _text(self, *kinds: str) -> str:
        for kind in kinds:
            if token := self._take(kind):
                return token.text.strip('"') if kind == "text" else token.text
        raise self._wrong(" or ".join(kinds) + (" in quotes" if kinds == ("text",) else ""))

    def _list(self, name: str, op: str, at: int) -> Test:
        if not self._take("mark", "("):
            raise self._wrong("'('")
        values = [self._text("text", "number")]
        while self._take("mark", ","):
            values.append(self._text("text", "number"))
        if not self._take("mark", ")"):
            raise self._wrong("',' or ')'")
        return Test(name, op, tuple(values), False, at)
