"""`GET /api/v1/mailbox`, `GET /api/v1/mailbox/{id}`: the mails of the local mailbox, newest first.

The mailbox holds everybody's mails, so it is the platform's to read, not a tenant's.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from gateway.deps import Principal, need
from gateway.lists import Cursor, Limit, Page, Sort, Text, oldest_first, pack, unpack
from gateway.mail_store import MailStore
from gateway.problems import Problem, bad_parameter
from schemas.alerts import NO_TENANT

router = APIRouter(tags=["notifications"])
Reader = Annotated[Principal, Depends(need("mailbox:read"))]
HTML_CSP = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@router.get("/api/v1/mailbox")
async def list_mails(
    request: Request, who: Reader, q: Text = "", limit: Limit = 50, cursor: Cursor = "", sort: Sort = "-time"
) -> Page:
    """Mails whose subject, recipient or Message-ID contains `q`, with text and HTML."""
    store = _store(request, who)
    before = unpack(cursor, int) if cursor else 0
    if before < 0:
        raise bad_parameter("cursor", "not one of this list")
    items, total, after = await asyncio.to_thread(store.page, q, limit, before, oldest_first=oldest_first(sort))
    return Page(items=items, total=total, next=pack(after) if after else "")


@router.get("/api/v1/mailbox/{mail}")
async def show_mail(mail: str, request: Request, who: Reader) -> dict[str, Any]:
    """One mail, with its source in `raw`."""
    return await _mail(mail, request, who)


@router.get("/api/v1/mailbox/{mail}/html")
async def show_html(mail: str, request: Request, who: Reader) -> Response:
    """The mail's HTML as it is, in a sandbox: for a frame or a tab of its own."""
    found = await _mail(mail, request, who)
    return Response(found["html"], media_type="text/html; charset=utf-8", headers={"content-security-policy": HTML_CSP})


async def _mail(mail: str, request: Request, who: Principal) -> dict[str, Any]:
    found = await asyncio.to_thread(_store(request, who).get, mail)
    if found is None:
        raise Problem(404, "Not found", "there is no such mail (any more)")
    return found


def _store(request: Request, who: Principal) -> MailStore:
    if who.tenant != NO_TENANT:
        raise Problem(403, "Forbidden", "the local mailbox is the platform's, not a tenant's")
    store: MailStore = request.app.state.mailbox
    return store
