"""Ranges of numbers as patterns of the words their keys are, for an index of exact words alone. Pure."""

from __future__ import annotations

from streams.sinks.index.language import Between
from streams.sinks.index.language_fields import number_key

DIGITS = "0123456789abcdef"
LENGTH = 16


def keys(node: Between) -> str:
    """A regular expression (for Rust) of the keys of the numbers of a range; empty when there is none."""
    low = 0 if node.low is None else int(number_key(node.low), 16) + node.low_open
    high = (1 << 64) - 1 if node.high is None else int(number_key(node.high), 16) - node.high_open
    if low > high:
        return ""
    return "|".join(_parts(f"{low:016x}", f"{high:016x}"))


def _parts(low: str, high: str) -> list[str]:
    """Patterns of all words from `low` to `high`, both of the same length."""
    if not low.strip("0") and not high.strip("f"):
        return [f"[0-9a-f]{{{len(low)}}}" if low else ""]
    if low[0] == high[0]:
        return [low[0] + rest for rest in _parts(low[1:], high[1:])]
    left = len(low) - 1
    out = [low[0] + rest for rest in _parts(low[1:], "f" * left)]
    out += [high[0] + rest for rest in _parts("0" * left, high[1:])]
    first, last = DIGITS.index(low[0]) + 1, DIGITS.index(high[0]) - 1
    if first <= last:
        out.append(f"[{DIGITS[first : last + 1]}]" + f"[0-9a-f]{{{left}}}" * (left > 0))
    return out
