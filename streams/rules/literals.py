"""Which bytes a record must contain for a condition to be true of it: so most records are refused without parsing.

Only literals that JSON writes in one way are used: plain ASCII without quote, backslash and slash. A writer may still
escape any character as \\u00xx, so a record with such an escape of a printable character is always parsed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any as Opaque

import re2

from streams.rules import nodes
from streams.rules.nodes import Node

Literals = frozenset[bytes]
"""One of these is in every record the condition is true of."""
MIN_LENGTH = 3
MAX_ALTERNATIVES = 256
SET_MEMORY = 256 << 20
_SAFE = re.compile(r"[ !#-.0-\[\]-~]+")
_ESCAPED = rb"\\u00[2-7]"
_DIRECT = 3
"""Up to so many literals, `in` is faster than the automaton."""


def required(node: Node, truth: bool = True) -> Literals | None:
    """Literals one of which a record must contain for `node` to be `truth`; None when there is no such need."""
    match node:
        case nodes.Not(operand=operand):
            return required(operand, not truth)
        case nodes.All(operands=operands):
            return (_best if truth else _union)([required(o, truth) for o in operands])
        case nodes.Any(operands=operands):
            return (_union if truth else _best)([required(o, truth) for o in operands])
        case nodes.Compare(op="==", left=left, right=right) if truth:
            return _equal(left, right)
        case nodes.Compare(op="!=", left=left, right=right) if not truth:
            return _equal(left, right)
        case nodes.Compare(op="in", left=nodes.Path(), right=nodes.Items(values=values)) if truth:
            return _union([_literal(v) if isinstance(v, str) else None for v in values])
        case nodes.TextTest(name="matches", target=nodes.Path(), argument=nodes.Literal(value=str(text))) if truth:
            return of_pattern(text)
        case nodes.TextTest(target=nodes.Path(), argument=nodes.Literal(value=str(text))) if truth:
            return _literal(text)
    return None


def _equal(left: Node, right: Node) -> Literals | None:
    match left, right:
        case (nodes.Path(), nodes.Literal(value=str(text))) | (nodes.Literal(value=str(text)), nodes.Path()):
            return _literal(text)
    return None


def _literal(text: str) -> Literals | None:
    """The longest run of `text` that JSON writes as it is."""
    longest = max(_SAFE.findall(text), key=len, default="")
    return frozenset({longest.encode()}) if len(longest) >= MIN_LENGTH else None


def _best(found: Iterable[Literals | None]) -> Literals | None:
    """Of several needs that all hold, the one that refuses most: the longest shortest literal, then the fewest."""
    return max((f for f in found if f), key=lambda f: (min(map(len, f)), -len(f), sorted(f)), default=None)


def _union(found: Sequence[Literals | None]) -> Literals | None:
    out: set[bytes] = set()
    for literals in found:
        if not literals:
            return None
        out |= literals
    return frozenset(out) if 0 < len(out) <= MAX_ALTERNATIVES else None


def of_pattern(text: str) -> Literals | None:
    """Literals of an RE2 pattern, by the standard library's parser where both read it alike; else None."""
    if "[:" in text:
        return None  # a POSIX class to RE2, plain characters to the parser
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = sre_parser.parse(text)
    except (re.error, RecursionError, OverflowError, ValueError):
        return None
    return None if parsed.state.flags & re.IGNORECASE else _sequence(parsed)


def _sequence(parsed: Iterable[tuple[Opaque, Opaque]]) -> Literals | None:
    found: list[Literals | None] = []
    run: list[str] = []
    for op, argument in [*parsed, (None, None)]:
        if op is sre.LITERAL:
            run.append(chr(argument))
            continue
        found.append(_literal("".join(run)))
        run.clear()
        found.append(_inner(op, argument))
    return _best(found)


def _inner(op: Opaque, argument: Opaque) -> Literals | None:
    if op is sre.SUBPATTERN:
        _, added, _, inner = argument
        return None if added & re.IGNORECASE else _sequence(inner)
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT) and argument[0] >= 1:
        return _sequence(argument[2])
    if op is sre.BRANCH:
        return _union([_sequence(branch) for branch in argument[1]])
    return None


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
