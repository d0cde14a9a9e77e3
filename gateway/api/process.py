"""`POST /api/v1/process/preview`: what processing documents would do to the newest log records."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from gateway import times
from gateway.deps import Clock, Kit, Principal, need
from gateway.documents import held, running
from gateway.problems import Problem
from gateway.process_preview import MAX_TEXT, Preview, Wanted, preview, read

router = APIRouter(tags=["process"])
lifespan = running


class Body(BaseModel):
    document: str = Field(max_length=MAX_TEXT, description="A file of processing documents, as YAML.")
    since: str = Field("-15m", max_length=64, description="Records from this time on: RFC 3339, ms, or like -15m.")
    namespace: str = Field("", max_length=253)
    records: int = Field(1000, ge=1, le=10_000, description="How many of the newest records are looked at.")
    examples: int = Field(20, ge=0, le=200, description="How many of those that change are shown.")


@router.post("/api/v1/process/preview")
async def process_preview(
    request: Request, body: Body, kit: Kit, clock: Clock, who: Annotated[Principal, Depends(need("logs:read"))]
) -> Preview:
    """Changes nothing. A tenant's caller sees its own records, and them as they are indexed now."""
    documents, errors = read(body.document)
    if errors:
        found = [{"field": "document", "reason": line} for line in errors]
        raise Problem(422, "Invalid request", "; ".join(errors[:20]), field="document", errors=found)
    wanted = Wanted(times.parse("since", body.since, clock()), body.namespace, body.records, body.examples)
    return await preview(kit.cluster, kit.reader, who, documents, wanted, held(request).current)
