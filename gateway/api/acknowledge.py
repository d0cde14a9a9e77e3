"""`/api/v1/alerts/{fingerprint}/acknowledge`: take an alert on, and give it back."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway import times
from gateway.acknowledging import MAX_COMMENT, acknowledge, acknowledgement
from gateway.alerting import Alerting
from gateway.api.alerts import found, shown
from gateway.deps import Kit, Principal, audit, need
from gateway.problems import Problem
from schemas.alerts import AlertState
from streams.errors import Invalid

router = APIRouter(tags=["alerts"])

Writer = Annotated[Principal, Depends(need("silences:write"))]


class Taken(BaseModel):
    model_config = ConfigDict(extra="forbid")

    until: str = ""
    """RFC 3339 or milliseconds; empty: until it resolves."""
    comment: str = Field("", max_length=MAX_COMMENT)
    snooze: bool = False
    """Nothing at all is said of it while it fires: not only its repeats are left out."""


class Acknowledged(NamedTuple):
    """Who takes an alert on; nobody: it is given back."""

    by: str = ""
    until_ms: int = 0
    comment: str = ""
    snooze: bool = False


@router.post("/api/v1/alerts/{fingerprint}/acknowledge")
async def take_on(
    fingerprint: str,
    request: Request,
    kit: Kit,
    alerting: Alerting,
    who: Writer,
    body: Taken | None = None,
    tenant: str = "",
) -> dict[str, Any]:
    """Say that somebody works on it: its notifications are not repeated. It stays active, and its end is told."""
    body = body or Taken()
    until_ms = times.parse("until", body.until, kit.clock())
    state = found(kit.views, who, tenant, fingerprint)
    taken = Acknowledged(who.name, until_ms, body.comment, body.snooze)
    return await _done(request, kit, alerting, state, taken)


@router.delete("/api/v1/alerts/{fingerprint}/acknowledge")
async def give_back(
    fingerprint: str, request: Request, kit: Kit, alerting: Alerting, who: Writer, tenant: str = ""
) -> dict[str, Any]:
    """Nobody works on it any more: it is repeated as before."""
    return await _done(request, kit, alerting, found(kit.views, who, tenant, fingerprint), Acknowledged())


async def _done(
    request: Request, kit: Kit, alerting: Alerting, state: AlertState, taken: Acknowledged
) -> dict[str, Any]:
    verb = ("snooze" if taken.snooze else "acknowledge") if taken.by else "unacknowledge"
    audit(request, verb=verb, object=f"alert/{state.fingerprint}", after={"comment": taken.comment})
    try:
        alert = acknowledgement(state, taken.by, kit.clock(), taken.until_ms, taken.comment, snoozed=taken.snooze)
        state = await acknowledge(kit, alert)
    except Invalid as error:
        raise Problem(409 if error.reason == "resolved" else 422, "That cannot be", error.detail) from None
    return shown(state, alerting.suppression().of(state))
