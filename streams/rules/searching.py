"""RE2 patterns over texts of a record: one by itself, and many over the same text in one pass.

The automaton of many is built as texts are read. Patterns that could make it grow without end (counted repeats of
classes) stay out of it: alone, RE2 gives such an automaton up and goes slower, but steadily.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any

import re2

from streams.rules.parser import PATTERN_MEMORY

FEW = 3
"""Below so many, one by one is as fast."""
TOGETHER = 64
"""In one automaton."""
MEMORY = 16 << 20
REPEATS = 8
"""Of classes of characters, in one pattern of an automaton."""
_UNANCHORED = re2._re2.RE2.Anchor.UNANCHORED
_PROBE = "\0probe\0"


def _options(memory: int) -> Any:
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    options.never_capture = True
    return options


def finder(pattern: str) -> Callable[[str], bool]:
    """Whether the pattern (one that the parser took) is found in a text."""
    match = re2._re2.RE2(pattern.encode(), _options(PATTERN_MEMORY)).Match

    def find(text: str) -> bool:
        raw = text.encode("utf-8", "surrogatepass")
        found: bool = match(_UNANCHORED, raw, 0, len(raw))[0][0] >= 0
        return found

    return find


def together(patterns: Iterable[str]) -> list[tuple[list[str], Callable[[str], Sequence[int]]]]:
    """Patterns that can be searched in one pass, with what gives the positions of those found; others are left out."""
    fit = [pattern for pattern in dict.fromkeys(patterns) if is_tame(pattern)]
    out = []
    for start in range(0, len(fit), TOGETHER):
        some = fit[start : start + TOGETHER]
        search = _automaton(some) if len(some) >= FEW else None
        if search is not None:
            out.append((some, search))
    return out


def _automaton(patterns: Sequence[str]) -> Callable[[str], Sequence[int]] | None:
    """None when it would not fit into its memory: it would find nothing then, without a word."""
    automaton = re2.Set.SearchSet(_options(MEMORY))
    for pattern in [*patterns, _PROBE]:
        automaton.Add(pattern)
    automaton.Compile()
    match = automaton._set.Match
    if match(_PROBE.encode()) is None or len(patterns) not in match(_PROBE.encode()):
        return None

    def search(text: str) -> Sequence[int]:
        found: Sequence[int] = match(text.encode("utf-8", "surrogatepass"))
        return found

    return search


def is_tame(pattern: str) -> bool:
    """Whether its automaton surely stays small."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = sre_parser.parse(pattern)
    except (re.error, RecursionError, OverflowError, ValueError):
        return False
    return _repeats(parsed) <= REPEATS


def _repeats(parsed: Any) -> int:
    """How many characters of classes its counted repeats may hold."""
    total = 0
    for op, argument in parsed:
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            least, most, inner = argument
            count = least if most is sre.MAXREPEAT else most
            plain = all(each is sre.LITERAL for each, _ in inner)
            total += count if count > 1 and not plain else 0
            total += _repeats(inner) * max(1, count)
        elif op is sre.SUBPATTERN:
            total += _repeats(argument[3])
        elif op is sre.BRANCH:
            total += sum(map(_repeats, argument[1]))
    return total
