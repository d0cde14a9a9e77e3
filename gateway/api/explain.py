"""`GET /api/v1/alerts/{fingerprint}/explain`: why an alert notified, or why not."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from gateway.alerting import Alerting
from gateway.api.alerts import found
from gateway.api.alerts import shown as shown_alert
from gateway.deps import Kit, Principal, Search, need
from gateway.lists import shown
from schemas.alerting import AlertingConfig
from schemas.alerts import AlertState, Status, Suppressed
from schemas.base import rfc3339
from streams import policies, time_intervals
from streams.sinks.index.port import Kind, Query

router = APIRouter(tags=["alerts"])

MAX_DECISIONS = 50


class Destination(BaseModel):
    """Where the routes lead the alert now. `told`: whether this receiver hears of it now; `why` and why not."""

    receiver: str
    group_key: str
    group_wait_ms: int
    group_interval_ms: int
    repeat_interval_ms: int
    told: bool
    why: str


class Explained(BaseModel):
    """`decisions`: what was decided about groups with this alert in them, newest first."""

    alert: dict[str, Any]
    destinations: list[Destination]
    decisions: list[dict[str, Any]]


@router.get("/api/v1/alerts/{fingerprint}/explain")
async def explain(
    fingerprint: str,
    kit: Kit,
    search: Search,
    alerting: Alerting,
    who: Annotated[Principal, Depends(need("alerts:read"))],
    tenant: str = "",
) -> Explained:
    """What an alert came from, where it goes by the configuration of now, and what was decided so far."""
    state = found(kit.views, who, tenant, fingerprint)
    suppressed = alerting.suppression().of(state)
    decisions: list[dict[str, Any]] = []
    if who.may("notifications:read"):
        query = Query(kind=Kind.NOTIFICATIONS, names=(fingerprint,), tenants=(state.tenant,), limit=MAX_DECISIONS)
        decisions = [shown(hit) for hit in (await search.search(query)).items]
    return Explained(
        alert=shown_alert(state, suppressed),
        destinations=where(alerting.live.current, state, suppressed, kit.clock()),
        decisions=decisions,
    )


def where(config: AlertingConfig, alert: AlertState, suppressed: Suppressed, now_ms: int) -> list[Destination]:
    """Each receiver the alert is led to, and what keeps it from being told now. Pure."""
    kept_back = withheld(alert, suppressed, now_ms)
    out = []
    for each in policies.led(config, alert.labels):
        receiver, key = each.route.receiver, each.group_key
        why = kept_back or time_intervals.muted(each.route, config.time_intervals, now_ms)
        why = why or policies.withheld(config, receiver, key, alert, now_ms, known=False)
        due_ms = alert.starts_at_ms + each.route.timing.group_wait_ms
        if not why and policies.is_escalation(key) and now_ms < due_ms:
            why = f"escalates at {rfc3339(due_ms)} unless acknowledged"
        out.append(
            Destination(
                receiver=receiver,
                group_key=key,
                group_wait_ms=each.route.timing.group_wait_ms,
                group_interval_ms=each.route.timing.group_interval_ms,
                repeat_interval_ms=each.route.timing.repeat_interval_ms,
                told=not why,
                why=why or f"fires since {rfc3339(alert.starts_at_ms)}",
            )
        )
    return out


def withheld(alert: AlertState, suppressed: Suppressed, now_ms: int) -> str:
    """Why nobody hears of it, wherever it is led, or an empty text."""
    if alert.state is not Status.FIRING:
        return f"is {alert.state.value} since {rfc3339(alert.updated_at_ms)}"
    if suppressed.inhibited_by:
        return "inhibited by " + ", ".join(suppressed.inhibited_by)
    if suppressed.silences:
        return "silenced by " + ", ".join(suppressed.silences)
    if why := policies.snoozed(alert, now_ms):
        return why
    told = alert.acknowledged
    if told is not None and policies.taken_on(alert, now_ms):
        return f"acknowledged by {told.by}: not repeated"
    return ""
