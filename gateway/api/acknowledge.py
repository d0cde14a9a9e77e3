"""`/api/v1/alerts/{fingerprint}/acknowledge`: take an alert on, and give it back."""

from __future__ import annotations

from typing import Annotated, Any

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
    return await _done(
        request, kit, alerting, found(kit.views, who, tenant, fingerprint), who.name, until_ms, body.comment
    )


@router.delete("/api/v1/alerts/{fingerprint}/acknowledge")
async def give_back(
    fingerprint: str, request: Request, kit: Kit, alerting: Alerting, who: Writer, tenant: str = ""
) -> dict[str, Any]:
    """Nobody works on it any more: it is repeated as before."""
    return await _done(request, kit, alerting, found(kit.views, who, tenant, fingerprint), "")


async def _done(
    request: Request, kit: Kit, alerting: Alerting, state: AlertState, by: str, until_ms: int = 0, comment: str = ""
) -> dict[str, Any]:
    verb = "acknowledge" if by else "unacknowledge"
    audit(request, verb=verb, object=f"alert/{state.fingerprint}", after={"comment": comment})
    try:
        alert = acknowledgement(state, by, kit.clock(), until_ms, comment)
        state = await acknowledge(kit, alert)
    except Invalid as error:
        raise Problem(409 if error.reason == "resolved" else 422, "That cannot be", error.detail) from None
    return shown(state, alerting.suppression().of(state))
