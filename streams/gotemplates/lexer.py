"""Cutting a template into text and the tokens of its actions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from streams.gotemplates.errors import TemplateError

MAX_TEXT = 256 << 10
"""Characters of one template text."""
_SPACE = " \t\r\n"
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<raw>`[^`]*`)
    |(?P<char>'(?:[^'\\\n]|\\[^\n]+?)')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?))
    |(?P<variable>\$\w*)
    |(?P<field>\.[^\W\d]\w*)
    |(?P<word>[^\W\d]\w*)
    |(?P<declare>:=)
    |(?P<sign>[.()|,=])""",
    re.VERBOSE,
)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: text, open (`{{`), close (`}}`), or that of the action's part. `spaced`: space stands before it."""

    kind: str
    value: str
    line: int
    spaced: bool = False


def tokens(source: str) -> list[Token]:
    """Raises TemplateError."""
    if len(source) > MAX_TEXT:
        raise TemplateError(f"longer than {MAX_TEXT >> 10} Ki characters", 1, final=True)
    out: list[Token] = []
    place, line, trim = 0, 1, False
    while place < len(source):
        start = source.find("{{", place)
        end = start if start >= 0 else len(source)
        text = source[place:end]
        trims = source.startswith("{{-", end) and source[end + 3 : end + 4] in tuple(_SPACE)
        shown = text.lstrip(_SPACE) if trim else text
        shown = shown.rstrip(_SPACE) if trims else shown
        if shown:
            out.append(Token("text", shown, line))
        line += text.count("\n")
        if start < 0:
            break
        inside = start + (3 if trims else 2)
        close, trim = _action(source, inside, line, out)
        line += source.count("\n", start, close)
        place = close
    return out


def _action(source: str, place: int, line: int, out: list[Token]) -> tuple[int, bool]:
    """Read one action from `place` on; where the text goes on, and whether it is trimmed there."""
    body = place
    while source[body : body + 1] in tuple(_SPACE):
        body += 1
    if source.startswith("/*", body):
        return _comment(source, body, line)
    out.append(Token("open", "{{", line))
    spaced, begin = False, place
    while True:
        here = line + source.count("\n", begin, place)
        if source.startswith("}}", place):
            out.append(Token("close", "}}", here))
            return place + 2, False
        if spaced and source.startswith("-}}", place):
            out.append(Token("close", "}}", here))
            return place + 3, True
        found = _TOKEN.match(source, place)
        if found is None:
            if place >= len(source):
                raise TemplateError("an action is not closed: expected }}", line, final=True)
            raise TemplateError(f"unexpected {source[place : place + 12]!r} in an action", here, final=True)
        kind = found.lastgroup or ""
        place = found.end()
        if kind == "space":
            spaced = True
            continue
        out.append(Token(kind, found.group(), here, spaced))
        spaced = False


def _comment(source: str, place: int, line: int) -> tuple[int, bool]:
    end = source.find("*/", place)
    for close in ("}}", " -}}", "\t-}}", "\n-}}"):
        if end >= 0 and source.startswith(close, end + 2):
            return end + 2 + len(close), close != "}}"
    raise TemplateError("a comment is not closed: expected */}}", line, final=True)


def unquoted(text: str) -> str:
    """The value of a string in double or single quotes. Raises ValueError."""

    def one(found: re.Match[str]) -> str:
        for index, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
            if found.group(index):
                return chr(int(found.group(index), base))
        char = found.group(5)
        if char in "\\\"'":
            return char
        if char not in _ESCAPES:
            raise ValueError(f"unknown escape \\{char}")
        return _ESCAPES[char]

    return _ESCAPE.sub(one, text[1:-1])


def number(text: str) -> int | float:
    """Raises ValueError."""
    if re.fullmatch(r"[+-]?\d[\d_]*", text) and not re.fullmatch(r"[+-]?0[\d_]+", text):
        return int(text)
    if re.fullmatch(r"[+-]?0[xXbBoO].*", text):
        return int(text, 0)
    if re.fullmatch(r"[+-]?0[0-7_]+", text):
        return int(text, 8)
    return float(text)
