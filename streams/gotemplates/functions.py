"""The functions templates may call: Go's own and Alertmanager's. `and` and `or` are the interpreter's.

Source: pkg.go.dev/text/template#hdr-Functions; alertmanager 0.25 template/template.go DefaultFuncs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote_plus

from streams.gotemplates.errors import TemplateError
from streams.gotemplates.printing import kind_of, printf, shown
from streams.gotemplates.values import SafeHtml
from streams.matching import expression

MAX_TEXT = 1 << 20
"""Characters a function may give."""
_WORD = re.compile(r"\w(?:[\w'\u2019]*\w)?(?:(?<=[^\W\d_])[.:](?=[^\W\d_])\w+)*")
_LETTER = re.compile(r"[^\W\d_]")
_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")
_HTML = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;", "'": "&#39;", '"': "&#34;", "\0": "\ufffd"})


def truth(value: object) -> bool:
    """What counts as true: all but false, zero, nothing, and what is empty."""
    return value is not None and (bool(value) if isinstance(value, bool | int | float | str | list | dict) else True)


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"expected text, not {kind_of(value)}")
    return value


def _bounded(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise TemplateError(f"gives more than {MAX_TEXT >> 10} Ki characters")
    return value


def _each(convert: Callable[[str], str]) -> Callable[[object], str]:
    """Letter by letter, as Go does: a letter that becomes several stays."""

    def apply(value: object) -> str:
        return "".join(new if len(new := convert(char)) == 1 else char for char in text(value))

    return apply


def title(value: object) -> str:
    return _WORD.sub(
        lambda word: _LETTER.sub(lambda first: first.group().upper(), word.group().lower(), 1), text(value)
    )


def join(separator: object, values: object) -> str:
    if not isinstance(values, list):
        raise TemplateError(f"join: expected a list of texts, not {kind_of(values)}")
    return _bounded(text(separator).join(map(text, values)))


def match(pattern: object, value: object) -> bool:
    return _compiled(pattern).search(text(value)) is not None


def replace_all(pattern: object, replacement: object, value: object) -> str:
    """`$1`, `${name}` in the replacement stand for groups."""
    program, given, source = _compiled(pattern), text(replacement), text(value)
    out: list[str] = []
    last, size = 0, 0
    for found in program.finditer(source):
        if found.start() == found.end() == last and out:
            continue  # nothing, right behind what was found before
        piece = source[last : found.start()] + _REFERENCE.sub(partial(_group, found), given)
        out.append(piece)
        size += len(piece)
        last = found.end()
        if size > MAX_TEXT:
            break
    return _bounded("".join(out) + source[last:])


def _group(found: Any, reference: re.Match[str]) -> str:
    name = reference.group(1) or reference.group(2)
    if name is None:
        return "$"
    try:
        return found.group(int(name) if name.isdecimal() else name) or ""
    except (IndexError, KeyError):
        return ""


def _compiled(pattern: object) -> Any:
    try:
        return expression(text(pattern))
    except ValueError as error:
        raise TemplateError(f"{error}") from None


def escaped(value: str) -> str:
    return value.translate(_HTML)


def urlquery(*values: object) -> str:
    return quote_plus(_sprint(values).encode("utf-8", "replace"))


def _sprint(values: Sequence[object]) -> str:
    """Spaces stand between operands of which neither is text."""
    out: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            out.append(" ")
        out.append(shown(value))
    return _bounded("".join(out))


def length(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, list | dict):
        return len(value)
    raise TemplateError(f"len: {kind_of(value)} has no length")


def index(value: Any, *keys: Any) -> object:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(text(key), "")
        elif isinstance(value, list | str) and isinstance(key, int) and not isinstance(key, bool):
            items = value.encode() if isinstance(value, str) else value
            if not 0 <= key < len(items):
                raise TemplateError(f"index: {key} is out of range, there are {len(items)}")
            value = items[key]
        else:
            raise TemplateError(f"index: {kind_of(value)} has no {kind_of(key)} in it")
    return value


def cut(value: Any, *places: Any) -> object:
    """`slice`: of a text in bytes."""
    if not isinstance(value, list | str) or len(places) > 2 or not all(type(place) is int for place in places):
        raise TemplateError("slice: expected a list or text, and one or two numbers")
    items = value.encode() if isinstance(value, str) else value
    first, last = (*places, 0)[0] if places else 0, places[1] if len(places) > 1 else len(items)
    if not 0 <= first <= last <= len(items):
        raise TemplateError("slice: out of range")
    part = items[first:last]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else type(value)(part)


def _order(left: object) -> str:
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "str")):
        if isinstance(left, kind):
            return name
    if left is None:
        return "nil"
    raise TemplateError(f"cannot compare {kind_of(left)}")


def equal(left: object, *others: object) -> bool:
    if not others:
        raise TemplateError("eq: expected something to compare with")
    for other in others:
        if _order(left) != _order(other) and "nil" not in (_order(left), _order(other)):
            raise TemplateError(f"cannot compare {kind_of(left)} with {kind_of(other)}")
    return any(left == other and _order(left) == _order(other) for other in others)


def less(left: Any, right: Any) -> bool:
    if _order(left) != _order(right):
        raise TemplateError(f"cannot compare {kind_of(left)} with {kind_of(right)}")
    if isinstance(left, bool) or left is None:
        raise TemplateError(f"{kind_of(left)} has no order")
    if isinstance(left, str):
        return bool(left.encode("utf-8", "replace") < right.encode("utf-8", "replace"))
    return bool(left < right)


FUNCTIONS: dict[str, tuple[Callable[..., object], int, int]] = {
    "toUpper": (_each(str.upper), 1, 1),
    "toLower": (_each(str.lower), 1, 1),
    "title": (title, 1, 1),
    "join": (join, 2, 2),
    "match": (match, 2, 2),
    "reReplaceAll": (replace_all, 3, 3),
    "safeHtml": (lambda value: SafeHtml(text(value)), 1, 1),
    "stringSlice": (lambda *values: [text(value) for value in values], 0, 100),
    "len": (length, 1, 1),
    "index": (index, 1, 10),
    "slice": (cut, 1, 3),
    "not": (lambda value: not truth(value), 1, 1),
    "and": (lambda *_values: None, 1, 100),
    "or": (lambda *_values: None, 1, 100),
    "eq": (equal, 2, 100),
    "ne": (lambda left, right: not equal(left, right), 2, 2),
    "lt": (less, 2, 2),
    "le": (lambda left, right: less(left, right) or equal(left, right), 2, 2),
    "gt": (lambda left, right: not (less(left, right) or equal(left, right)), 2, 2),
    "ge": (lambda left, right: not less(left, right), 2, 2),
    "print": (lambda *values: _sprint(values), 0, 100),
    "println": (lambda *values: _bounded(" ".join(map(shown, values)) + "\n"), 0, 100),
    "printf": (lambda layout, *values: _bounded(printf(text(layout), values)), 1, 100),
    "html": (lambda *values: escaped(_sprint(values)), 1, 100),
    "urlquery": (urlquery, 1, 100),
}
"""Name -> the function, and how many arguments it takes at least and at most."""
