"""What came before and after a notification: sending it again, and lineage both ways."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel

from gateway.deps import Bus, Clock, Principal, Search, Views, audit, need
from gateway.lists import sees, shown, tenants
from gateway.problems import Problem
from schemas.alerts import AlertState
from schemas.base import digest, encode
from schemas.headers import cloud_headers
from schemas.notifications import Decision, Notification, group_record_key
from streams.record import Outgoing
from streams.sinks.index.port import Hit, Kind, Query

router = APIRouter(tags=["notifications"])

TOPIC = "notifications"
RESEND = "resend"
"""`Notification.reason` of one that was sent again by hand."""
MAX_FOUND = 100
Id = Annotated[str, Path(max_length=64)]


class Resent(BaseModel):
    """`id`: of the new notification, whose outcomes tell what becomes of it."""

    id: str
    resend_of: str


class Lineage(BaseModel):
    """`records`: what its alerts were raised by; `outcomes`: each attempt; `resent`: ids of ones sent again."""

    notification: str
    alerts: list[dict[str, Any]]
    records: list[dict[str, Any]]
    outcomes: list[dict[str, Any]]
    resent: list[str]


class Effects(BaseModel):
    """What one record caused: alerts that name it as evidence now, and notifications about such."""

    record: str
    alerts: list[dict[str, Any]]
    notifications: list[dict[str, Any]]


@router.post("/api/v1/notifications/{id}/resend", status_code=202)
async def resend(
    id: Id,  # noqa: A002
    request: Request,
    search: Search,
    bus: Bus,
    clock: Clock,
    who: Annotated[Principal, Depends(need("notifications:write"))],
) -> Resent:
    """Send a notification again, to everybody its receiver names now, under a new id. 202: it is in Kafka; it goes the
    way of every notification."""
    again = sent_again(await found(id, search, who), clock())
    await bus.send([again.outgoing(who.name)])
    audit(request, verb=RESEND, object=f"notification/{id}", after={"id": again.notification.id})
    return Resent(id=again.notification.id, resend_of=id)


@router.get("/api/v1/notifications/{id}/lineage")
async def lineage(
    id: Id,  # noqa: A002
    search: Search,
    who: Annotated[Principal, Depends(need("notifications:read"))],
) -> Lineage:
    """From a notification back to the exact records its alerts came from, and on to what became of it."""
    notification = _decoded(await found(id, search, who))
    outcomes = Query(kind=Kind.OUTCOMES, names=(id,), tenants=tenants(who), limit=MAX_FOUND, oldest_first=True)
    again = Query(kind=Kind.NOTIFICATIONS, names=(id,), tenants=tenants(who), limit=MAX_FOUND)
    return Lineage(
        notification=id,
        alerts=[_alert(each) for each in notification.alerts],
        records=_records(notification.alerts),
        outcomes=[shown(hit) for hit in (await search.search(outcomes)).items],
        resent=[hit.id for hit in (await search.search(again)).items if hit.record.get("resend_of") == id],
    )


@router.get("/api/v1/records/{topic}/{partition}/{offset}/effects")
async def effects(
    topic: str,
    partition: Annotated[int, Path(ge=0, le=100_000)],
    offset: Annotated[int, Path(ge=0, le=2**62)],
    search: Search,
    views: Views,
    who: Annotated[Principal, Depends(need("notifications:read", "alerts:read"))],
) -> Effects:
    """From a record forward to the alerts it raised and the notifications they led to. A tenant sees its own only."""
    place = f"{topic}/{partition}/{offset}"
    raised = [
        alert
        for alert in views.alerts.values()
        if sees(who, alert.tenant) and any(_place(each) == place for each in alert.evidence)
    ]
    query = Query(kind=Kind.NOTIFICATIONS, names=(place,), tenants=tenants(who), limit=MAX_FOUND)
    return Effects(
        record=place,
        alerts=[_alert(each) for each in raised[:MAX_FOUND]],
        notifications=[shown(hit) for hit in (await search.search(query)).items],
    )


class Again(NamedTuple):
    notification: Notification

    def outgoing(self, by: str) -> Outgoing:
        return _outgoing(self.notification, by)


def sent_again(hit: Hit, now_ms: int) -> Again:
    """The notification that sends another again. Raises 409 for a decision that was not to send."""
    notification = _decoded(hit)
    if notification.decision is not Decision.SEND:
        raise Problem(409, "Conflict", f"it was not sent in the first place: its decision is {notification.decision}")
    return Again(
        msgspec.structs.replace(
            notification,
            id=digest(notification.id, RESEND, str(now_ms)),
            reason=RESEND,
            resend_of=notification.id,
            thread=notification.thread or notification.id,
            decided_at_ms=now_ms,
        )
    )


def _outgoing(notification: Notification, by: str) -> Outgoing:
    key = group_record_key(notification.tenant, notification.receiver, notification.group_key)
    headers = cloud_headers(
        topic=TOPIC,
        id=notification.id,
        type=f"notification.{notification.decision.value}",
        source=f"eventsphere/gateway/{by}"[:200],
        time_ms=notification.decided_at_ms,
        subject=key,
    )
    return Outgoing(TOPIC, encode(notification), key.encode(), headers)


async def found(id_: str, search: Search, who: Principal) -> Hit:
    hit = await search.get(Kind.NOTIFICATIONS, id_)
    if hit is None or not sees(who, str(hit.record.get("tenant", ""))):
        raise Problem(404, "Not found", f"there is no notification {id_[:64]}")
    return hit


def _decoded(hit: Hit) -> Notification:
    return msgspec.convert(dict(hit.record), Notification)


def _records(alerts: list[AlertState]) -> list[dict[str, Any]]:
    out = {
        _place(each): {
            "record": _place(each),
            "excerpt": each.excerpt,
            "alert": alert.fingerprint,
            "url": f"/api/v1/records/{_place(each)}",
        }
        for alert in alerts
        for each in alert.evidence
    }
    return list(out.values())


def _place(evidence: Any) -> str:
    return f"{evidence.topic}/{evidence.partition}/{evidence.offset}"


def _alert(alert: AlertState) -> dict[str, Any]:
    return {
        "fingerprint": alert.fingerprint,
        "tenant": alert.tenant,
        "state": alert.state.value,
        "labels": alert.labels,
        "url": f"/api/v1/alerts/{alert.fingerprint}?tenant={alert.tenant}",
    }
