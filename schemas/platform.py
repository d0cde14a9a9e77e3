"""Records about the platform itself: who did what (`platform.audit`), what may be missing (`gaps`), control."""

from __future__ import annotations

from typing import Any

from schemas.base import Event


class PlatformAudit(Event, frozen=True, kw_only=True):
    """What a user did through the gateway, refusals too. Key: actor."""

    id: str
    actor: str
    verb: str
    object: str
    result: str
    """`ok`, `denied`, `failed`."""
    status: int = 0
    address: str = ""
    request_id: str = ""
    time_ms: int
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    reason: str = ""
    tenant: str = ""
    cluster: str = ""


class Gap(Event, frozen=True, kw_only=True):
    """What may be missing. Key: source. `from_`/`to` are versions or offsets, `*_ms` times, whichever are known."""

    id: str
    source: str
    cluster: str = ""
    topic: str = ""
    partition: int = -1
    since: str = ""
    until: str = ""
    from_ms: int = 0
    to_ms: int = 0
    reason: str
    time_ms: int


class Control(Event, frozen=True, kw_only=True):
    """Broadcast to every worker over `platform.control`: `rules.changed`, `alerting.changed`. Key: type."""

    type: str
    by: str = ""
    time_ms: int
    cluster: str = ""


class Canary(Event, frozen=True, kw_only=True):
    """An alert of our own on its way (`platform.canary`). Key: `id`, which only its sender knows."""

    id: str
    time_ms: int
    slot: str = ""
    """Those that follow each other are different alerts: one need not be over before the next is told."""
    cluster: str = ""


class Trip(Event, frozen=True, kw_only=True):
    """The canary of this id was delivered (`platform.trips`). Key: `trip`."""

    id: str
    arrived_ms: int
    cluster: str = ""
