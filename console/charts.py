"""Bars of a histogram as SVG geometry. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 960, 72
GAP = 1.5
LEAST = 2.0
"""A bar of one record is still to be seen."""


class Bar(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    start_ms: int
    end_ms: int
    records: int


def bars(counts: Sequence[tuple[int, int]], step_ms: int) -> list[Bar]:
    """`counts`: (start of the interval in ms, records) in order."""
    most = max((count for _, count in counts), default=0) or 1
    slot = WIDTH / max(1, len(counts))
    out = []
    for number, (start, count) in enumerate(counts):
        height = max(LEAST, count / most * HEIGHT) if count else 0
        out.append(Bar(number * slot, HEIGHT - height, max(1, slot - GAP), height, start, start + step_ms, count))
    return out
