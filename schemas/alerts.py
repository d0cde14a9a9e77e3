"""Alert observations (`alerts`), alert states (`alerts.state`) and silences (`silences`).

Field names of observations and silences are Alertmanager's API v2 in snake case; the gateway renders camelCase.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from schemas.base import LAST_MS, Event, digest

NO_TENANT = "platform"
INTERNAL = "eventsphere.internal"
"""The tenant of Eventsphere's own canary: nobody is of it, its alerts are in no list and no silence covers them."""
FUTURE_MS = 3_600_000
"""How far an observation's time may be ahead of the time it was written to Kafka."""


class Status(StrEnum):
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"
    NO_DATA = "no_data"
    ERROR = "error"


class Evidence(Event, frozen=True, kw_only=True, gc=False):
    """Where a record stands in Kafka: enough to show it, and to explain an alert by it."""

    topic: str
    partition: int
    offset: int
    time_ms: int = 0
    excerpt: str = ""


class Acknowledged(Event, frozen=True, kw_only=True):
    """Somebody has taken it on: it is not repeated until then (0: until it resolves). `by` empty: taken back."""

    by: str
    at_ms: int
    until_ms: int = 0
    comment: str = ""
    snoozed: bool = False
    """Nothing at all is said of it while it fires; else only its repeats are left out."""


class Remark(Event, frozen=True, kw_only=True):
    """What somebody wrote about an alert, or who is to see to it. `assignee` None: unchanged, empty: nobody."""

    by: str
    at_ms: int
    text: str = ""
    assignee: str | None = None


class Transition(Event, frozen=True, kw_only=True):
    """The alert came into this state then; `starts_at_ms` says in which episode."""

    state: Status
    at_ms: int
    starts_at_ms: int


class Alert(Event, frozen=True, kw_only=True):
    """One observation of an alert, from Prometheus, Alertmanager or our own rules. Key: `tenant/fingerprint`.

    `ends_at_ms` 0 = still firing until said otherwise; in the future = firing until then unless refreshed
    (Prometheus); in the past or equal to `observed_at_ms` = resolved.
    """

    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at_ms: int
    ends_at_ms: int = 0
    observed_at_ms: int
    generator_url: str = ""
    tenant: str = NO_TENANT
    cluster: str = ""
    fingerprint: str
    source: str = ""
    """What observed it: `prometheus`, `alertmanager/<hook id>`, `rule/<name>`."""
    for_ms: int = 0
    """How long it must have been observed before it fires (our rules; Prometheus waits by itself)."""
    evidence: list[Evidence] = []
    without: str = ""
    """`no_data` or `error`: the rule has nothing to go by, and that is all it says. It is shown, nobody is told."""
    acknowledged: Acknowledged | None = None
    """Not an observation then: somebody takes on the alert of these labels and `starts_at_ms`, if it still fires."""
    remark: Remark | None = None
    """Not an observation then: somebody says something of the alert of these labels."""


def wrong_times(alert: Alert) -> str:
    """What is wrong with an observation's times, as `field: reason`, or an empty text. Times are ms since the epoch."""
    acknowledged = alert.acknowledged or Acknowledged(by="", at_ms=0)
    for field, value, least in (
        ("starts_at_ms", alert.starts_at_ms, 1),
        ("observed_at_ms", alert.observed_at_ms, 1),
        ("ends_at_ms", alert.ends_at_ms, 0),
        ("acknowledged.at_ms", acknowledged.at_ms, 0),
        ("acknowledged.until_ms", acknowledged.until_ms, 0),
        ("remark.at_ms", alert.remark.at_ms if alert.remark else 0, 0),
    ):
        if not least <= value <= LAST_MS:
            return f"{field}: expected milliseconds since the epoch, {least} to {LAST_MS} (the year 9999)"
    if 0 < alert.ends_at_ms < alert.starts_at_ms:
        return "ends_at_ms: is before starts_at_ms"
    if not 0 <= alert.for_ms <= LAST_MS - alert.starts_at_ms:
        return "for_ms: is negative or endless"
    return ""


class Suppressed(Event, frozen=True, kw_only=True):
    silences: list[str] = []
    inhibited_by: list[str] = []
    muted_by: list[str] = []


class AlertState(Event, frozen=True, kw_only=True):
    """The state of one alert. Key: `tenant/fingerprint`; `seq` grows by one with every change of the key."""

    tenant: str
    fingerprint: str
    episode: str
    state: Status
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at_ms: int
    ends_at_ms: int = 0
    updated_at_ms: int
    seq: int
    generator_url: str = ""
    cluster: str = ""
    source: str = ""
    acknowledged: Acknowledged | None = None
    suppressed: Suppressed = Suppressed()
    assignee: str = ""
    """Who is to see to this episode."""
    remarks: list[Remark] = []
    """The newest ones, oldest first."""
    history: list[Transition] = []
    """Its last changes of state, oldest first."""
    evidence: list[Evidence] = []


class Matcher(Event, frozen=True, kw_only=True):
    """Alertmanager's matcher: `name` of the label, `value`, whether it is a regex (RE2, anchored) and whether equal."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    value: Annotated[str, msgspec.Meta(max_length=4096)]
    is_regex: bool = False
    is_equal: bool = True


class Silence(Event, frozen=True, kw_only=True):
    """Alertmanager's silence. Key: `id`. Expired by `ends_at_ms` alone; kept for a while for history."""

    id: str
    matchers: list[Matcher]
    starts_at_ms: int
    ends_at_ms: int
    created_by: str
    comment: str = ""
    updated_at_ms: int
    tenant: str = ""
    """Empty: over all tenants (platform)."""
    cluster: str = ""
    """Where it was made; it covers the alerts of every cluster."""


def fingerprint(labels: dict[str, str]) -> str:
    """Prometheus's fingerprint of a label set: FNV-1a 64 over sorted name 0xff value 0xff, as 16 hex digits.

    Source: prometheus/common model/fingerprinting.go and model/signature.go.
    """
    value = 14695981039346656037
    for name in sorted(labels):
        for byte in name.encode() + b"\xff" + labels[name].encode() + b"\xff":
            value = ((value ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def alert_key(tenant: str, print_: str) -> str:
    return f"{tenant}/{print_}"


def episode_id(tenant: str, print_: str, starts_at_ms: int) -> str:
    """One id for one firing period of one alert: hash(tenant, fingerprint, startsAt)."""
    return digest(tenant, print_, str(starts_at_ms))
