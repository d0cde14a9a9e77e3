"""The test button: a notification that says it is a test, sent to everything a receiver names, now and once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from schemas.alerting import Receiver, alerts_for
from schemas.alerts import NO_TENANT, AlertState, Status, fingerprint
from schemas.base import digest
from schemas.notifications import Context, Decision, Notification
from streams.errors import Failure, Invalid
from streams.sinks.channel import Channel, Job, Target

REASON = "test"
"""`Notification.reason` of a test."""
TIMEOUT_S = 40.0


class Tried(msgspec.Struct, frozen=True):
    """What became of one target. `result`: `sent`, `retry` (would be tried again), `failed`; `ms`: how long it took."""

    channel: str
    target: str
    result: str
    reason: str
    ms: int


def sample(receiver: str, now_ms: int, tenant: str = NO_TENANT, cluster: str = "") -> Notification:
    labels = {"alertname": "EventsphereTest", "severity": "info", "namespace": "default", "receiver": receiver}
    alert = AlertState(
        tenant=tenant,
        fingerprint=fingerprint(labels),
        episode=digest(REASON, receiver, str(now_ms)),
        state=Status.FIRING,
        labels=labels,
        annotations={
            "summary": f"A test of receiver {receiver}: nothing is wrong.",
            "description": "这是一条测试通知, 无需处理。",
        },
        starts_at_ms=now_ms,
        updated_at_ms=now_ms,
        seq=1,
        cluster=cluster,
    )
    return Notification(
        id=digest(REASON, tenant, receiver, str(now_ms)),
        tenant=tenant,
        receiver=receiver,
        group_key='{}:{alertname="EventsphereTest"}',
        group_labels={"alertname": "EventsphereTest"},
        flush=now_ms,
        decision=Decision.SEND,
        reason=REASON,
        status="firing",
        alerts=[alert],
        decided_at_ms=now_ms,
        cluster=cluster,
    )


async def try_receiver(channels: Sequence[Channel], receiver: Receiver, notification: Notification) -> list[Tried]:
    """Each target once, side by side; never raises for what a target answers."""
    targets = {
        (target.channel, target.ref): (channel, target) for channel in channels for target in channel.targets(receiver)
    }
    return list(await asyncio.gather(*(_tried(channel, target, notification) for channel, target in targets.values())))


async def _tried(channel: Channel, target: Target, notification: Notification) -> Tried:
    began = time.monotonic()
    result, reason = "sent", ""
    job = Job(
        notification=notification,
        target=target,
        alerts=alerts_for(notification, target.config),
        context=Context(),
        notes=[],
        now_ms=notification.decided_at_ms,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await channel.send(job)
    except TimeoutError:
        result, reason = "retry", f"no answer within {TIMEOUT_S:.0f} s"
    except Failure as error:
        result, reason = "failed" if isinstance(error, Invalid) else "retry", str(error)[:500]
    except Exception as error:
        result, reason = "retry", type(error).__name__
    return Tried(target.channel, target.name, result, reason, round((time.monotonic() - began) * 1000))
