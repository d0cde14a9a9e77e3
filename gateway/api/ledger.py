"""`GET /api/v1/ledger`: what became of everything that was received, and whether it adds up."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from gateway.deps import Clock, Kit, Principal, need
from gateway.ledger import shown
from gateway.problems import Problem
from schemas.alerts import NO_TENANT

router = APIRouter(tags=["ledger"])


@router.get("/api/v1/ledger")
async def ledger(kit: Kit, clock: Clock, who: Annotated[Principal, Depends(need("ledger:read"))]) -> dict[str, Any]:
    """A line for each indexed topic, in records: received = indexed + dropped + dead-lettered + in flight + expired."""
    if who.tenant != NO_TENANT:
        raise Problem(403, "Forbidden", "the ledger is for the platform's own callers")
    return shown(await kit.ledger.entries(), clock())
