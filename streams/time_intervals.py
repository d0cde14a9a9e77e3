"""Time intervals of an alertmanager.yml: read, and whether a moment is within one.

Source: alertmanager 0.25 timeinterval/timeinterval.go, notify/notify.go (TimeMuteStage, TimeActiveStage).
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.alerting import Route
from schemas.intervals import Span, TimeInterval, TimeSpan
from streams.yaml_nodes import Node

DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = tuple(name.lower() for name in calendar.month_name)[1:]
LOCAL = "Local"
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


def intervals(nodes: Sequence[Node]) -> list[TimeInterval]:
    """Of both lists that may hold them, `time_intervals` and the older `mute_time_intervals`."""
    out: list[TimeInterval] = []
    for node in (item for each in nodes for item in each.items()):
        fields = node.known(("name", "time_intervals"))
        name = fields["name"].text() if "name" in fields else ""
        if not name:
            node.fail("expected a name")
        elif any(each.name == name for each in out):
            fields["name"].fail(f"the name {name!r} is taken")
        spans = [span(item) for item in fields["time_intervals"].items()] if "time_intervals" in fields else []
        out.append(TimeInterval(name=name, spans=spans))
    return out


def span(node: Node) -> TimeSpan:
    fields = node.known(("times", "weekdays", "days_of_month", "months", "years", "location"))

    def ranges(name: str, read: Callable[[str], int], low: int, high: int) -> list[Span]:
        return [_range(item, read, low, high) for item in fields[name].items()] if name in fields else []

    days = ranges("days_of_month", int, -31, 31)
    for first, last in days:
        if first == 0 or last == 0 or (first < 0 < last):
            fields["days_of_month"].fail("expected days from 1 to 31, or from the end of the month: -31 to -1")
    return TimeSpan(
        times=[_times(item) for item in fields["times"].items()] if "times" in fields else [],
        weekdays=ranges("weekdays", lambda text: DAYS.index(text.lower()), 0, 6),
        days_of_month=days,
        months=ranges("months", _month, 1, 12),
        years=ranges("years", int, 0, 9999),
        location=fields["location"].checked(_location, "UTC") if "location" in fields else "UTC",
    )


def _range(node: Node, read: Callable[[str], int], low: int, high: int) -> Span:
    """`a:b`, or `a` alone."""
    text = node.text()
    first, _, last = text.partition(":")
    try:
        span = read(first.strip()), read((last or first).strip())
    except ValueError:
        node.fail(f"expected one, or first:last, not {text[:40]!r}")
        return low, high
    if not (low <= span[0] <= high and low <= span[1] <= high):
        node.fail(f"expected {low} to {high}, not {text[:40]!r}")
    elif span[0] > span[1] and (span[0] > 0) == (span[1] > 0):
        node.fail("the first must not be after the last")
    return span


def _month(text: str) -> int:
    return MONTHS.index(text.lower()) + 1 if text.lower() in MONTHS else int(text)


def _times(node: Node) -> Span:
    fields = node.known(("start_time", "end_time"))
    minutes = [0, 0]
    for index, name in enumerate(("start_time", "end_time")):
        if name not in fields:
            node.fail(f"expected {name}: a time such as 08:30")
            return 0, 1
        minutes[index] = fields[name].checked(_minutes, index)
    if minutes[0] >= minutes[1]:
        node.fail("the start must be before the end; over midnight takes two of them")
    return minutes[0], minutes[1]


def _minutes(text: str) -> int:
    if not _TIME.fullmatch(text):
        raise ValueError(f"expected a time from 00:00 to 24:00, not {text[:40]!r}")
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _location(text: str) -> str:
    if text != LOCAL:
        try:
            ZoneInfo(text)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"no time zone {text[:60]!r} on this machine") from None
    return text


@lru_cache(maxsize=64)
def _zone(location: str) -> tzinfo | None:
    """None: this machine's."""
    return None if location == LOCAL else ZoneInfo(location)


def contains(interval: TimeInterval, now_ms: int) -> bool:
    return within(interval.spans, now_ms)


def within(spans: Sequence[TimeSpan], now_ms: int) -> bool:
    return any(_holds(each, now_ms) for each in spans)


def _holds(span: TimeSpan, now_ms: int) -> bool:
    now = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(_zone(span.location))
    minute, weekday = now.hour * 60 + now.minute, (now.weekday() + 1) % 7
    return (
        (not span.times or any(first <= minute < last for first, last in span.times))
        and _within(span.weekdays, weekday)
        and (not span.days_of_month or any(_in_month(each, now) for each in span.days_of_month))
        and _within(span.months, now.month)
        and _within(span.years, now.year)
    )


def _within(spans: Sequence[Span], value: int) -> bool:
    return not spans or any(first <= value <= last for first, last in spans)


def _in_month(span: Span, now: datetime) -> bool:
    """Days beyond the month are its last or first one."""
    length = calendar.monthrange(now.year, now.month)[1]
    first, last = (day if day > 0 else length + day + 1 for day in span)
    if first > length:
        return False
    return max(first, 1) <= now.day <= min(last, length)


def muted(route: Route, known: Sequence[TimeInterval], now_ms: int) -> str:
    """Why nothing of this route is told now, or an empty text."""
    by_name = {each.name: each for each in known}
    within = [name for name in route.mute_time_intervals if contains(by_name[name], now_ms)]
    if within:
        return "muted in " + ", ".join(within)
    wanted = route.active_time_intervals
    if wanted and not any(contains(by_name[name], now_ms) for name in wanted):
        return "outside " + ", ".join(wanted)
    return ""
