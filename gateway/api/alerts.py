"""`GET /api/v1/alerts`: the states of alerts as they are now, from a complete copy of `alerts.state` held here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from gateway.alerting import Alerting
from gateway.deps import Principal, Views, need
from gateway.lists import Cursor, Limit, Names, Page, Sort, Text, names, of_memory, sees
from gateway.problems import Problem, bad_parameter
from schemas.alerts import AlertState, Evidence, Status, Suppressed, alert_key
from schemas.base import rfc3339
from streams.errors import Retryable

router = APIRouter(tags=["alerts"])

READ = Depends(need("alerts:read"))
URGENCY = {"critical": 0, "error": 1, "warning": 2, "info": 3}
STATES = {Status.FIRING: 0, Status.PENDING: 1, Status.ERROR: 2, Status.NO_DATA: 3, Status.RESOLVED: 4}
ORDERS: dict[str, Callable[[AlertState], Any]] = {
    "time": lambda alert: (alert.updated_at_ms, alert.fingerprint),
    "starts_at": lambda alert: (alert.starts_at_ms, alert.fingerprint),
    "name": lambda alert: (alert.labels.get("alertname", ""), alert.fingerprint),
    "urgency": lambda alert: (STATES[alert.state], _urgency(alert), -alert.starts_at_ms, alert.fingerprint),
}


@router.get("/api/v1/alerts")
async def alerts(
    views: Views,
    alerting: Alerting,
    who: Annotated[Principal, READ],
    q: Text = "",
    state: Names = "",
    cluster: Names = "",
    namespace: Names = "",
    severity: Names = "",
    limit: Limit = 100,
    cursor: Cursor = "",
    sort: Sort = "urgency",
) -> Page:
    """Alerts, the most urgent first (`sort=urgency`), or by `time`, `starts_at`, `name` (`-time`: the other way)."""
    field = sort.removeprefix("-")
    if field not in ORDERS:
        raise bad_parameter("sort", f"expected one of {', '.join(ORDERS)}, with - in front for the other way")
    if wrong := [name for name in names("state", state) if name not in STATES]:
        raise bad_parameter("state", f"{wrong[0]!r}: expected one of {', '.join(STATES)}")
    found = [
        alert
        for alert in known(views.alerts.ready, views.alerts.values())
        if sees(who, alert.tenant)
        and _is_among(alert.state, names("state", state))
        and _is_among(alert.cluster, names("cluster", cluster))
        and _is_among(alert.labels.get("namespace", ""), names("namespace", namespace))
        and _is_among(alert.labels.get("severity", ""), names("severity", severity))
        and mentions(alert, q.lower())
    ]
    suppression = alerting.suppression()

    def show(alert: AlertState) -> dict[str, Any]:
        return shown(alert, suppression.of(alert))

    return of_memory(found, order=ORDERS[field], reverse=sort.startswith("-"), limit=limit, cursor=cursor, show=show)


@router.get("/api/v1/alerts/{fingerprint}")
async def alert(
    fingerprint: str, views: Views, alerting: Alerting, who: Annotated[Principal, READ], tenant: str = ""
) -> dict[str, Any]:
    """One alert, by its fingerprint (of the caller's tenant unless `tenant` says another)."""
    state = found(views, who, tenant, fingerprint)
    return shown(state, alerting.suppression().of(state))


def found(views: Views, who: Principal, tenant: str, fingerprint: str) -> AlertState:
    """The alert of that tenant, or of the caller's own; 404 for what is not there or not to be seen."""
    whose = tenant or who.tenant
    state = views.alerts.get(alert_key(whose, fingerprint)) if sees(who, whose) else None
    if state is None:
        known(views.alerts.ready, ())
        raise Problem(404, "Not found", f"there is no alert {fingerprint[:32]}")
    return state


def known(ready: bool, states: Iterable[AlertState]) -> Iterable[AlertState]:
    """`states`, once they are complete. Raises Retryable before."""
    if not ready:
        raise Retryable("views", "the alerts are still being read from Kafka", 1.0)
    return states


def shown(alert: AlertState, suppressed: Suppressed) -> dict[str, Any]:
    """An alert as the API gives it; evidence links to the exact records. `suppressed`: by what, now."""
    return {
        "tenant": alert.tenant,
        "fingerprint": alert.fingerprint,
        "episode": alert.episode,
        "state": alert.state.value,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "starts_at": rfc3339(alert.starts_at_ms),
        "ends_at": rfc3339(alert.ends_at_ms) if alert.ends_at_ms else "",
        "updated_at": rfc3339(alert.updated_at_ms),
        "seq": alert.seq,
        "generator_url": alert.generator_url,
        "cluster": alert.cluster,
        "source": alert.source,
        "acknowledged": _acknowledged(alert),
        "assignee": alert.assignee,
        "comments": [{"by": each.by, "at": rfc3339(each.at_ms), "text": each.text} for each in alert.remarks],
        "suppressed": {
            "silences": suppressed.silences,
            "inhibited_by": suppressed.inhibited_by,
            "muted_by": suppressed.muted_by,
        },
        "evidence": [_evidence(each) for each in alert.evidence],
    }


def mentions(alert: AlertState, text: str) -> bool:
    """Whether all words of `text` (lower case) occur in a label or annotation."""
    if not text:
        return True
    told = "\n".join([*alert.labels.values(), *alert.annotations.values(), alert.fingerprint, alert.source]).lower()
    return all(word in told for word in text.split())


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {
        "topic": evidence.topic,
        "partition": evidence.partition,
        "offset": evidence.offset,
        "time": rfc3339(evidence.time_ms) if evidence.time_ms else "",
        "excerpt": evidence.excerpt,
        "url": f"/api/v1/records/{evidence.topic}/{evidence.partition}/{evidence.offset}",
    }


def _acknowledged(alert: AlertState) -> dict[str, Any] | None:
    if alert.acknowledged is None:
        return None
    until = alert.acknowledged.until_ms
    return {
        "by": alert.acknowledged.by,
        "at": rfc3339(alert.acknowledged.at_ms),
        "until": rfc3339(until) if until else "",
        "comment": alert.acknowledged.comment,
        "snoozed": alert.acknowledged.snoozed,
    }


def _urgency(alert: AlertState) -> int:
    return URGENCY.get(alert.labels.get("severity", ""), len(URGENCY))


def _is_among(value: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or value in wanted
