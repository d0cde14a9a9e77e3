"""`GET/POST /api/v1/tokens`, `DELETE /api/v1/tokens/{id}`: machine tokens; the text is in the POST's answer alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from gateway.deps import Clock, Kit, Principal, audit, need
from gateway.lists import Cursor, Limit, Page, Sort, of_memory, oldest_first
from gateway.problems import Problem, bad_parameter
from schemas.alerts import NO_TENANT
from schemas.base import rfc3339
from schemas.tables import NAME_LENGTH, Token

router = APIRouter(tags=["accounts"])


class NewToken(BaseModel):
    name: str = Field("", max_length=NAME_LENGTH, pattern=r"^[A-Za-z0-9._/-]*$")
    scopes: list[str] = Field(min_length=1, max_length=64)
    tenant: str = Field("", max_length=NAME_LENGTH)
    expires_s: int = Field(0, ge=0, le=10 * 366 * 86400)
    """Seconds from now; 0: never."""


class TokenOut(BaseModel):
    id: str
    name: str
    scopes: list[str]
    tenant: str
    created_by: str
    created: str
    expires: str
    """RFC 3339; empty: never."""
    state: str
    """`active`, `expired`, `revoked`."""


class IssuedToken(TokenOut):
    token: str


@router.get("/api/v1/tokens")
async def list_tokens(
    kit: Kit,
    clock: Clock,
    who: Annotated[Principal, Depends(need("tokens:read"))],
    limit: Limit = 100,
    cursor: Cursor = "",
    sort: Sort = "-time",
) -> Page:
    """Every token, newest first, without its secret; of a tenant's caller, its tenant's."""
    rows = [row for row in await kit.accounts.tokens() if who.tenant in (NO_TENANT, row.tenant)]
    return of_memory(
        rows,
        order=lambda row: (row.created_ms, row.id),
        reverse=not oldest_first(sort),
        limit=limit,
        cursor=cursor,
        show=lambda row: shown(row, clock()).model_dump(),
    )


@router.post("/api/v1/tokens", status_code=201)
async def create_token(
    body: NewToken, request: Request, kit: Kit, who: Annotated[Principal, Depends(need("tokens:write"))]
) -> IssuedToken:
    """A new token: its text is shown once. Nobody gives away what they may not do themselves; one made with a token
    ends with that one at the latest, and is revoked with it."""
    if missing := [scope for scope in body.scopes if not who.may(scope)]:
        raise Problem(403, "Forbidden", f"you do not hold {', '.join(missing)}", scopes=missing)
    tenant = body.tenant or who.tenant
    if who.tenant not in (NO_TENANT, tenant):
        raise bad_parameter("tenant", f"yours is {who.tenant}")
    expires_ms = kit.clock() + body.expires_s * 1000 if body.expires_s else 0
    issued = await kit.accounts.issue(
        name=body.name, scopes=body.scopes, tenant=tenant, created_by=who.name, parent=who.token, expires_ms=expires_ms
    )
    out = shown(issued.row, kit.clock())
    audit(request, verb="create", object=f"token/{out.id}", after=out.model_dump())
    return IssuedToken(**out.model_dump(), token=issued.text)


@router.delete("/api/v1/tokens/{id}", status_code=204)
async def revoke_token(
    id: str,  # noqa: A002
    request: Request,
    kit: Kit,
    who: Annotated[Principal, Depends(need("tokens:write"))],
) -> Response:
    """Revoke it: within a second, no request with it is let in by any gateway."""
    audit(request, verb="revoke", object=f"token/{id}")
    rows = [row for row in await kit.accounts.tokens() if row.id == id and who.tenant in (NO_TENANT, row.tenant)]
    if not rows or await kit.accounts.revoke(id) is None:
        raise Problem(404, "Not found", f"there is no token {id[:32]}")
    return Response(status_code=204)


def shown(row: Token, now_ms: int) -> TokenOut:
    expired = bool(row.expires_ms) and row.expires_ms <= now_ms
    return TokenOut(
        id=row.id,
        name=row.name,
        scopes=row.scopes.split(),
        tenant=row.tenant,
        created_by=row.created_by,
        created=rfc3339(row.created_ms),
        expires=rfc3339(row.expires_ms) if row.expires_ms else "",
        state="revoked" if row.revoked_ms else "expired" if expired else "active",
    )
