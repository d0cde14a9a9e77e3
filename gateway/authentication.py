"""Who is calling: a bearer (a person's session or a machine's token), basic with the token as password, or the cookie.

Never from the URL. A cookie only counts for a change together with the CSRF token of its session.
"""

from __future__ import annotations

import base64
import binascii

from fastapi import Request

from gateway import tokens
from gateway.principal import Principal
from gateway.problems import Problem
from gateway.services import Services
from gateway.sessions import COOKIE, Claims

CSRF_HEADER = "X-CSRF-Token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CHALLENGE = 'Bearer realm="eventsphere"'


async def authenticate(request: Request, services: Services) -> Principal:
    """The caller. Raises 401 when nobody can be made out, 403 on a missing CSRF token, 429 when asking too often."""
    header = request.headers.get("authorization", "")
    if header:
        who = await from_header(header, services)
    else:
        who = await from_cookie(request, services)
    if who is None:
        raise unauthorized("the credentials are wrong, expired or revoked" if header else "no credentials were given")
    if wait := services.limits.wait_s(who.key):
        raise Problem(
            429, "Too many requests", "slow down", headers={"Retry-After": str(max(1, round(wait)))}, retry_after_s=wait
        )
    return who


def unauthorized(detail: str) -> Problem:
    return Problem(401, "Unauthorized", detail, headers={"WWW-Authenticate": CHALLENGE})


async def from_header(header: str, services: Services) -> Principal | None:
    scheme, _, text = header.partition(" ")
    text = text.strip()
    if scheme.lower() == "basic":
        text = _password(text)
    elif scheme.lower() != "bearer":
        return None
    presented = tokens.parse(text)
    if presented is not None:
        return tokens.principal(await services.accounts.token(presented.id), presented, services.clock())
    return await of_session(text, services) if scheme.lower() == "bearer" else None


async def from_cookie(request: Request, services: Services) -> Principal | None:
    """The person of the console's cookie; a change must carry the session's CSRF token in a header."""
    who = await of_session(request.cookies.get(COOKIE, ""), services)
    if who is not None and request.method not in SAFE:
        check_csrf(who, request.headers.get(CSRF_HEADER, ""), services)
    return who


def check_csrf(who: Principal, offered: str, services: Services) -> None:
    if not services.sessions.is_csrf(who.session, offered):
        raise Problem(403, "Forbidden", f"a change by cookie needs the header {CSRF_HEADER}", reason="csrf")


def claims(text: str, services: Services) -> Claims | None:
    return services.sessions.read(text, services.clock()) if text else None


async def of_session(text: str, services: Services) -> Principal | None:
    """The person whose session `text` is, as the account stands now (rights may have changed since the login)."""
    known = claims(text, services)
    if known is None or await services.accounts.is_revoked(known.session):
        return None
    account = await services.accounts.account(known.username)
    if account is None or account.disabled:
        return None
    return Principal(
        name=account.username,
        tenant=account.tenant,
        scopes=frozenset(account.scopes.split()),
        is_admin=account.is_admin,
        session=known.session,
    )


def _password(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
