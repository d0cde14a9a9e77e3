"""Patterns of values: regular expressions (a subset of RE2's syntax) and wildcards, for every engine alike. Pure.

Understood: literals, `.`, `[...]`, `[^...]`, `\\d \\w \\s` and their negations (ASCII, as in RE2), groups, `|`, and
`* + ? {m} {m,} {m,n}`. A pattern matches a whole value. Anything else (anchors, flags, back-references, lazy
repetition) is refused by name; `MAX_SIZE` bounds what a pattern may cost.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

MAX_LENGTH = 256
MAX_SIZE = 400
MAX_REPEAT = 100
MAX_GROUPS = 20
LAST = 0x10FFFF
Ranges = tuple[tuple[int, int], ...]
CLASSES: dict[str, Ranges] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 10), (12, 13), (32, 32)),
}
CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_RUST = frozenset("\\.+*?()|[]{}^$#&-~")
_LUCENE = frozenset('\\.+*?()|[]{}^$#&-~"<>@/')


class PatternError(ValueError):
    """`at`: position in the pattern."""

    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.at = at


class One(msgspec.Struct, frozen=True, tag=True):
    """One character of these ranges of code points."""

    ranges: Ranges


class Sequence(msgspec.Struct, frozen=True, tag=True):
    parts: tuple[Pattern, ...]


class Choice(msgspec.Struct, frozen=True, tag=True):
    parts: tuple[Pattern, ...]


class Repeat(msgspec.Struct, frozen=True, tag=True):
    part: Pattern
    least: int
    most: int
    """-1: without end."""


Pattern = One | Sequence | Choice | Repeat
ANY = One(((0, LAST),))
ANYTHING = Repeat(ANY, 0, -1)


def literal(text: str) -> Sequence:
    return Sequence(tuple(One(((ord(char), ord(char)),)) for char in text))


def wildcard(text: str) -> Sequence:
    """`*` stands for any characters; everything else for itself."""
    parts: list[Pattern] = []
    for number, piece in enumerate(text.split("*")):
        if number and (not parts or parts[-1] is not ANYTHING):
            parts.append(ANYTHING)
        parts.extend(literal(piece).parts)
    return Sequence(tuple(parts))


def containing(text: str) -> Sequence:
    return Sequence((ANYTHING, *literal(text).parts, ANYTHING))


def any_case(pattern: Pattern) -> Pattern:
    """The pattern in either case: letters stand for both."""
    if isinstance(pattern, One):
        return One(_both(pattern.ranges))
    if isinstance(pattern, Repeat):
        return Repeat(any_case(pattern.part), pattern.least, pattern.most)
    parts = tuple(any_case(part) for part in pattern.parts)
    return Sequence(parts) if isinstance(pattern, Sequence) else Choice(parts)


def _both(ranges: Ranges) -> Ranges:
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        char = chr(ranges[0][0])
        cases = {char, char.lower(), char.upper()}
        return _merged([(ord(each), ord(each)) for each in cases if len(each) == 1])
    more = list(ranges)
    for low, high in ranges:
        for first, last, shift in ((65, 90, 32), (97, 122, -32)):
            if (a := max(low, first)) <= (b := min(high, last)):
                more.append((a + shift, b + shift))
    return _merged(more)


def _merged(ranges: list[tuple[int, int]]) -> Ranges:
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return tuple(out)


def _inverted(ranges: Ranges) -> Ranges:
    out, at = [], 0
    for low, high in ranges:
        if at < low:
            out.append((at, low - 1))
        at = high + 1
    if at <= LAST:
        out.append((at, LAST))
    return tuple(out)


def size(pattern: Pattern) -> int:
    """About how many states it takes to match it."""
    if isinstance(pattern, One):
        return 1 if pattern.ranges[-1][1] < 128 else 6
    if isinstance(pattern, Repeat):
        return size(pattern.part) * max(1, pattern.most, pattern.least + (pattern.most < 0))
    return sum(size(part) for part in pattern.parts)


def rust(pattern: Pattern) -> str:
    """The pattern for Rust's and RE2's engines."""
    return _render(pattern, _RUST, "(?:", r"[\x{0}-\x{10FFFF}]")


def lucene(pattern: Pattern) -> str:
    """The pattern for Lucene's engine, optional syntax off."""
    return _render(pattern, _LUCENE, "(", ".")


def _render(pattern: Pattern, special: frozenset[str], group: str, anything: str) -> str:
    if isinstance(pattern, One):
        return _one(pattern, special, anything)
    if isinstance(pattern, Repeat):
        inner = _render(pattern.part, special, group, anything)
        least, most = pattern.least, pattern.most
        times = {(0, -1): "*", (1, -1): "+", (0, 1): "?"}.get((least, most))
        if times is None:
            times = f"{{{least}}}" if least == most else f"{{{least},{'' if most < 0 else most}}}"
        return (inner if isinstance(pattern.part, One) else f"{group}{inner})") + times
    parts = [_render(part, special, group, anything) for part in pattern.parts]
    if isinstance(pattern, Sequence):
        return "".join(parts)
    return f"{group}{'|'.join(parts)})"


def _one(one: One, special: frozenset[str], anything: str) -> str:
    if one.ranges == ANY.ranges:
        return anything
    if len(one.ranges) == 1 and one.ranges[0][0] == one.ranges[0][1]:
        return _char(one.ranges[0][0], special)
    inside = "".join(
        _char(low, special) + (f"-{_char(high, special)}" if high > low else "") for low, high in one.ranges
    )
    return f"[{inside}]"


def _char(code: int, special: frozenset[str]) -> str:
    if code < 32 and special is _RUST:
        return f"\\x{{{code:x}}}"
    return f"\\{chr(code)}" if chr(code) in special else chr(code)


class _At(NamedTuple):
    pattern: Pattern
    end: int


def parse(text: str) -> Pattern:
    """Raises PatternError."""
    if len(text) > MAX_LENGTH:
        raise PatternError(MAX_LENGTH, f"a pattern of over {MAX_LENGTH} characters")
    found, at = _choice(text, 0, 0)
    if at < len(text):
        raise PatternError(at, "unexpected )")
    if size(found) > MAX_SIZE:
        raise PatternError(0, "too large a pattern: repeat less")
    return found


def _choice(text: str, at: int, depth: int) -> _At:
    if depth > MAX_GROUPS:
        raise PatternError(at, f"over {MAX_GROUPS} groups in each other")
    parts = []
    while True:
        part, at = _sequence(text, at, depth)
        parts.append(part)
        if at >= len(text) or text[at] != "|":
            return _At(parts[0] if len(parts) == 1 else Choice(tuple(parts)), at)
        at += 1


def _sequence(text: str, at: int, depth: int) -> _At:
    start, parts = at, list[Pattern]()
    while at < len(text) and text[at] not in "|)":
        part, at = _atom(text, at, depth)
        part, at = _repeated(text, at, part)
        parts.append(part)
    if not parts:
        raise PatternError(start, "nothing here to match: write it as optional with ?")
    return _At(parts[0] if len(parts) == 1 else Sequence(tuple(parts)), at)


def _atom(text: str, at: int, depth: int) -> _At:
    char = text[at]
    if char == "(":
        inner = at + 1
        if text.startswith("?", inner):
            if not text.startswith("?:", inner):
                raise PatternError(inner, "flags, names and look-around are not supported")
            inner += 2
        found, end = _choice(text, inner, depth + 1)
        if end >= len(text):
            raise PatternError(at, "( is not closed")
        return _At(found, end + 1)
    if char == "[":
        return _set(text, at)
    if char == "\\":
        ranges, end = _escape(text, at)
        return _At(One(ranges), end)
    if char in "^$":
        raise PatternError(at, f"{char} is not needed: a pattern matches a whole value (use .* around it)")
    if char in "*+?{":
        raise PatternError(at, f"nothing before {char} to repeat")
    return _At(ANY if char == "." else One(((ord(char), ord(char)),)), at + 1)


def _repeated(text: str, at: int, part: Pattern) -> _At:
    if at >= len(text) or text[at] not in "*+?{":
        return _At(part, at)
    if text[at] == "{":
        least, most, end = _times(text, at)
    else:
        (least, most), end = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}[text[at]], at + 1
    if end < len(text) and text[end] in "*+?{":
        raise PatternError(end, f"{text[end]} after a repetition is not supported")
    return _At(Repeat(part, least, most), end)


def _times(text: str, at: int) -> tuple[int, int, int]:
    close = text.find("}", at)
    low, comma, high = text[at + 1 : close].partition(",")
    if close < 0 or not low.isascii() or not low.isdigit() or not (high == "" or (high.isascii() and high.isdigit())):
        raise PatternError(at, "expected {m}, {m,} or {m,n}")
    least = int(low[:6])
    most = (int(high[:6]) if high else -1) if comma else least
    if max(least, most) > MAX_REPEAT or 0 <= most < least or most == 0:
        raise PatternError(at, f"a repetition is of 1 to {MAX_REPEAT}, the smaller number first")
    return least, most, close + 1


def _set(text: str, at: int) -> _At:
    start, at = at, at + 1
    negated = text.startswith("^", at)
    at += negated
    ranges: list[tuple[int, int]] = []
    first = True
    while at < len(text) and (text[at] != "]" or first):
        if text.startswith("[:", at):
            raise PatternError(at, "named classes are not supported")
        found, at = _member(text, at)
        if at + 1 < len(text) and text[at] == "-" and text[at + 1] != "]" and len(found) == 1:
            high, at = _member(text, at + 1)
            if found[0][0] != found[0][1] or len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < found[0][0]:
                raise PatternError(at - 1, "not a range of characters")
            found = ((found[0][0], high[0][0]),)
        ranges.extend(found)
        first = False
    if at >= len(text):
        raise PatternError(start, "[ is not closed")
    merged = _merged(ranges)
    if negated:
        merged = _inverted(merged)
    if not merged:
        raise PatternError(start, "a set of no character")
    return _At(One(merged), at + 1)


def _member(text: str, at: int) -> tuple[Ranges, int]:
    return _escape(text, at) if text[at] == "\\" else (((ord(text[at]), ord(text[at])),), at + 1)


def _escape(text: str, at: int) -> tuple[Ranges, int]:
    if at + 1 >= len(text):
        raise PatternError(at, "\\ at the end")
    char = text[at + 1]
    if char.lower() in CLASSES:
        ranges = CLASSES[char.lower()]
        return (ranges if char.islower() else _inverted(ranges)), at + 2
    if char in CONTROLS:
        char = CONTROLS[char]
    elif char.isalnum():
        raise PatternError(at, f"\\{char} is not supported")
    return ((ord(char), ord(char)),), at + 2
