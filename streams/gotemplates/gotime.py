"""Go's time.Time and time.Duration as far as templates use them. All times are in UTC."""

from __future__ import annotations

import re
from calendar import day_abbr, day_name, month_abbr, month_name
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import total_ordering
from typing import Any, ClassVar

_ZERO_S = -62_135_596_800
"""0001-01-01 00:00:00 UTC, in seconds since 1970: Go's zero time."""
_LAST_S = 253_402_300_799
_NS = 1_000_000_000
_LAYOUT = re.compile(
    r"January|Jan|Monday|Mon|MST|Z0700|Z07:00|-0700|-07:00|-07|2006|__2|_2|002|01|02|03|04|05|06|15|PM|pm"
    r"|[.,]0+(?!\d)|[.,]9+(?!\d)|1|2|3|4|5"
)


class Duration:
    """Nanoseconds."""

    methods: ClassVar[dict[str, Callable[..., Any]]] = {
        "String": str,
        "Seconds": lambda self: self.ns / _NS,
        "Minutes": lambda self: self.ns / _NS / 60,
        "Hours": lambda self: self.ns / _NS / 3600,
    }

    def __init__(self, ns: int) -> None:
        self.ns = ns

    def __str__(self) -> str:
        """`1h2m3.5s`, as Go writes it."""
        left, sign = abs(self.ns), "-" if self.ns < 0 else ""
        if not left:
            return "0s"
        for unit, size in (("ns", 1), ("µs", 1000), ("ms", 1_000_000)):
            if left < size * 1000:
                return f"{sign}{_trimmed(left, size)}{unit}"
        hours, left = divmod(left, 3600 * _NS)
        minutes, left = divmod(left, 60 * _NS)
        return (
            sign + (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + _trimmed(left) + "s"
        )


def _trimmed(value: int, size: int = _NS) -> str:
    whole, part = divmod(value, size)
    fraction = f"{part:0{len(str(size)) - 1}d}".rstrip("0") if part else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


@total_ordering
class Time:
    """Nanoseconds since 1970, UTC."""

    def __init__(self, ns: int) -> None:
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Time) and self.ns == other.ns

    def __lt__(self, other: Time) -> bool:
        return self.ns < other.ns

    def __hash__(self) -> int:
        return hash(self.ns)

    def _when(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=min(max(self.ns // _NS, _ZERO_S), _LAST_S))

    def __str__(self) -> str:
        return self._format("2006-01-02 15:04:05.999999999 -0700 MST")

    def _format(self, layout: str) -> str:
        when = self._when()
        return _LAYOUT.sub(lambda found: _part(found.group(), when, self.ns % _NS), layout)

    def add(self, span: int | float | Duration) -> Time:
        """Raises ValueError for what is no whole number of nanoseconds."""
        ns = span.ns if isinstance(span, Duration) else int(span)
        if not isinstance(span, Duration) and ns != span:
            raise ValueError("expected nanoseconds")
        return Time(self.ns + ns)

    methods: ClassVar[dict[str, Callable[..., Any]]] = {
        "Format": _format,
        "Unix": lambda self: self.ns // _NS,
        "UnixMilli": lambda self: self.ns // 1_000_000,
        "UnixNano": lambda self: self.ns,
        "UTC": lambda self: self,
        "String": str,
        "IsZero": lambda self: self.ns == _ZERO_S * _NS,
        "Add": add,
        "Sub": lambda self, other: Duration(self.ns - other.ns),
        "Before": lambda self, other: self.ns < other.ns,
        "After": lambda self, other: self.ns > other.ns,
        "Year": lambda self: self._when().year,
        "Day": lambda self: self._when().day,
        "Hour": lambda self: self._when().hour,
        "Minute": lambda self: self._when().minute,
        "Second": lambda self: self._when().second,
        "YearDay": lambda self: self._when().timetuple().tm_yday,
    }


ZERO = Time(_ZERO_S * _NS)


def from_ms(ms: int) -> Time:
    return Time(ms * 1_000_000)


def _part(token: str, when: datetime, ns: int) -> str:
    if token[0] in ".,":
        digits = f"{ns:09d}"[: len(token) - 1].ljust(len(token) - 1, "0")
        if token[1] == "9":
            digits = digits.rstrip("0")
            return token[0] + digits if digits else ""
        return token[0] + digits
    hour = when.hour % 12 or 12
    parts = {
        "2006": f"{when.year:04d}", "06": f"{when.year % 100:02d}", "January": month_name[when.month],
        "Jan": month_abbr[when.month], "01": f"{when.month:02d}", "1": str(when.month),
        "Monday": day_name[when.weekday()], "Mon": day_abbr[when.weekday()], "02": f"{when.day:02d}",
        "2": str(when.day), "_2": f"{when.day:2d}", "002": f"{when.timetuple().tm_yday:03d}",
        "__2": f"{when.timetuple().tm_yday:3d}", "15": f"{when.hour:02d}", "03": f"{hour:02d}", "3": str(hour),
        "04": f"{when.minute:02d}", "4": str(when.minute), "05": f"{when.second:02d}", "5": str(when.second),
        "PM": "PM" if when.hour >= 12 else "AM", "pm": "pm" if when.hour >= 12 else "am", "MST": "UTC",
        "-0700": "+0000", "-07:00": "+00:00", "-07": "+00", "Z0700": "Z", "Z07:00": "Z",
    }  # fmt: skip
    return parts[token]
