"""Conditions put together from parts, written as the text of a `where`. Pure.

Foreign rule languages are two-valued: what a record lacks is simply not so, and its negation is. Conditions here are
three-valued, so a negation is written `!holds(...)` unless its operand is one that every record answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streams.rules.parser import MAX_PATTERN

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_BARE = frozenset({"record", "true", "false", "null", "in"})
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")
_ROOM = MAX_PATTERN - 20
"""Of a pattern, for its alternatives."""


@dataclass(frozen=True)
class Condition:
    """`op`: `all`, `any` or nothing. `total`: of every record it is either true or false."""

    text: str
    op: str = ""
    parts: tuple[Condition, ...] = ()
    total: bool = False

    @property
    def inner(self) -> str:
        """As an operand of another one."""
        return f"({self.text})" if self.op else self.text

    @property
    def lines(self) -> str:
        """For people: its outermost parts on lines of their own where it is long."""
        if not self.op or len(self.text) < 100:
            return self.text
        sign, other = ("&&", "any") if self.op == "all" else ("||", "all")
        return f" {sign}\n".join(part.inner if part.op == other else part.text for part in self.parts)


ALWAYS = Condition("true", total=True)
NEVER = Condition("false", total=True)


def all_of(parts: Iterable[Condition]) -> Condition:
    return _joined("all", " && ", parts, ALWAYS, NEVER)


def any_of(parts: Iterable[Condition]) -> Condition:
    return _joined("any", " || ", parts, NEVER, ALWAYS)


def _joined(op: str, sign: str, parts: Iterable[Condition], none: Condition, decided: Condition) -> Condition:
    flat: dict[Condition, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.parts if part.op == op else (part,)))
    flat.pop(none, None)
    if decided in flat:
        return decided
    if len(flat) <= 1:
        return next(iter(flat), none)
    text = sign.join(part.inner for part in flat)
    return Condition(text, op, tuple(flat), all(part.total for part in flat))


def negated(operand: Condition) -> Condition:
    """True of every record that `operand` is not true of."""
    if operand in (ALWAYS, NEVER):
        return NEVER if operand is ALWAYS or operand == ALWAYS else ALWAYS
    return Condition(f"!{operand.inner}" if operand.total else f"!holds({operand.text})", total=True)


# what conditions are made of


def literal(value: str | float | bool | None) -> str:
    return json.dumps(value, ensure_ascii=False)


def path(parts: Sequence[str | int], aliases: Iterable[str] = ()) -> str:
    """A field of the record. `aliases`: names that mean another one when they stand by themselves."""
    first = parts[0]
    bare = isinstance(first, str) and _NAME.fullmatch(first) and first not in _NOT_BARE and first not in aliases
    out = str(first) if bare else "record" + _selected(first)
    return out + "".join(map(_selected, parts[1:]))


def _selected(part: str | int) -> str:
    return f".{part}" if isinstance(part, str) and _NAME.fullmatch(part) else f"[{literal(part)}]"


def has(field: str) -> Condition:
    return Condition(f"has({field})", total=True)


def same(field: str, value: str | float | bool | None) -> Condition:
    return Condition(f"{field} == {literal(value)}")


def among(field: str, values: Sequence[str | float]) -> Condition:
    if len(values) == 1:
        return same(field, values[0])
    return Condition(f"{field} in [{', '.join(map(literal, values))}]")


def compared(field: str, op: str, value: str | float) -> Condition:
    return Condition(f"{field} {op} {literal(value)}")


def text_test(field: str, name: str, value: str) -> Condition:
    """`name`: contains, startsWith, endsWith or matches."""
    return Condition(f"{field}.{name}({literal(value)})")


def quoted(text: str) -> str:
    """A pattern that matches `text` as it is."""
    return _META.sub(lambda found: "\\" + found[0], text)


def matching(field: str, alternatives: Sequence[str], *, flags: str = "", whole: bool = False) -> Condition:
    """Whether one of some patterns matches, joined into as few as fit. `whole`: matches all of the text."""
    out, taken, length = [], list[str](), 0
    for each in [*dict.fromkeys(alternatives), None]:
        if taken and (each is None or length + len(each) + 1 > _ROOM):
            joined = "|".join(taken)
            joined = (f"^(?:{joined})$" if len(taken) > 1 or "|" in joined else f"^{joined}$") if whole else joined
            out.append(text_test(field, "matches", f"(?{flags}){joined}" if flags else joined))
            taken, length = [], 0
        if each is not None:
            taken.append(each)
            length += len(each) + 1
    return any_of(out)
