"""`GET /api/openapi.json`: the API described, for whoever may call any of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from gateway.deps import Principal, need
from gateway.openapi import document

router = APIRouter(include_in_schema=False)


@router.get("/api/openapi.json")
async def openapi(request: Request, _who: Annotated[Principal, Depends(need())]) -> JSONResponse:
    state = request.app.state
    if not hasattr(state, "openapi"):
        state.openapi = document(request.app)
    described: dict[str, Any] = state.openapi
    return JSONResponse(described)
