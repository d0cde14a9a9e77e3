"""Times and durations in conditions, after CEL (langdef.md), to microseconds."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

_DURATION = re.compile(r"([+-]?)((?:\d+(?:\.\d+)?|\.\d+)(?:h|ms|m|s|us|ns))+|0")
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(h|ms|m|s|us|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
MAX_TEXT = 64


def duration(text: Any) -> timedelta:
    """Go's durations: 1h30m, 250ms, -5m. Raises ValueError."""
    if not isinstance(text, str) or len(text) > MAX_TEXT or not (found := _DURATION.fullmatch(text)):
        raise ValueError("expected a duration such as 30s, 5m or 1h30m")
    total = sum((timedelta(seconds=float(n) * _SECONDS[unit]) for n, unit in _PART.findall(text)), timedelta())
    return -total if found[1] == "-" else total


def timestamp(value: Any) -> datetime:
    """RFC 3339 text, or whole seconds since the epoch. Raises ValueError, OverflowError."""
    if type(value) is int:
        return datetime.fromtimestamp(value, UTC)
    try:
        if not isinstance(value, str) or len(value) > MAX_TEXT or "T" not in value.upper():
            raise ValueError
        found = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("expected a time such as 2026-01-05T10:00:00Z, or seconds") from None
    if found.tzinfo is None:
        raise ValueError("expected a time with its zone: 2026-01-05T10:00:00Z")
    return found.astimezone(UTC)


def seconds(value: datetime) -> int:
    return int(value.timestamp())


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """Raises ValueError for what is no time zone."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"no time zone called {name[:60]!r}") from None


def _of_time(read: Callable[[datetime], int], of_duration: float = 0.0) -> Callable[..., int]:
    """What is read of a time, in a zone (UTC); of a duration it is all of it in that unit."""

    def part(value: Any, name: str = "UTC") -> int:
        if isinstance(value, timedelta) and of_duration:
            return int(value.total_seconds() / of_duration)
        if not isinstance(value, datetime):
            raise TypeError
        return read(value.astimezone(zone(name)))

    return part


PARTS: dict[str, Callable[..., int]] = {
    "getFullYear": _of_time(lambda t: t.year),
    "getMonth": _of_time(lambda t: t.month - 1),
    "getDate": _of_time(lambda t: t.day),
    "getDayOfMonth": _of_time(lambda t: t.day - 1),
    "getDayOfYear": _of_time(lambda t: t.timetuple().tm_yday - 1),
    "getDayOfWeek": _of_time(lambda t: t.isoweekday() % 7),
    "getHours": _of_time(lambda t: t.hour, 3600),
    "getMinutes": _of_time(lambda t: t.minute, 60),
    "getSeconds": _of_time(lambda t: t.second, 1),
    "getMilliseconds": _of_time(lambda t: t.microsecond // 1000),
}
"""Months, days of month and year, and days of the week (Sunday) begin with 0; `getDate` with 1."""
