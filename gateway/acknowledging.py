"""Taking an alert on: from then on it is not repeated, until a time or until it resolves. Written onto `alerts`."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from msgspec.structs import replace

from gateway import am_alerts
from gateway.services import Services
from schemas.alerts import Acknowledged, Alert, AlertState, Remark, Status, alert_key
from streams.errors import Invalid

SEEN_S = 5.0
"""How long an answer waits until this process itself sees what was written."""
MAX_COMMENT = 500


def acknowledgement(
    state: AlertState, by: str, now_ms: int, until_ms: int = 0, comment: str = "", *, snoozed: bool = False
) -> Alert:
    """What goes onto `alerts`; an empty `by` takes it back. Raises Invalid for an alert that does not fire."""
    if state.state is Status.RESOLVED:
        raise Invalid("resolved", "it is resolved: there is nothing to take on")
    if until_ms and until_ms <= now_ms:
        raise Invalid("until", "until is over already")
    return Alert(
        labels=state.labels,
        starts_at_ms=state.starts_at_ms,
        observed_at_ms=now_ms,
        tenant=state.tenant,
        cluster=state.cluster,
        fingerprint=state.fingerprint,
        source=f"acknowledge/{by}",
        acknowledged=Acknowledged(
            by=by, at_ms=now_ms, until_ms=until_ms, comment=comment[:MAX_COMMENT], snoozed=snoozed
        ),
    )


def remark(state: AlertState, by: str, now_ms: int, text: str = "", assignee: str | None = None) -> Alert:
    """What goes onto `alerts` when somebody says something of it, or whose it is. `assignee` None: unchanged."""
    return Alert(
        labels=state.labels,
        starts_at_ms=state.starts_at_ms,
        observed_at_ms=now_ms,
        tenant=state.tenant,
        cluster=state.cluster,
        fingerprint=state.fingerprint,
        source=f"remark/{by}",
        remark=Remark(by=by, at_ms=now_ms, text=text, assignee=assignee),
    )


async def remarked(kit: Services, alert: Alert) -> AlertState:
    """Return the state once this process sees it, or the one it has when that takes long."""
    await kit.producer.send([am_alerts.outgoing(alert)])
    key, said = alert_key(alert.tenant, alert.fingerprint), alert.remark

    def seen() -> bool:
        state = kit.views.alerts.get(key)
        if state is None or said is None:
            return True
        return (said in state.remarks or not said.text) and said.assignee in (None, state.assignee)

    with suppress(TimeoutError):
        async with asyncio.timeout(SEEN_S):
            while not seen():  # noqa: ASYNC110 - a view has no way to wait
                await asyncio.sleep(0.02)
    found = kit.views.alerts.get(key)
    if found is None:
        raise Invalid("resolved", "the alert is gone")
    return found


async def acknowledge(kit: Services, alert: Alert) -> AlertState:
    """Return the state once this process sees it, or as it would be when that takes long."""
    await kit.producer.send([am_alerts.outgoing(alert)])
    key, told = alert_key(alert.tenant, alert.fingerprint), alert.acknowledged
    wanted = told if told is not None and told.by else None
    with suppress(TimeoutError):
        async with asyncio.timeout(SEEN_S):
            while (seen := kit.views.alerts.get(key)) is not None and seen.acknowledged != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    found = kit.views.alerts.get(key)
    if found is None:
        raise Invalid("resolved", "the alert is gone")
    return replace(found, acknowledged=wanted)
