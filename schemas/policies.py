"""What is decided beyond an alertmanager.yml, from a document beside it: repeats, digests, quiet hours, escalation and
inhibition by level. Read by `streams/policy_file.py`, applied by `streams/policies.py`. Times are milliseconds."""

from __future__ import annotations

from schemas.alerts import Matcher
from schemas.base import Event
from schemas.intervals import TimeSpan


class RepeatPolicy(Event, frozen=True, kw_only=True):
    """How often a group is told again while nothing changes, by its alerts; the first policy that takes an alert holds,
    and of a group's alerts the one that is told soonest. `every_ms` 0: never."""

    matchers: list[Matcher]
    every_ms: int = 0
    factor: int = 1
    """Each wait is that many times the one before (1: all the same)."""
    max_ms: int = 0
    """No wait is longer; 0: however long."""
    times: int = 0
    """Told again at most that often; 0: without end."""


class DigestPolicy(Event, frozen=True, kw_only=True):
    """Alerts that wait for the end of each period (counted from midnight UTC) and are told together."""

    name: str
    matchers: list[Matcher]
    every_ms: int
    receivers: list[str] = []
    """Only of these; none named: of all."""


class QuietHours(Event, frozen=True, kw_only=True):
    """When receivers hear of nothing but what `but` takes; what still fires afterwards is told then."""

    name: str
    receivers: list[str]
    spans: list[TimeSpan]
    but: list[Matcher] = []


class Escalation(Event, frozen=True, kw_only=True):
    """Who else is told of alerts that nobody acknowledged and that still fire `after_ms` after they began."""

    name: str
    matchers: list[Matcher]
    after_ms: int
    to: str
    repeat_ms: int = 3_600_000


class Policies(Event, frozen=True, kw_only=True):
    repeat: list[RepeatPolicy] = []
    digest: list[DigestPolicy] = []
    quiet_hours: list[QuietHours] = []
    escalate: list[Escalation] = []
