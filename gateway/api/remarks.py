"""`/api/v1/alerts/{fingerprint}/comments`, `/assignee` and `/history`: what people say of an alert, and what it was."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.acknowledging import remark, remarked
from gateway.alerting import Alerting
from gateway.api.alerts import found
from gateway.api.alerts import shown as shown_alert
from gateway.deps import Kit, Principal, Search, audit, need
from gateway.lists import shown
from gateway.problems import Problem
from schemas.alerts import Alert, AlertState
from schemas.base import rfc3339
from streams.errors import Invalid
from streams.sinks.index.port import Kind, Query

router = APIRouter(tags=["alerts"])

MAX_COMMENT = 1000
MAX_NAME = 200
MAX_DECISIONS = 100
Writer = Annotated[Principal, Depends(need("silences:write"))]
Reader = Annotated[Principal, Depends(need("alerts:read"))]


class Comment(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=MAX_COMMENT)


class Assignee(BaseModel):
    model_config = ConfigDict(extra="forbid")

    assignee: str = Field(min_length=1, max_length=MAX_NAME)


class Happened(BaseModel):
    """`kind`: state, comment, assigned, or a decision of a notification; `what` in words; `link` to more of it."""

    at: str
    kind: str
    what: str
    by: str = ""
    link: str = ""


class History(BaseModel):
    """Newest first: its last changes of state, what was said of it, and what was decided about groups it was in."""

    items: list[Happened]


@router.post("/api/v1/alerts/{fingerprint}/comments")
async def comment(
    fingerprint: str, body: Comment, request: Request, kit: Kit, alerting: Alerting, who: Writer, tenant: str = ""
) -> dict[str, Any]:
    """Say something about an alert, whatever its state; the newest 20 stay with it."""
    state = found(kit.views, who, tenant, fingerprint)
    audit(request, verb="comment", object=f"alert/{fingerprint}", after={"text": body.text})
    return await _written(kit, alerting, remark(state, who.name, kit.clock(), text=body.text))


@router.put("/api/v1/alerts/{fingerprint}/assignee")
async def assign(
    fingerprint: str, body: Assignee, request: Request, kit: Kit, alerting: Alerting, who: Writer, tenant: str = ""
) -> dict[str, Any]:
    """Say who is to see to it, until it begins anew."""
    return await _assigned(request, kit, alerting, found(kit.views, who, tenant, fingerprint), who.name, body.assignee)


@router.delete("/api/v1/alerts/{fingerprint}/assignee")
async def unassign(
    fingerprint: str, request: Request, kit: Kit, alerting: Alerting, who: Writer, tenant: str = ""
) -> dict[str, Any]:
    """It is nobody's."""
    return await _assigned(request, kit, alerting, found(kit.views, who, tenant, fingerprint), who.name, "")


@router.get("/api/v1/alerts/{fingerprint}/history")
async def history(fingerprint: str, kit: Kit, search: Search, who: Reader, tenant: str = "") -> History:
    """What became of an alert and why, newest first."""
    state = found(kit.views, who, tenant, fingerprint)
    items = told(state)
    if who.may("notifications:read"):
        query = Query(kind=Kind.NOTIFICATIONS, names=(fingerprint,), tenants=(state.tenant,), limit=MAX_DECISIONS)
        items += [_decision(shown(hit)) for hit in (await search.search(query)).items]
    return History(items=sorted(items, key=lambda each: each.at, reverse=True))


def told(state: AlertState) -> list[Happened]:
    """What the state itself remembers. Pure."""
    out = [
        Happened(at=rfc3339(each.at_ms), kind="state", what=f"{each.state.value} (since {rfc3339(each.starts_at_ms)})")
        for each in state.history
    ]
    out += [Happened(at=rfc3339(each.at_ms), kind="comment", what=each.text, by=each.by) for each in state.remarks]
    if (taken := state.acknowledged) is not None:
        until = f" until {rfc3339(taken.until_ms)}" if taken.until_ms else ""
        verb = "snoozed" if taken.snoozed else "acknowledged"
        what = f"{verb}{until}{f': {taken.comment}' if taken.comment else ''}"
        out.append(Happened(at=rfc3339(taken.at_ms), kind="acknowledged", what=what, by=taken.by))
    return out


def _decision(hit: dict[str, Any]) -> Happened:
    record = hit["record"]
    at, id_ = record.get("decided_at_ms"), str(record.get("id", ""))
    return Happened(
        at=rfc3339(at) if isinstance(at, int) else "",
        kind=str(record.get("decision", "")),
        what=f"{record.get('receiver', '')}: {record.get('reason', '')}",
        link=f"/api/v1/notifications/{id_}",
    )


async def _assigned(
    request: Request, kit: Kit, alerting: Alerting, state: AlertState, by: str, assignee: str
) -> dict[str, Any]:
    audit(
        request,
        verb="assign",
        object=f"alert/{state.fingerprint}",
        before={"assignee": state.assignee},
        after={"assignee": assignee},
    )
    return await _written(kit, alerting, remark(state, by, kit.clock(), assignee=assignee))


async def _written(kit: Kit, alerting: Alerting, alert: Alert) -> dict[str, Any]:
    try:
        state = await remarked(kit, alert)
    except Invalid as error:
        raise Problem(409, "That cannot be", error.detail) from None
    return shown_alert(state, alerting.suppression().of(state))
