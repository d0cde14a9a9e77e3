"""The port of a notification channel: what a delivery is, and by which exception a channel says what became of it.

A channel is one module with one class: `targets` names whom a receiver reaches through it, `send` reaches one of them.
`send` returns when the other side took the notification over, and raises

- `Invalid`: it will never be taken (a refused recipient, HTTP 4xx) -> outcome `failed` and a dead letter;
- `Away`: the server is down or misconfigured, any other delivery through it would fare the same -> the lane waits;
- `Retryable`: not this one, not now -> it comes again later, others go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from schemas import alerting
from schemas.alerts import AlertState
from schemas.base import digest
from schemas.notifications import Context, Notification
from streams.errors import Retryable


class Away(Retryable):
    """The server behind a lane does not work now."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One address of a receiver. `name` is for people and free of secrets; `ref` is stable and names it in the state.

    Deliveries of one `lane` go one after the other: while one is between "sent" and "recorded as sent" no other is,
    so a crash repeats at most one a lane.
    """

    channel: str
    name: str
    ref: str
    lane: str
    config: alerting.Channel


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What `send` gets: the notification, whom to reach, and what stood around the alerts."""

    notification: Notification
    target: Target
    alerts: list[AlertState]
    """Those of the notification that this channel is told about."""
    context: Context
    notes: list[str]
    """What is missing of the context, and why."""
    now_ms: int


class Channel(Protocol):
    name: str
    wants_context: bool
    """Whether `send` shows the context: it is gathered only then."""

    def targets(self, receiver: alerting.Receiver) -> Sequence[Target]: ...

    async def send(self, job: Job) -> None: ...

    async def close(self) -> None: ...


def reference(channel: str, address: str) -> str:
    """A short stable id of an address that may hold secrets."""
    return digest(channel, address)[:16]
