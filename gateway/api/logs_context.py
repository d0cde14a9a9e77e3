"""`GET /api/v1/logs/{id}/context`: a record, and the lines of its container around it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import BaseModel

from gateway.lists import shown
from gateway.log_query import Reader, Search, Seen, around, place_of

router = APIRouter(tags=["search"])

MAX_AROUND = 500
Lines = Annotated[int, FromQuery(ge=0, le=MAX_AROUND)]


class Context(BaseModel):
    """Oldest first in both."""

    before: list[dict[str, Any]]
    item: dict[str, Any]
    after: list[dict[str, Any]]


@router.get("/api/v1/logs/{id:path}/context")
async def context(hit: Seen, search: Search, who: Reader, before: Lines = 20, after: Lines = 20) -> Context:
    """The lines of the same container (as far as the record names one) before and after a record."""
    older, newer = await around(search, place_of(hit, who), hit, before=before, after=after)
    return Context(before=[shown(each) for each in older], item=shown(hit), after=[shown(each) for each in newer])
