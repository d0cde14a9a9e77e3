"""Text of a `where` expression -> tokens, after CEL's lexis (github.com/google/cel-spec, doc/langdef.md)."""

from __future__ import annotations

import re
from typing import NamedTuple

from streams.rules.nodes import Scalar

MAX_TEXT = 8192


class SyntaxProblem(ValueError):
    """What is wrong in an expression, and where (0-based position in its text)."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


class Token(NamedTuple):
    kind: str
    """`name`, `value`, `op` or `end`."""
    text: str
    value: Scalar
    at: int


_TOKEN = re.compile(
    r"""(?P<space>[\s]+|//[^\n]*)
      | (?P<number>0[xX][0-9a-fA-F]+ | \d+\.\d*(?:[eE][+-]?\d+)? | \.\d+(?:[eE][+-]?\d+)? | \d+[eE][+-]?\d+ | \d+)
      | (?P<text>[rR]?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<op>&&|\|\||==|!=|<=|>=|[<>!+\-*/%?:(){}.,\[\]])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}
_MAX_INT = (1 << 63) - 1


def tokens(text: str) -> list[Token]:
    """Raises SyntaxProblem at what is not a token."""
    if len(text) > MAX_TEXT:
        raise SyntaxProblem(0, f"longer than {MAX_TEXT} characters")
    out: list[Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise SyntaxProblem(at, _unexpected(text[at]))
        if found.lastgroup != "space":
            out.append(_token(str(found.lastgroup), found[0], at))
        at = found.end()
    out.append(Token("end", "", None, len(text)))
    return out


def _unexpected(char: str) -> str:
    hints = {
        "=": "to compare write ==",
        "&": "for `and` write &&",
        "|": "for `or` write ||",
        '"': "the text is not closed with a quote on the same line",
        "'": "the text is not closed with a quote on the same line",
    }
    return f"unexpected {char!r}" + (f": {hints[char]}" if char in hints else "")


def _token(kind: str, text: str, at: int) -> Token:
    if kind == "number":
        return Token("value", text, _number(text, at), at)
    if kind == "text":
        return Token("value", text, _text(text, at), at)
    if kind == "name" and text in _WORDS:
        return Token("value", text, _WORDS[text], at)
    return Token("op" if text == "in" else kind, text, None, at)


def _number(text: str, at: int) -> int | float:
    if text[:2] in ("0x", "0X"):
        value: int | float = int(text, 16)
    else:
        value = int(text) if text.isdigit() else float(text)
    if isinstance(value, int) and value > _MAX_INT:
        raise SyntaxProblem(at, "a number beyond 64 bits")
    if value == float("inf"):
        raise SyntaxProblem(at, "a number beyond 64 bits")
    return value


def _text(text: str, at: int) -> str:
    if text[0] in "rR":
        return text[2:-1]

    def plain(found: re.Match[str]) -> str:
        if found[1]:
            return _SIMPLE.get(found[1], found[1])
        if found[5]:
            raise SyntaxProblem(at + 1 + found.start(), rf'unknown escape \{found[5]}: write \\{found[5]}, or r"..."')
        code = int(found[2] or found[3] or found[4], 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise SyntaxProblem(at + 1 + found.start(), "no such character")
        return chr(code)

    return _ESCAPE.sub(plain, text[1:-1])
