"""The console's door: its files, logging in and out. The session is a cookie no script can read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from console.rendering import render, static
from gateway.api.login import MAX_PASSWORD, check, end_session, start_session
from gateway.deps import Kit
from gateway.pages import PageRoute, Sent, form, local, sent
from gateway.problems import Problem
from gateway.sessions import COOKIE
from schemas.tables import NAME_LENGTH

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/static/{name}")
async def file(name: str, request: Request) -> Response:
    found = static(name)
    if found is None:
        raise Problem(404, "Not found", "there is no such file")
    headers = {"ETag": found.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)


@router.get("/login")
async def door(next: str = "/") -> Response:  # noqa: A002
    return HTMLResponse(render("login.html", next=local(next), error="", username=""))


@router.post("/login")
async def enter(request: Request, kit: Kit) -> Response:
    """A cookie for a name and a password. Another site's form is refused: nobody is logged in as somebody else."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Problem(403, "Not for you", "this form was sent from another site")
    fields = await form(request)
    username, password = fields.get("username", ""), fields.get("password", "")
    to = local(fields.get("next", ""))
    if not (0 < len(username) <= NAME_LENGTH and 0 < len(password) <= MAX_PASSWORD):
        return _again(to, "Name and password, please.", username[:NAME_LENGTH], 422)
    try:
        account = await check(username, password, request, kit)
    except Problem as error:
        return _again(to, error.detail[:1].upper() + error.detail[1:] + ".", username, error.status_code)
    answer = RedirectResponse(to, 303)
    answer.set_cookie(
        COOKIE,
        start_session(account, kit),
        max_age=kit.sessions.lifetime_s,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https" or kit.settings.gateway.public_url.startswith("https:"),
    )
    return answer


@router.post("/logout")
async def leave(request: Request, data: Annotated[Sent, sent()]) -> Response:
    await end_session(request, data.viewer.who, data.viewer.kit)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


def _again(to: str, error: str, username: str, status: int) -> Response:
    return HTMLResponse(render("login.html", next=to, error=error, username=username), status)
