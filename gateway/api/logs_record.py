"""`GET /api/v1/logs/{id}`: one record.

Ids may hold slashes, so this route comes after all others below the list's: modules are read in the order of their
names."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.lists import shown
from gateway.log_query import Seen

router = APIRouter(tags=["search"])


@router.get("/api/v1/logs/{id:path}")
async def log(hit: Seen) -> dict[str, Any]:
    """One record by its `id`, as the list shows it. Its neighbours: `/api/v1/logs/{id}/context`."""
    return shown(hit)
