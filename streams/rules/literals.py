"""Which bytes a record must contain for a condition to be true of it: so most records are refused without parsing.

`needles` are what JSON writes of printable ASCII, escapes included; a writer may still escape characters otherwise
(`\\u0065`, `\\/`), so records with such an escape are looked at by whoever uses them (`other_writings`). `required` is
stricter and simpler: one set, of literals that JSON writes in one way but for \\u00xx.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any as Opaque
from typing import NamedTuple

import re2

from streams.rules import nodes
from streams.rules.nodes import Node

Literals = frozenset[bytes]
"""One of these is in every record the condition is true of."""
MIN_LENGTH = 3
MAX_ALTERNATIVES = 256
MAX_NEEDS = 6
SET_MEMORY = 256 << 20
_SAFE = re.compile(r"[ !#-.0-\[\]-~]+")
_PRINTABLE = re.compile(r"[ -~]+")
_ESCAPED = rb"\\u00[2-7]"
_DIRECT = 3
"""Up to so many literals, `in` is faster than the automaton."""


class Needle(NamedTuple):
    """Bytes of raw JSON; `folded`: in either case, and `raw` is in lower case."""

    raw: bytes
    folded: bool = False


Need = frozenset[Needle]
"""One of these is in every record the condition is true of."""
Write = Callable[[str, bool], Needle | None]
"""What raw JSON surely holds of a text of the record, in either case if so asked."""


def required(node: Node, truth: bool = True) -> Literals | None:
    """Literals one of which a record must contain for `node` to be `truth`; None when there is no such need."""
    return _plain(_Walk(_safe).needs(node, truth))


def of_pattern(text: str) -> Literals | None:
    """Literals of an RE2 pattern, by the standard library's parser where both read it alike; else None."""
    return _plain(_Walk(_safe).of_pattern(text))


def needles(node: Node) -> list[Need]:
    """All of these a record must meet for `node` to be true of it, the best first; none: nothing is known."""
    found = dict.fromkeys(_Walk(_as_json).needs(node, truth=True))
    return sorted(found, key=_quality, reverse=True)[:MAX_NEEDS]


def other_writings(used: Iterable[Needle]) -> list[bytes]:
    """RE2 patterns (of bytes) for what a writer may have put in place of characters of these needles."""
    out: list[bytes] = []
    letters: set[str] = set()
    folded = False
    for needle in used:
        text = needle.raw.decode("ascii")
        letters.update(text, text.upper() if needle.folded else "")
        folded = folded or needle.folded
    if letters:
        out.append(rb"\\u00(?i:%s)" % b"|".join(b"%02x" % ord(each) for each in sorted(letters)))
    if "/" in letters:
        out.append(rb"\\/")
    if folded:  # the long s and the Kelvin sign are s and k in another case
        out += [rb"\xc5\xbf", rb"\xe2\x84\xaa", rb"\\u(?i:017f|212a)"]
    return out


def _plain(needs: list[Need]) -> Literals | None:
    best = _best(needs)
    return frozenset(needle.raw for needle in best) if best else None


def _safe(text: str, folded: bool) -> Needle | None:
    """The longest run of `text` that JSON writes as it is."""
    longest = max(_SAFE.findall(text), key=len, default="")
    return Needle(longest.encode()) if len(longest) >= MIN_LENGTH and not folded else None


def _as_json(text: str, folded: bool) -> Needle | None:
    """The longest run of printable ASCII, with the escapes JSON must have."""
    longest = max(_PRINTABLE.findall(text), key=len, default="")
    if len(longest) < MIN_LENGTH:
        return None
    raw = longest.replace("\\", "\\\\").replace('"', '\\"').encode()
    return Needle(raw.lower() if folded else raw, folded)


def _quality(need: Need) -> Opaque:
    """The longest shortest literal, then the fewest."""
    return min(len(needle.raw) for needle in need), -len(need), sorted(need)


def _best(found: Iterable[Need]) -> Need | None:
    """Of several needs that all hold, the one that refuses most."""
    return max(found, key=_quality, default=None)


def _union(found: Sequence[Need | None]) -> list[Need]:
    """Of several needs one of which holds."""
    out: set[Needle] = set()
    for need in found:
        if not need:
            return []
        out |= need
    return [frozenset(out)] if 0 < len(out) <= MAX_ALTERNATIVES else []


def _is_text(node: Node) -> bool:
    """Whether it is text of the record as it is there, or in lower case."""
    if isinstance(node, nodes.Convert):
        return node.name == "lowerAscii" and isinstance(node.operand, nodes.Path)
    return isinstance(node, nodes.Path)


class _Walk:
    """Over conditions and patterns; what it returns must all be met."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def needs(self, node: Node, truth: bool) -> list[Need]:
        match node:
            case nodes.Not(operand=operand):
                return self.needs(operand, not truth)
            case nodes.All(operands=operands):
                return (self._all if truth else self._any)(operands, truth)
            case nodes.Any(operands=operands):
                return (self._any if truth else self._all)(operands, truth)
            case nodes.Holds(operand=operand) if truth:
                return self.needs(operand, truth)
            case nodes.Compare(op="==" | "!=", left=left, right=right) if truth == (node.op == "=="):
                return self._equal(left, right)
            case nodes.Compare(op="in", left=left, right=nodes.Items(values=values)) if truth and _is_text(left):
                folded = isinstance(left, nodes.Convert)
                return _union([self._one(v, folded=folded) if isinstance(v, str) else None for v in values])
            case nodes.Compare(op="in", left=nodes.Literal(value=str(text)), right=nodes.Path()) if truth:
                return self._text(text)
            case nodes.TextTest(target=target, argument=nodes.Literal(value=str(text))) if truth and _is_text(target):
                folded = isinstance(target, nodes.Convert)
                return self.of_pattern(text, folded) if node.name == "matches" else self._text(text, folded=folded)
        return []

    def _all(self, operands: Sequence[Node], truth: bool) -> list[Need]:
        return [need for operand in operands for need in self.needs(operand, truth)]

    def _any(self, operands: Sequence[Node], truth: bool) -> list[Need]:
        return _union([_best(self.needs(operand, truth)) for operand in operands])

    def _equal(self, left: Node, right: Node) -> list[Need]:
        if isinstance(left, nodes.Literal):
            left, right = right, left
        if _is_text(left) and isinstance(right, nodes.Literal) and isinstance(right.value, str):
            return self._text(right.value, folded=isinstance(left, nodes.Convert))
        return []

    def _text(self, text: str, *, folded: bool = False) -> list[Need]:
        found = self._one(text, folded=folded)
        return [found] if found else []

    def _one(self, text: str, *, folded: bool = False) -> Need | None:
        needle = self._write(text, folded)
        return frozenset({needle}) if needle else None

    def of_pattern(self, text: str, folded: bool = False) -> list[Need]:
        if "[:" in text:
            return []  # a POSIX class to RE2, plain characters to the parser
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parsed = sre_parser.parse(text)
        except (re.error, RecursionError, OverflowError, ValueError):
            return []
        return self._sequence(parsed, folded or bool(parsed.state.flags & re.IGNORECASE))

    def _sequence(self, parsed: Iterable[tuple[Opaque, Opaque]], folded: bool) -> list[Need]:
        found: list[Need] = []
        run: list[str] = []
        for op, argument in [*parsed, (None, None)]:
            if op is sre.LITERAL:
                run.append(chr(argument))
                continue
            found += self._text("".join(run), folded=folded)
            run.clear()
            found += self._inner(op, argument, folded)
        return found

    def _inner(self, op: Opaque, argument: Opaque, folded: bool) -> list[Need]:
        if op is sre.SUBPATTERN:
            _, added, taken, inner = argument
            return self._sequence(inner, bool(added & re.IGNORECASE) or (folded and not taken & re.IGNORECASE))
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT) and argument[0] >= 1:
            return self._sequence(argument[2], folded)
        if op is sre.BRANCH:
            return _union([_best(self._sequence(branch, folded)) for branch in argument[1]])
        return []


class Prefilter:
    """`maybe(value)`: whether raw JSON bytes can match any of the conditions the literals were taken from."""

    def __init__(self, literals: Literals) -> None:
        self.literals = literals
        if len(literals) <= _DIRECT:
            self.maybe = self._direct(sorted(literals))
        else:
            self.maybe = self._set(sorted(literals))

    @staticmethod
    def _direct(literals: list[bytes]) -> Opaque:
        escaped = re.compile(_ESCAPED).search

        def maybe(value: bytes) -> bool:
            for literal in literals:
                if literal in value:
                    return True
            return b"\\u00" in value and escaped(value) is not None

        return maybe

    @staticmethod
    def _set(literals: list[bytes]) -> Opaque:
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.max_mem = SET_MEMORY
        automaton = re2.Set.SearchSet(options)
        for literal in literals:
            automaton.Add(re2.escape(literal))
        automaton.Add(_ESCAPED)
        automaton.Compile()
        found = automaton.Match

        def maybe(value: bytes) -> bool:
            return found(value) is not None

        return maybe
