"""Which records of many may be concerned, by their raw bytes: one pass over a block of them, none is parsed. Pure.

Values are put behind each other and searched as one text, so that what a record costs is its bytes, not a call.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

import re2

from streams.rules.literals import Literals

ESCAPED = rb"\\u00[2-7]"
"""A writer may escape any character: such records are always looked at."""
BLOCK = 128
MEMORY = 64 << 20
END = b"\n"
_UNANCHORED = re2._re2.RE2.Anchor.UNANCHORED

Scan = Callable[[Sequence[bytes]], list[int]]
"""Values -> positions of those that may be concerned, ascending."""


def of_literals(literals: Literals) -> bytes:
    return b"|".join(re2.escape(literal) for literal in sorted(literals))


def every(values: Sequence[bytes]) -> list[int]:
    return list(range(len(values)))


def scan_for(needs: Iterable[bytes]) -> Scan:
    """Finds the records in which one of the RE2 patterns `needs` matches; they must not match across a line break."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    options.never_nl = True
    options.max_mem = MEMORY
    pattern = re2._re2.RE2(b"|".join([*dict.fromkeys(needs), ESCAPED]), options)
    match = pattern.Match

    def scan(values: Sequence[bytes]) -> list[int]:
        out: list[int] = []
        for first in range(0, len(values), BLOCK):
            part = values[first : first + BLOCK]
            block = END.join(part)
            size, start = len(block), 0
            ends: list[int] = []
            while start < size:
                found = match(_UNANCHORED, block, start, size)[0][0]
                if found < 0:
                    break
                ends = ends or list(accumulate([len(value) + 1 for value in part]))
                position = bisect_right(ends, found)
                out.append(first + position)
                start = ends[position]
        return out

    return scan
