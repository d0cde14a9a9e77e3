"""`GET /api/v1/canary`: whether alerts make their way, and whether the outside heard of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request

from gateway.break_glass import BreakGlass
from gateway.canary import Watch
from gateway.deps import Principal, need

router = APIRouter(tags=["health"])


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    services = app.state.services
    watch = app.state.canary = Watch(services.settings, services.producer, services.clock, services.new_id)
    glass = app.state.break_glass = BreakGlass(services)
    running = [asyncio.create_task(each.run(), name="canary") for each in (watch, glass)]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await watch.close()
        await glass.close()


@router.get("/api/v1/canary")
async def canary(request: Request, _who: Annotated[Principal, Depends(need("status:read"))]) -> dict[str, Any]:
    """An alert of Eventsphere's own goes the whole way every minute: when the last arrived, how long it took, and what
    became of the heartbeat that goes out only then; and what was told directly because Kafka was away."""
    watch: Watch = request.app.state.canary
    glass: BreakGlass = request.app.state.break_glass
    return watch.shown() | {"break_glass": glass.shown()}
