"""Times of the day, the week and the year. Source: alertmanager 0.25 timeinterval/timeinterval.go."""

from __future__ import annotations

from schemas.base import Event

Span = tuple[int, int]
"""First and last, both within (times: minutes of the day, the last one not)."""


class TimeSpan(Event, frozen=True, kw_only=True):
    """Moments for which everything that is named here holds. Source: alertmanager 0.25 timeinterval/timeinterval.go."""

    times: list[Span] = []
    weekdays: list[Span] = []
    """0 for Sunday."""
    days_of_month: list[Span] = []
    """From 1; negative ones count from the end of the month."""
    months: list[Span] = []
    years: list[Span] = []
    location: str = "UTC"
    """A time zone of the IANA database."""


class TimeInterval(Event, frozen=True, kw_only=True):
    name: str
    spans: list[TimeSpan] = []
    """Any of them."""
