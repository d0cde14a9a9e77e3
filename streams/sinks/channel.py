"""The port of a notification channel: what a delivery is, and by which exception a channel says what became of it.

A channel is one module with one class: `targets` names whom a receiver reaches through it, `send` reaches one of them.
`send` returns when the other side took the notification over, and raises

- `Invalid`: it will never be taken (a refused recipient, HTTP 4xx) -> outcome `failed` and a dead letter;
- `Away`: the server is down or misconfigured, any other delivery through it would fare the same -> the lane waits;
- `Retryable`: not this one, not now -> it comes again later, others go first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

import msgspec

from schemas import alerting
from schemas.alerts import AlertState
from schemas.base import digest
from schemas.notifications import Context, Notification
from streams.errors import Retryable


class Away(Retryable):
    """The server behind a lane does not work now."""


Final = Callable[[], AbstractAsyncContextManager[Any]]
"""Held from before the other side may have taken a delivery until it is written down that it did; what goes before
needs no such care and is done for several deliveries at once."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One address of a receiver. `name` is for people and free of secrets; `ref` is stable and names it in the state.

    Of one `lane`'s deliveries at most one is between "sent" and "recorded as sent", so a crash repeats at most one a
    lane.
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


@runtime_checkable
class Staged(Protocol):
    """A channel that gets several deliveries ready at once."""

    async def send_staged(self, job: Job, final: Final) -> None:
        """As `send`, entering `final()` once, before the other side may have taken it."""


def reference(channel: str, address: str) -> str:
    """A short stable id of an address that may hold secrets."""
    return digest(channel, address)[:16]
