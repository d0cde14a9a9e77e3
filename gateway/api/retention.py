"""`GET /api/v1/retention`: how long records are kept, and what the index takes."""

from __future__ import annotations

from math import inf
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends
from pydantic import BaseModel

from gateway.deps import Config, Kit, Principal, need
from gateway.problems import Problem
from schemas.alerts import NO_TENANT
from schemas.base import rfc3339
from streams.retention.duty import limit_bytes
from streams.retention.policy import Policy
from streams.sinks.index.port import Kind, Stored

router = APIRouter(tags=["retention"])


class RuleView(BaseModel):
    """The first rule that matches a record decides. `days` null: for ever."""

    cluster: str
    namespace: str
    days: float | None


class PartView(BaseModel):
    """What is deleted as a whole: a day of one kind (`undated`: records whose times cannot be right)."""

    name: str
    kind: str
    from_time: str
    to_time: str
    undated: bool
    documents: int
    bytes: int


class RetentionView(BaseModel):
    """`limit_bytes`: what the embedded index may take on disk, null for an index elsewhere."""

    rules: dict[str, list[RuleView]]
    limit_bytes: int | None
    documents: int
    bytes: int
    parts: list[PartView]


@router.get("/api/v1/retention")
async def retention(kit: Kit, config: Config, who: Annotated[Principal, Depends(need("status:read"))]) -> RetentionView:
    """The rules by kind of record, in their order, and the parts there are, oldest first."""
    if who.tenant != NO_TENANT:
        raise Problem(403, "Forbidden", "retention is for the platform's own callers")
    policy = Policy(config.retention, config.index.tiers)
    parts = await kit.index.stored()
    return RetentionView(
        rules={kind.value: [_rule(rule) for rule in policy.rules(kind)] for kind in Kind},
        limit_bytes=limit_bytes(config) or None,
        documents=sum(part.documents for part in parts),
        bytes=sum(part.nbytes for part in parts),
        parts=[_part(part) for part in parts],
    )


def _rule(rule: msgspec.Struct) -> RuleView:
    shown: dict[str, Any] = msgspec.structs.asdict(rule)
    return RuleView(**(shown | {"days": None if shown["days"] == inf else shown["days"]}))


def _part(part: Stored) -> PartView:
    return PartView(
        name=part.name,
        kind=part.kind.value,
        from_time=rfc3339(part.from_ms),
        to_time=rfc3339(min(part.to_ms, 253_402_300_799_000)),
        undated=not part.dated,
        documents=part.documents,
        bytes=part.nbytes,
    )
