"""A field of a Sigma detection with its modifiers and values -> condition. Pure.

Source: github.com/SigmaHQ/sigma-specification, sigma-rules-specification.md and sigma-appendix-modifiers.md; what these
leave open is as pySigma has it (windash, base64offset). Text is compared in either case, `*` and `?` are wildcards.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from streams.rules.imports import conditions as c
from streams.rules.imports.conditions import Condition
from streams.rules.imports.draft import Refused


class Mark(Enum):
    """What is no plain character; its value is how RE2 writes it."""

    MANY = ".*"
    ONE = "."
    DASH = "[-/–—―]"  # noqa: RUF001 dashes, all of them meant


Pattern = tuple[str | Mark, ...]
Placeholders = Mapping[str, Sequence[str]]
TRANSFORM = ("windash", "base64", "base64offset", "wide", "utf16le", "utf16be", "utf16", "expand")
PLACES = ("contains", "startswith", "endswith")
ORDERS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
OTHERS = ("re", "i", "m", "s", "all", "cased", "exists", "cidr", "fieldref", "neq")
KNOWN = (*TRANSFORM, *PLACES, *ORDERS, *OTHERS)
_PARTS = re.compile(r"\\([*?\\])|([*?])|(\\(?![*?\\])|[^\\*?]+)")
_DASH = re.compile(r"\B[-/]\b")
_NUMBER = re.compile(r"0|-?[1-9]\d{0,14}")
_PLACEHOLDER = re.compile(r"(?<!\\)%(\w+)%")


def condition(
    fields: Sequence[str], modifiers: Sequence[str], values: Sequence[Any], placeholders: Placeholders, line: int
) -> Condition:
    """`fields`: paths, one of which has to match (several for keywords). `values`: scalars, None for null."""
    for modifier in modifiers:
        if modifier not in KNOWN:
            raise Refused(line, f"modifier {modifier}: not known here")
    if len(modifiers) != len(set(modifiers)):
        raise Refused(line, f"modifiers {'|'.join(modifiers)}: one is there twice")
    if "expand" in modifiers:
        values = _expanded(values, placeholders, line)
    one = _one(modifiers, line)
    if "all" in modifiers:
        found = c.all_of([c.any_of([one(field, [value]) for field in fields]) for value in values])
    else:
        found = c.any_of([one(field, values) for field in fields])
    return c.negated(found) if "neq" in modifiers else found


def _expanded(values: Sequence[Any], placeholders: Placeholders, line: int) -> list[Any]:
    out: list[Any] = []
    for value in values:
        found = _PLACEHOLDER.search(value) if isinstance(value, str) else None
        if found is None:
            out.append(value.replace(r"\%", "%") if isinstance(value, str) else value)
        elif found[1] not in placeholders:
            raise Refused(line, f"expand: %{found[1]}%: say what it stands for in a mapping (placeholders)")
        else:
            more = [value[: found.start()] + each + value[found.end() :] for each in placeholders[found[1]]]
            out += _expanded(more, placeholders, line) if len(more) < 1000 else more
    return out


def _one(modifiers: Sequence[str], line: int) -> Callable[[str, Sequence[Any]], Condition]:
    """How one field is held against values, any of which will do."""
    asked = set(modifiers)
    special = [name for name in ("exists", "cidr", "fieldref", "re", *ORDERS) if name in asked]
    if len(special) > 1:
        raise Refused(line, f"modifiers {' and '.join(special)} do not go together")
    if special and asked & set(TRANSFORM) - {"expand"}:
        raise Refused(line, f"modifiers {'|'.join(modifiers)} do not go together")
    if "re" not in asked and asked & {"i", "m", "s"}:
        raise Refused(line, "modifiers i, m and s belong to re")
    if special:
        kind = "order" if special[0] in ORDERS else special[0]
        each = {"exists": _exists, "cidr": _cidr, "fieldref": _field, "re": _regex, "order": _order}[kind]
        return lambda field, values: c.any_of([each(field, value, modifiers, line) for value in values])
    return lambda field, values: _texts(field, values, modifiers, line)


def _exists(field: str, value: Any, _modifiers: Sequence[str], line: int) -> Condition:
    if not isinstance(value, bool):
        raise Refused(line, "exists: expected true or false")
    return c.has(field) if value else c.negated(c.has(field))


def _cidr(field: str, value: Any, _modifiers: Sequence[str], _line: int) -> Condition:
    return Condition(f"cidr({c.literal(str(value))}).containsIP({field})")


def _order(field: str, value: Any, modifiers: Sequence[str], line: int) -> Condition:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused(line, "lt, lte, gt and gte: expected a number")
    (op,) = (ORDERS[name] for name in modifiers if name in ORDERS)
    return c.compared(field, op, value)


def _regex(field: str, value: Any, modifiers: Sequence[str], line: int) -> Condition:
    if set(modifiers) & set(PLACES):
        raise Refused(line, "re looks anywhere by itself: without contains, startswith and endswith")
    flags = "".join(flag for flag in ("i", "m", "s") if flag in modifiers)
    return c.text_test(field, "matches", f"(?{flags}){value}" if flags else str(value))


def _field(field: str, value: Any, modifiers: Sequence[str], _line: int) -> Condition:
    """Another field of the record: `value` is its path already."""
    place = next((name for name in PLACES if name in modifiers), "")
    names = {"contains": "contains", "startswith": "startsWith", "endswith": "endsWith"}
    known = c.all_of([Condition(f"{field} == {value}"), Condition(f"{field} != null")])
    if "cased" in modifiers:
        return Condition(f"{field}.{names[place]}({value})") if place else known
    lower = f"{field}.lowerAscii()", f"{value}.lowerAscii()"
    if place:
        return Condition(f"{lower[0]}.{names[place]}({lower[1]})")
    return c.any_of([known, Condition(f"{lower[0]} == {lower[1]}")])


# text


def _texts(field: str, values: Sequence[Any], modifiers: Sequence[str], line: int) -> Condition:
    flags, out = "" if "cased" in modifiers else "i", list[Condition]()
    inside: list[str] = []
    whole: list[str] = []
    exact: list[Any] = []
    plain = not set(modifiers) & {*PLACES, *TRANSFORM}
    for value in values:
        if value is None:
            if not plain:
                raise Refused(line, "null has no text: without modifiers")
            out += [c.negated(c.has(field)), c.same(field, None)]
        elif plain and (forms := _forms(value)):
            exact += forms
        else:
            for pattern in _patterns(value, modifiers, line):
                _sort(pattern, flags, exact, inside, whole)
    if exact:
        out.append(c.among(field, _distinct(exact)))
    dots = "s" if any("." in each for each in (*inside, *whole)) else ""
    return c.any_of([
        *out,
        c.matching(field, whole, flags=flags + dots, whole=True),
        c.matching(field, inside, flags=flags + dots),
    ])  # fmt: skip


def _distinct(values: list[Any]) -> list[Any]:
    return [value for _, value in dict.fromkeys((type(each).__name__, each) for each in values)]


def _forms(value: Any) -> list[Any]:
    """A value that is no text, or a number in quotes, in all its forms."""
    if isinstance(value, bool):
        return [value, str(value).lower(), str(value)]
    if isinstance(value, (int, float)):
        return [value, str(value)]
    return [value, int(value)] if isinstance(value, str) and _NUMBER.fullmatch(value) else []


def _sort(pattern: Pattern, flags: str, exact: list[Any], inside: list[str], whole: list[str]) -> None:
    """Put a pattern where it is asked for most cheaply: as a value, anywhere in the text, or as all of it."""
    if len(pattern) <= 1 and all(isinstance(part, str) and (not flags or not _cased(part)) for part in pattern):
        exact.append("".join(map(str, pattern)))
        return
    begins, ends = pattern[0] is not Mark.MANY, pattern[-1] is not Mark.MANY
    middle = pattern[0 if begins else 1 : len(pattern) if ends else -1]
    text = "".join(part.value if isinstance(part, Mark) else c.quoted(part) for part in middle)
    if begins and ends:
        whole.append(text)
    else:
        inside.append(("^" if begins else "") + text + ("$" if ends else ""))


def _cased(text: str) -> bool:
    return text.lower() != text or text.upper() != text


def _patterns(value: Any, modifiers: Sequence[str], line: int) -> list[Pattern]:
    """The texts a value stands for once its modifiers were applied in their order."""
    found: list[Pattern | bytes] = [parsed(str(value))]
    for modifier in modifiers:
        if modifier == "windash":
            found = [_dashed(_pattern(each)) for each in found]
        elif modifier in TRANSFORM and modifier != "expand":
            found = [more for each in found for more in _encoded(modifier, _bytes(each, line))]
        elif modifier in PLACES:
            before = (Mark.MANY,) if modifier in ("contains", "endswith") else ()
            after = (Mark.MANY,) if modifier in ("contains", "startswith") else ()
            found = [_joined((*before, *_pattern(each), *after)) for each in found]
    return [_joined(_pattern(each)) for each in found]


def parsed(text: str) -> Pattern:
    r"""`\*`, `\?` and `\\` are plain characters, and so is a backslash before anything else."""
    out: list[str | Mark] = []
    for escaped, wild, plain in _PARTS.findall(text):
        out.append({"*": Mark.MANY, "?": Mark.ONE}[wild] if wild else escaped or plain)
    return _joined(out)


def _joined(parts: Sequence[str | Mark]) -> Pattern:
    """Neighbouring texts as one, and one of several `*`."""
    out: list[str | Mark] = []
    for part in parts:
        if out and isinstance(part, str) and isinstance(out[-1], str):
            out[-1] += part
        elif not (part is Mark.MANY and out and out[-1] is Mark.MANY) and part != "":
            out.append(part)
    return tuple(out)


def _pattern(value: Pattern | bytes) -> Pattern:
    return (value.decode("latin-1"),) if isinstance(value, bytes) else value


def _bytes(value: Pattern | bytes, line: int) -> bytes:
    if isinstance(value, bytes):
        return value
    if any(isinstance(part, Mark) for part in value):
        raise Refused(line, "a value with wildcards cannot be encoded")
    return "".join(map(str, value)).encode()


def _dashed(pattern: Pattern) -> Pattern:
    out: list[str | Mark] = []
    for part in pattern:
        if isinstance(part, Mark):
            out.append(part)
            continue
        pieces = _DASH.split(part)
        for number, piece in enumerate(pieces):
            out += ([Mark.DASH] if number else []) + [piece]
    return _joined(out)


def _encoded(modifier: str, value: bytes) -> list[bytes]:
    if modifier == "base64":
        return [base64.b64encode(value)]
    if modifier == "base64offset":
        starts, ends = (0, 2, 3), (None, -3, -2)
        return [
            base64.b64encode(b" " * shift + value)[starts[shift] : ends[(len(value) + shift) % 3]] for shift in range(3)
        ]
    text = value.decode()
    if modifier == "utf16":
        return [b"\xff\xfe" + text.encode("utf-16-le")]
    return [text.encode("utf-16-be" if modifier == "utf16be" else "utf-16-le")]
