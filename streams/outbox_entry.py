"""What the outbox keeps: an entry a notification, a delivery for each of its targets."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from schemas.base import Event
from schemas.notifications import Notification


class Step(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    SHADOW = "shadow"


class Delivery(Event, frozen=True, kw_only=True):
    """One target of one notification. `refusals` counts what the other side refused for now, `attempts` every try."""

    channel: str
    ref: str
    name: str
    step: Step = Step.PENDING
    attempts: int = 0
    refusals: int = 0
    next_at_ms: int = 0


class Entry(Event, frozen=True, kw_only=True):
    """`notification` is dropped when nothing is pending; `offset` is that of the record it came with."""

    notification: Notification | None
    deliveries: list[Delivery]
    partition: int
    offset: int
    accepted_at_ms: int
    done_at_ms: int = 0


class Due(msgspec.Struct, frozen=True):
    """A delivery whose turn it is."""

    key: str
    delivery: Delivery
    notification: Notification


class Planned(msgspec.Struct, frozen=True):
    """A target a notification goes to, as the configuration says now; not before `until_ms`, and then in a digest."""

    channel: str
    ref: str
    name: str
    until_ms: int = 0
