"""Times in a URL: RFC 3339, milliseconds since the epoch, `now`, or relative to now like `-15m`. Pure."""

from __future__ import annotations

import re

from gateway.problems import bad_parameter
from schemas.base import parse_time

UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_RELATIVE = re.compile(r"-(\d{1,6})([smhdw])")
_MS = re.compile(r"\d{1,14}")
LATEST_MS = 253_402_300_799_999
"""The end of the year 9999."""


def parse(field: str, text: str, now_ms: int) -> int:
    """Milliseconds since the epoch; 0 for an empty text. Whole seconds (10 digits or less) are taken as such.

    Raises 422 naming `field` and what is expected.
    """
    text = text.strip()
    if not text:
        return 0
    if text == "now":
        return now_ms
    if match := _RELATIVE.fullmatch(text):
        return max(0, now_ms - int(match[1]) * UNITS_MS[match[2]])
    if _MS.fullmatch(text):
        value = int(text)
        return value * 1000 if len(text) <= 10 else value
    try:
        value = parse_time(text)
    except (ValueError, OverflowError):
        expected = "expected RFC 3339 (2026-01-05T10:00:00Z), milliseconds, now, or relative like -15m"
        raise bad_parameter(field, expected) from None
    if not 0 <= value <= LATEST_MS:
        raise bad_parameter(field, "out of range")
    return value
