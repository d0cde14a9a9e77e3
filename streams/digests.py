"""Digests of the outbox: what a target is told later, in one notification. Pure.

An entry `late/...` a target and reason grows until it is sent. Whenever it does its notification has another id, so
that what was written down of one attempt is never taken for the longer one.
"""

from __future__ import annotations

import msgspec

from schemas.alerts import AlertState, alert_key
from schemas.base import digest
from streams.outbox_entry import Due, Entry, Step

KEY = "late/"
LATE = "late"
"""`Notification.reason` of a digest of what could not be delivered in time."""
HELD = "held"
"""Of a digest for somebody's quiet hours, or who wants one."""
ALERTS = 100
_replace = msgspec.structs.replace


def key_of(due: Due, reason: str) -> str:
    return KEY + digest(due.notification.tenant, due.notification.receiver, due.delivery.ref, reason)


def longer(before: Entry | None, due: Due, entry: Entry, now_ms: int, reason: str) -> Entry:
    """The digest with the alerts of `due` in it, each as it was told last. `entry`: the one `due` is of."""
    known = before.notification if before is not None else None
    alerts = _by_key(known.alerts) | _by_key(due.notification.alerts) if known else _by_key(due.notification.alerts)
    shown = list(alerts.values())[-ALERTS:]
    left_out = len(alerts) - len(shown) + due.notification.truncated + (known.truncated if known else 0)
    told = _replace(
        due.notification,
        id=digest(KEY, known.id if known else "", due.notification.id, due.delivery.ref),
        group_key=reason,
        group_labels={},
        reason=reason,
        alerts=shown,
        truncated=left_out,
        thread="",
        decided_at_ms=now_ms,
    )
    delivery = due.delivery
    if before is not None and known is not None:
        delivery = before.deliveries[0]
    else:
        at_ms = max(now_ms, delivery.next_at_ms)
        delivery = _replace(delivery, step=Step.PENDING, attempts=0, refusals=0, next_at_ms=at_ms)
    return _replace(entry, notification=told, deliveries=[delivery], accepted_at_ms=now_ms, done_at_ms=0)


def rest(entry: Entry, due: Due, now_ms: int) -> Entry:
    """What came into the digest while `due`, a shorter one, was on its way and taken."""
    notification = entry.notification
    if notification is None:
        return entry
    told = due.notification.alerts
    left = [alert for alert in notification.alerts if alert not in told]
    delivery = _replace(entry.deliveries[0], attempts=0, refusals=0, next_at_ms=now_ms)
    return _replace(entry, notification=_replace(notification, alerts=left), deliveries=[delivery])


def _by_key(alerts: list[AlertState]) -> dict[str, AlertState]:
    return {alert_key(alert.tenant, alert.fingerprint): alert for alert in alerts}
