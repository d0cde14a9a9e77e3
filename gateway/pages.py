"""What every page of the console shares: who looks at it, what stands around it, and how an error looks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from console.rendering import render
from gateway.authentication import check_csrf, from_cookie, of_session, unauthorized
from gateway.context import request_id
from gateway.deps import services
from gateway.principal import Principal
from gateway.problems import Problem
from gateway.services import Services
from gateway.sessions import COOKIE
from streams.errors import Failure, Invalid

MAX_FORM = 64 << 10
FLASHES = {
    "silenced": "Silenced.",
    "acknowledged": "You have taken it on: it is not repeated until it resolves.",
    "given_back": "Nobody works on it any more.",
    "ended": "The silence has ended.",
    "replayed": "Sent round again.",
    "saved": "Saved.",
    "forgotten": "Deleted.",
}


class Place(NamedTuple):
    """A page of the navigation, shown to those who may read it."""

    href: str
    name: str
    icon: str
    key: str
    scope: str
    badge: str = ""


NAVIGATION = (
    Place("/", "Overview", "overview", "o", "status:read"),
    Place("/logs", "Logs", "logs", "l", "logs:read"),
    Place("/events", "Events", "events", "e", "events:read"),
    Place("/alerts", "Alerts", "alerts", "a", "alerts:read", "alerts.firing"),
    Place("/rules", "Rules", "rules", "r", "rules:read"),
    Place("/notifications", "Notifications", "notifications", "n", "notifications:read"),
    Place("/mailbox", "Mailbox", "mailbox", "m", "mailbox:read"),
    Place("/topics", "Topics", "topics", "t", "status:read"),
    Place("/dead-letters", "Dead letters", "dead", "d", "dlq:read", "dead"),
)


class PageRoute(APIRoute):
    """Errors are pages; who is not logged in is sent to do so and comes back afterwards."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def page(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as error:
                if error.status_code == 401 and request.method == "GET":
                    return RedirectResponse(f"/login?next={quote(here(request), safe='')}", 303)
                return await _error(request, error)
            except RequestValidationError:
                return await _error(request, Problem(422, "Invalid request", "a field of the form or the URL is wrong"))
            except Invalid as error:
                return await _error(request, Problem(422, "That cannot be", error.detail or error.reason))
            except Failure as error:
                return await _error(request, Problem(503, "Not now", error.detail or error.reason))

        return page


class Viewer(NamedTuple):
    """Who looks at a page, and the services it is made from."""

    who: Principal
    kit: Services
    request: Request

    def page(self, template: str, *, live: Mapping[str, str] | None = None, **context: Any) -> HTMLResponse:
        """The page, with what stands around it."""
        return HTMLResponse(render(template, **self._around(live), **context))

    def _around(self, live: Mapping[str, str] | None) -> dict[str, Any]:
        sessions, path = self.kit.sessions, self.request.url.path
        parts = [place for place in NAVIGATION if self.who.may(place.scope)]
        return {
            "user": self.who,
            "csrf": sessions.csrf(self.who.session),
            "nav": parts,
            "here": next((p.href for p in parts if p.href != "/" and path.startswith(p.href)), path),
            "live": "/console/live" + (f"?{urlencode(live)}" if live else ""),
            "flash": FLASHES.get(self.request.query_params.get("done", ""), ""),
            "back": here(self.request),
            "query": self.query,
        }

    def query(self, **changes: Any) -> str:
        """The page's own query with changes: how a link keeps the rest of the state. Empty values are left out."""
        params = {k: v for k, v in self.request.query_params.items() if k not in ("done", "tail")}
        params |= {name: str(value) for name, value in changes.items()}
        return urlencode({name: value for name, value in params.items() if value})


def viewer(*scopes: str) -> Any:
    """A dependency giving the `Viewer` of a page, who is logged in by the cookie and holds `scopes`."""

    async def look(request: Request) -> Viewer:
        kit = services(request)
        who = await from_cookie(request, kit)
        if who is None:
            raise unauthorized("log in first")
        request.state.principal = who
        _check(request, who, scopes)
        return Viewer(who, kit, request)

    return Depends(look)


class Sent(NamedTuple):
    """A form of a page, sent by somebody who may."""

    viewer: Viewer
    fields: dict[str, str]

    def back(self, done: str, otherwise: str) -> RedirectResponse:
        """To the page the form was on (of ours only), which says what was done."""
        to = local(self.fields.get("back", ""), otherwise)
        path, _, query = to.partition("?")
        kept = "&".join(part for part in query.split("&") if part and not part.startswith("done="))
        return RedirectResponse(f"{path}?{kept + '&' if kept else ''}done={done}", 303)


def sent(*scopes: str) -> Any:
    """A dependency giving a form that carries its session's CSRF token."""

    async def take(request: Request) -> Sent:
        kit = services(request)
        who = await of_session(request.cookies.get(COOKIE, ""), kit)
        if who is None:
            raise unauthorized("log in first")
        request.state.principal = who
        fields = await form(request)
        check_csrf(who, fields.get("csrf", ""), kit)
        _check(request, who, scopes)
        return Sent(Viewer(who, kit, request), fields)

    return Depends(take)


async def form(request: Request) -> dict[str, str]:
    """The text fields of a form. Raises 413 for a large one."""
    if len(await request.body()) > MAX_FORM:
        raise Problem(413, "Content too large", "the form is too large")
    data = await request.form(max_files=0, max_fields=50)
    return {name: value for name, value in data.items() if isinstance(value, str)}


def typed(items: Iterable[dict[str, Any]], type_: type[msgspec.Struct]) -> list[dict[str, Any]]:
    """Items of a list with their records as `type_`; anyone may write to Kafka, so what is none is left out."""
    out = []
    for item in items:
        with suppress(msgspec.ValidationError):
            out.append({**item, "record": msgspec.convert(item["record"], type_)})
    return out


def local(path: str, otherwise: str = "/") -> str:
    """`path` when it is one of this site: a link may not lead a reader elsewhere."""
    fine = path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path and "\r" not in path
    return path if fine and not path.startswith(("/login", "/logout")) else otherwise


def here(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def _check(request: Request, who: Principal, scopes: tuple[str, ...]) -> None:
    for scope in scopes:
        wanted = scope.format_map(request.path_params)
        if not who.may(wanted):
            request.state.audit_denied = wanted
            raise Problem(403, "Not for you", f"This needs the scope {wanted}.", scope=wanted)


def wants_page(request: Request) -> bool:
    """A person's browser, at an address that is none of the API's."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


async def not_found(request: Request, error: HTTPException) -> Response:
    """The page that says so; who is not logged in is not told which pages there are."""
    if await of_session(request.cookies.get(COOKIE, ""), services(request)) is None:
        return RedirectResponse("/login", 303)
    return await _error(request, error)


async def _error(request: Request, error: HTTPException) -> Response:
    title = error.title if isinstance(error, Problem) else str(error.status_code)
    problem = {"title": title, "detail": error.detail, "status": error.status_code, "request_id": request_id.get()}
    kit = services(request)
    who = await of_session(request.cookies.get(COOKIE, ""), kit) or Principal("")
    again = local(here(request)) if request.method == "GET" else "/"
    answer = Viewer(who, kit, request).page("error.html", problem=problem, again=again)
    answer.status_code = error.status_code
    answer.headers.update(error.headers or {})
    return answer


LoggedIn = Annotated[Viewer, viewer()]
