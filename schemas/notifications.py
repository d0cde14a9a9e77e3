"""Routing work (`alerts.routes`), decisions (`notifications`) and what became of them (`notifications.outcomes`)."""

from __future__ import annotations

from enum import StrEnum

from schemas.alerts import AlertState
from schemas.base import Event, digest


class Timing(Event, frozen=True, kw_only=True):
    """How a route groups, in milliseconds (Alertmanager's group_wait, group_interval, repeat_interval)."""

    group_wait_ms: int = 30_000
    group_interval_ms: int = 300_000
    repeat_interval_ms: int = 14_400_000
    digest_ms: int = 0
    """The group is told at the end of each period of this length (from midnight UTC) instead; 0: it is no digest."""


class Routed(Event, frozen=True, kw_only=True):
    """Internal, topic `alerts.routes`: one alert state on its way to one group. Key: tenant/receiver/group key."""

    tenant: str
    receiver: str
    group_key: str
    group_labels: dict[str, str]
    timing: Timing
    alert: AlertState
    cluster: str = ""


class Decision(StrEnum):
    SEND = "send"
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    MUTED = "muted"
    RATE_LIMITED = "rate_limited"
    DIGEST = "digest"
    """Not worth a message of its own: it was over before anybody was told."""
    SHADOW = "shadow"


class Context(Event, frozen=True, kw_only=True):
    """What stood around the alerts when the decision fell: last log lines, events, the rollout before it."""

    logs: list[dict[str, str]] = []
    events: list[dict[str, str]] = []
    rollouts: list[dict[str, str]] = []


class Notification(Event, frozen=True, kw_only=True):
    """A notification to deliver, or a decision not to (with the reason). Key: tenant/receiver/group key.

    `id` = hash(tenant, receiver, group key, flush number): the same decision always has the same id.
    `reason` says why: `schemas.alerting.Reason` for `send` and `shadow`, else by what the alerts were left out.
    `thread` = id of the first notification of the incident, for mail threading.
    """

    id: str
    tenant: str
    receiver: str
    group_key: str
    group_labels: dict[str, str]
    flush: int
    decision: Decision
    reason: str = ""
    status: str
    """`firing` when any alert fires, else `resolved`."""
    alerts: list[AlertState]
    truncated: int = 0
    thread: str = ""
    context: Context = Context()
    decided_at_ms: int
    cluster: str = ""
    """That of its alerts; the platform's own when they are of several."""
    resend_of: str = ""
    """Id of the notification that somebody had sent again by this one."""


class Result(StrEnum):
    SENT = "sent"
    RETRY = "retry"
    FAILED = "failed"
    SHADOW = "shadow"
    DUPLICATE = "duplicate"


class Outcome(Event, frozen=True, kw_only=True):
    """One attempt at delivering a notification. Key: the notification's id."""

    notification: str
    tenant: str
    receiver: str
    channel: str
    target: str = ""
    """Who it went to, without secrets (an address, a host)."""
    attempt: int
    result: Result
    reason: str = ""
    at_ms: int
    retry_at_ms: int = 0
    cluster: str = ""


def notification_id(tenant: str, receiver: str, group_key: str, flush: int) -> str:
    return digest(tenant, receiver, group_key, str(flush))


def group_record_key(tenant: str, receiver: str, group_key: str) -> str:
    return f"{tenant}/{receiver}/{group_key}"
