"""Console pages of alerts: what fires, why, who was told, and silencing it."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway import am_silences
from gateway.acknowledging import acknowledge, acknowledgement
from gateway.alerting import State, Suppression
from gateway.api.alerts import ORDERS, known, mentions, shown
from gateway.deps import audit
from gateway.lists import Cursor, Names, Text, names, of_memory, sees
from gateway.lists import shown as shown_hit
from gateway.pages import PageRoute, Sent, Viewer, sent, typed, viewer
from gateway.problems import Problem
from schemas.alerts import NO_TENANT, AlertState, Matcher, Silence, Status, alert_key
from schemas.base import rfc3339
from schemas.notifications import Notification
from streams.errors import Invalid
from streams.muting import wrong_silence
from streams.sinks.index.port import Kind, Query

router = APIRouter(include_in_schema=False, route_class=PageRoute)

A_PAGE, HISTORY = 100, 20
AROUND_MS = 900_000
MINUTE_MS = 60_000
LONGEST_MIN = 60 * 24 * 90
MAX_COMMENT = 500


@router.get("/alerts")
async def alerts(
    view: Annotated[Viewer, viewer("alerts:read")],
    q: Text = "",
    state: Names = "",
    namespace: Names = "",
    severity: Names = "",
    cursor: Cursor = "",
) -> Response:
    views = view.kit.views
    found = [
        alert
        for alert in known(views.alerts.ready, views.alerts.values())
        if sees(view.who, alert.tenant)
        and (not namespace or alert.labels.get("namespace") in names("namespace", namespace))
        and (not severity or alert.labels.get("severity") in names("severity", severity))
        and mentions(alert, q.lower())
    ]
    counts = Counter(alert.state for alert in found)
    wanted = [alert for alert in found if not state or alert.state in names("state", state)]
    suppression = _suppression(view)
    page = of_memory(
        wanted,
        order=ORDERS["urgency"],
        reverse=False,
        limit=A_PAGE,
        cursor=cursor,
        show=lambda alert: shown(alert, suppression.of(alert)),
    ).model_dump()
    return view.page(
        "alerts.html",
        asked={"q": q, "state": state, "namespace": namespace, "severity": severity},
        page=page,
        counts={each.value: counts.get(each, 0) for each in Status if counts.get(each) or each is Status.FIRING},
        may_silence=view.who.may("silences:write"),
    )


@router.get("/alerts/{fingerprint}")
async def alert(fingerprint: str, view: Annotated[Viewer, viewer("alerts:read")], tenant: str = "") -> Response:
    state = _found(view, tenant, fingerprint)
    suppression = _suppression(view)
    suppressed = suppression.of(state)
    return view.page(
        "alert.html",
        alert=shown(state, suppressed),
        generator=state.generator_url if state.generator_url.startswith(("http://", "https://")) else "",
        logs=_logs_query(state),
        silences=[_silence(silence) for silence in suppression.silences if silence.id in suppressed.silences],
        history=await _history(view, state),
        may_silence=view.who.may("silences:write"),
    )


@router.post("/silences")
async def silence(request: Request, data: Annotated[Sent, sent("silences:write")]) -> Response:
    """Silence an alert, its name in its namespace, or its name everywhere."""
    view, fields = data
    state = _found(view, fields.get("tenant", ""), fields.get("fingerprint", ""))
    minutes, comment = fields.get("minutes", ""), fields.get("comment", "").strip()
    if not minutes.isdigit() or not 0 < int(minutes) <= LONGEST_MIN or not 0 < len(comment) <= MAX_COMMENT:
        raise Problem(422, "That cannot be", "A silence needs a time and a comment.")
    now = view.kit.clock()
    made = Silence(
        id=view.kit.new_id(),
        matchers=matchers(state, fields.get("scope", "alert")),
        starts_at_ms=now,
        ends_at_ms=now + int(minutes) * MINUTE_MS,
        created_by=view.who.name,
        comment=comment,
        updated_at_ms=now,
        tenant="" if view.who.tenant == NO_TENANT else view.who.tenant,
        cluster=view.kit.settings.cluster.name or "local",
    )
    if wrong := wrong_silence(made):
        raise Problem(422, "That cannot be", f"The silence would be invalid: {wrong}.")
    await view.kit.producer.send([am_silences.outgoing(made)])
    audit(request, verb="silence", object=f"silence/{made.id}", after=am_silences.document(made, now))
    return data.back("silenced", "/alerts")


@router.post("/silences/{id}/expire")
async def expire(id: str, request: Request, data: Annotated[Sent, sent("silences:write")]) -> Response:  # noqa: A002
    view = data.viewer
    found = view.kit.views.silences.get(id)
    if found is None or not sees(view.who, found.tenant or NO_TENANT):
        raise Problem(404, "Not found", "There is no such silence.")
    now = view.kit.clock()
    await view.kit.producer.send([am_silences.outgoing(am_silences.expired(found, now))])
    audit(request, verb="expire", object=f"silence/{id}", before=am_silences.document(found, now))
    return data.back("ended", "/alerts")


@router.post("/alerts/acknowledge")
async def take_on(request: Request, data: Annotated[Sent, sent("silences:write")]) -> Response:
    """Take an alert on, or give it back (`take` empty)."""
    view, fields = data
    state = _found(view, fields.get("tenant", ""), fields.get("fingerprint", ""))
    by = view.who.name if fields.get("take") else ""
    try:
        taken = acknowledgement(state, by, view.kit.clock(), comment=fields.get("comment", "").strip())
    except Invalid as error:
        raise Problem(409, "That cannot be", error.detail) from None
    audit(request, verb="acknowledge" if by else "unacknowledge", object=f"alert/{state.fingerprint}")
    await acknowledge(view.kit, taken)
    return data.back("acknowledged" if by else "given_back", "/alerts")


def matchers(state: AlertState, scope: str) -> list[Matcher]:
    """Which alerts a silence made from this one covers: `alert` (these labels), `namespace`, `name`. Pure."""
    wanted = {"alert": None, "namespace": ("alertname", "namespace"), "name": ("alertname",)}.get(scope)
    labels = {name: text for name, text in state.labels.items() if (wanted is None or name in wanted) and text}
    return [Matcher(name=name, value=labels[name]) for name in sorted(labels)]


def _suppression(view: Viewer) -> Suppression:
    alerting: State = view.request.app.state.alerting
    return alerting.suppression()


def _found(view: Viewer, tenant: str, fingerprint: str) -> AlertState:
    """Without a tenant (a link by hand): of the viewer's, else of any the viewer sees."""
    states = view.kit.views.alerts
    state = states.get(alert_key(tenant or view.who.tenant, fingerprint))
    if state is None and not tenant:
        state = next((each for each in states.values() if each.fingerprint == fingerprint), None)
    if state is None or not sees(view.who, state.tenant):
        known(states.ready, ())
        raise Problem(404, "Not found", "There is no such alert (any more).")
    return state


async def _history(view: Viewer, state: AlertState) -> list[dict[str, Any]]:
    """What was decided about this alert: the same labels in another tenant are another alert."""
    if not view.who.may("notifications:read"):
        return []
    query = Query(kind=Kind.NOTIFICATIONS, names=(state.fingerprint,), tenants=(state.tenant,), limit=HISTORY)
    return typed([shown_hit(hit) for hit in (await view.kit.index.search(query)).items], Notification)


def _logs_query(state: AlertState) -> str:
    labels = {name: state.labels.get(name, "") for name in ("namespace", "pod", "container")}
    span = {"start": rfc3339(state.starts_at_ms - AROUND_MS), "end": rfc3339(state.starts_at_ms + AROUND_MS)}
    return urlencode({name: value for name, value in (labels | span).items() if value})


def _silence(silence: Silence) -> dict[str, str]:
    return {
        "id": silence.id,
        "comment": silence.comment,
        "created_by": silence.created_by,
        "ends_at": rfc3339(silence.ends_at_ms),
    }
