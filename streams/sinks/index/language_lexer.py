"""Text of a query -> tokens with their positions. Pure.

A word ends at white space, at a quote, and at a closing parenthesis that ends a group; parentheses within a word
(`main()`) are part of it. `name:` and `name>=` begin a field only when a value follows at once.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from streams.sinks.index.language import QueryError
from streams.sinks.index.language_fields import NAME

MAX_TEXT = 4096
_FIELD = re.compile(NAME.pattern + r"(?=:[^\s)]|[<>]=?-?[0-9.])")
_COMPARED = re.compile(r"(>=|<=|[<>](?=\s*[\"0-9.-]))")
"""`err:<nil>` compares nothing."""
WORDS = {"AND", "OR", "NOT"}


class Is(StrEnum):
    WORD = "word"
    PHRASE = "phrase"
    REGEX = "regex"
    FIELD = "field"
    COMPARE = "compare"
    OPEN = "("
    CLOSE = ")"
    AND = "AND"
    OR = "OR"
    NOT = "NOT"
    END = "end"


class Token(NamedTuple):
    kind: Is
    text: str
    at: int
    spaced: bool = True
    """White space (or the beginning) stands before it."""


def tokens(text: str) -> list[Token]:
    """Raises QueryError."""
    if len(text) > MAX_TEXT:
        raise QueryError(MAX_TEXT, f"over {MAX_TEXT} characters")
    out: list[Token] = []
    at, depth, spaced, valued = 0, 0, True, False
    while at < len(text):
        if text[at].isspace():
            at, spaced, valued = at + 1, True, False
            continue
        token, end = _next(text, at, depth, valued)
        out.append(token._replace(spaced=spaced))
        depth += (token.kind is Is.OPEN) - (token.kind is Is.CLOSE)
        valued = token.kind in (Is.FIELD, Is.COMPARE)
        at, spaced = end, False
    return [*out, Token(Is.END, "", len(text))]


def _next(text: str, at: int, depth: int, valued: bool) -> tuple[Token, int]:
    """The token at `at`; `valued`: it is the value of the field before it."""
    char = text[at]
    if char == "(":
        return Token(Is.OPEN, char, at), at + 1
    if char == ")" and depth:
        return Token(Is.CLOSE, char, at), at + 1
    if char == '"':
        return _phrase(text, at, escaped=valued)
    if char == "/" and (found := _regex(text, at)):
        return found
    if valued and (match := _COMPARED.match(text, at)):
        return Token(Is.COMPARE, match[1], at), match.end()
    if not valued and (match := _FIELD.match(text, at)) and not _is_url(text, match):
        end = match.end() + (text[match.end()] == ":")
        return Token(Is.FIELD, match[0], at), end
    end = _word_end(text, at, depth)
    word = text[at:end]
    return Token(Is(word) if word in WORDS and not valued else Is.WORD, word, at), end


def _is_url(text: str, match: re.Match[str]) -> bool:
    return text.startswith("://", match.end()) or text.startswith("::", match.end())


def _phrase(text: str, at: int, *, escaped: bool) -> tuple[Token, int]:
    """In a field's value, `\\"` is a quote and `\\\\` a backslash; in text a backslash is nothing special."""
    out, end = [], at + 1
    while end < len(text) and text[end] != '"':
        if escaped and text[end] == "\\" and text[end + 1 : end + 2] in ('"', "\\"):
            end += 1
        out.append(text[end])
        end += 1
    if end >= len(text):
        raise QueryError(at, 'a quote (") is not closed')
    return Token(Is.PHRASE, "".join(out), at), end + 1


def _regex(text: str, at: int) -> tuple[Token, int] | None:
    """`/.../` up to white space, `)` or the end; a path like `/api/v1/x` is none (a slash within is written `\\/`)."""
    end, in_set = at + 1, False
    while end < len(text) and (in_set or text[end] != "/"):
        if text[end] == "\\":
            end += 1
        elif text[end] == "[":
            in_set = True
        elif text[end] == "]":
            in_set = False
        end += 1
    after = text[end + 1 : end + 2]
    if end >= len(text) or end == at + 1 or not (after == "" or after.isspace() or after == ")"):
        return None
    return Token(Is.REGEX, text[at + 1 : end], at), end + 1


def _word_end(text: str, at: int, depth: int) -> int:
    inner, end = 0, at
    while end < len(text) and not text[end].isspace() and text[end] != '"':
        if text[end] == "(":
            inner += 1
        elif text[end] == ")":
            if not inner and depth:
                break
            inner -= 1
        end += 1
    return end
