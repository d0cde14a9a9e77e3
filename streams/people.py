"""Which people a notification reaches, and when: at once, after their quiet hours, or in their next digest. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.notifications import Notification
from schemas.people import Person, Quiet

SEVERITIES = ("info", "warning", "error", "critical")
UNSAID = "warning"
"""What an alert counts as whose `severity` says none of these."""
DAY = 1440


class Reached(NamedTuple):
    """`until_ms`: kept for a digest until then; 0: told at once."""

    person: Person
    until_ms: int


def reached(people: Iterable[Person], notification: Notification, now_ms: int) -> list[Reached]:
    """The tenant's people who want to hear of it, by name."""
    rank = rank_of(notification)
    out = [
        Reached(person, held_until(person, rank, now_ms))
        for person in people
        if person.tenant == notification.tenant and person.enabled and rank >= _rank(person.severity)
    ]
    return sorted(out, key=lambda each: each.person.name)


def rank_of(notification: Notification) -> int:
    return max((_rank(alert.labels.get("severity", "") or UNSAID) for alert in notification.alerts), default=0)


def held_until(person: Person, rank: int, now_ms: int) -> int:
    """When they are told, in ms; 0: at once."""
    if person.through and rank >= _rank(person.through):
        return 0
    until = quiet_until(person.quiet, now_ms) if person.quiet else 0
    if until or not person.digest_minutes:
        return until
    period = person.digest_minutes * 60_000
    return (now_ms // period + 1) * period


def quiet_until(quiet: Quiet, now_ms: int) -> int:
    """When the quiet hours end that it is now, in ms; 0: it is none."""
    zone = ZoneInfo(quiet.zone)
    now = datetime.fromtimestamp(now_ms / 1000, zone)
    length = (quiet.end - quiet.start) % DAY or DAY
    for days in (0, 1):
        day = (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
        if quiet.weekdays and day.weekday() not in quiet.weekdays:
            continue
        # By the wall clock: an hour that a change of the clocks skips or repeats is part of the night.
        begin = day + timedelta(minutes=quiet.start)
        end = begin + timedelta(minutes=length)
        if begin <= now < end:
            return round(end.timestamp() * 1000)
    return 0


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else SEVERITIES.index(UNSAID) if severity else 0
