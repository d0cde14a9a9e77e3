"""`POST /api/v1/login`: a name and a password for a bearer token; `POST /api/v1/logout`; `GET /api/v1/me`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from gateway.authentication import unauthorized
from gateway.deps import Kit, Principal, audit, need
from gateway.middleware import address
from gateway.problems import Problem
from gateway.services import Services
from schemas.base import digest
from schemas.platform import PlatformAudit
from schemas.tables import NAME_LENGTH, Account

router = APIRouter(tags=["accounts"])

MAX_PASSWORD = 1024


class Credentials(BaseModel):
    username: str = Field(min_length=1, max_length=NAME_LENGTH)
    password: str = Field(min_length=1, max_length=MAX_PASSWORD)


class Access(BaseModel):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105
    expires_in: int
    """Seconds."""


class Me(BaseModel):
    name: str
    tenant: str
    scopes: list[str]
    is_admin: bool


@router.post("/api/v1/login")
async def login(credentials: Credentials, request: Request, kit: Kit) -> Access:
    """A session of `expires_in` seconds. Wrong password 401; a locked account 429 with `Retry-After`."""
    account = await check(credentials.username, credentials.password, request, kit)
    return Access(access_token=start_session(account, kit), expires_in=kit.sessions.lifetime_s)


@router.post("/api/v1/logout", status_code=204)
async def logout(request: Request, kit: Kit, who: Annotated[Principal, Depends(need())]) -> Response:
    """End the session the request came with; a machine's token is revoked by `DELETE /api/v1/tokens/{id}` instead."""
    if who.name.startswith("token/"):
        raise Problem(422, "Invalid request", "a machine's token has no session to end")
    await end_session(request, who, kit)
    return Response(status_code=204)


@router.get("/api/v1/me")
async def me(who: Annotated[Principal, Depends(need())]) -> Me:
    """Who the caller is, and what it may do."""
    return Me(name=who.name, tenant=who.tenant, scopes=sorted(who.scopes), is_admin=who.is_admin)


async def check(username: str, password: str, request: Request, kit: Services) -> Account:
    """The account whose password it is. Raises 401, or 429 when locked; the fifth wrong one is an event of its own."""
    audit(request, verb="login", object=f"account/{username}", actor=username)
    outcome = await kit.accounts.login(username, password, address(request.scope))
    if outcome.just_locked:
        await request.app.state.auditor.write(kit, _locked(username, address(request.scope), kit), wait=True)
    if outcome.account is not None:
        return outcome.account
    if outcome.locked_ms and not outcome.just_locked:
        audit(request, reason="locked")
        after = str(max(1, outcome.locked_ms // 1000))
        detail = "too many wrong passwords: this name is locked for a while"
        raise Problem(429, "Account locked", detail, headers={"Retry-After": after}, reason="locked")
    audit(request, reason="wrong password")
    raise unauthorized("unknown name or wrong password")


def start_session(account: Account, kit: Services) -> str:
    return kit.sessions.issue(account.username, kit.new_id(), kit.clock())


async def end_session(request: Request, who: Principal, kit: Services) -> None:
    audit(request, verb="logout", object=f"account/{who.name}")
    await kit.accounts.end_session(who.session, kit.clock() + kit.sessions.lifetime_s * 1000)


def _locked(username: str, from_address: str, kit: Services) -> PlatformAudit:
    now = kit.clock()
    return PlatformAudit(
        id=digest("lock", username, str(now)),
        actor=username,
        verb="lock",
        object=f"account/{username}",
        result="denied",
        status=429,
        address=from_address,
        time_ms=now,
        reason=f"{kit.settings.gateway.login_attempts} wrong passwords",
        cluster=kit.settings.cluster.name or "local",
    )
