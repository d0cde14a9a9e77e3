"""What a route asks for, by type: `config: Config, bus: Bus, search: Search, views: Views`, `who = Depends(need(...))`.

    router = APIRouter()

    @router.post("/api/v2/silences")
    async def put(body: Body, bus: Bus, who: Annotated[Principal, Depends(need("silences:write"))]) -> ...

Scopes are `<what>:read|write`, `topics:<topic>:read|write`, with `*` for any part. A scope may name a path parameter:
`need("topics:{topic}:write")`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from gateway.principal import Principal
from gateway.problems import Problem
from gateway.services import Services, ViewSet
from streams.producer import Producer
from streams.settings import Settings
from streams.sinks.index.port import Index

__all__ = ["Bus", "Clock", "Config", "Kit", "Principal", "Search", "Views", "audit", "need"]


def services(request: Request) -> Services:
    out = getattr(request.app.state, "services", None)
    if not isinstance(out, Services):
        raise Problem(503, "Service unavailable", "the gateway is starting", headers={"Retry-After": "1"})
    return out


async def _kit(request: Request) -> Services:
    return services(request)


Kit = Annotated[Services, Depends(_kit)]
# None of these waits for anything; `async` all the same, as FastAPI gives each plain function to a thread.


async def _config(kit: Kit) -> Settings:
    return kit.settings


async def _bus(kit: Kit) -> Producer:
    return kit.producer


async def _search(kit: Kit) -> Index:
    return kit.index


async def _views(kit: Kit) -> ViewSet:
    return kit.views


async def _clock(kit: Kit) -> Callable[[], int]:
    return kit.clock


Config = Annotated[Settings, Depends(_config)]
Bus = Annotated[Producer, Depends(_bus)]
Search = Annotated[Index, Depends(_search)]
Views = Annotated[ViewSet, Depends(_views)]
Clock = Annotated[Callable[[], int], Depends(_clock)]


def need(*scopes: str) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency giving the caller, who holds all of `scopes`: else 401 (who are you?) or 403 (you may not)."""

    async def caller(request: Request) -> Principal:
        from gateway.authentication import authenticate

        who = await authenticate(request, services(request))
        request.state.principal = who
        for scope in scopes:
            wanted = scope.format_map(request.path_params)
            if not who.may(wanted):
                request.state.audit_denied = wanted
                raise Problem(403, "Forbidden", f"this needs the scope {wanted}", scope=wanted)
        return who

    return caller


def audit(request: Request, *, verb: str = "", object: str = "", **more: object) -> None:  # noqa: A002
    """Say more precisely what this request does, for its record on `platform.audit` (`after`, `before`, `reason`)."""
    request.state.audit = {**getattr(request.state, "audit", {}), **more}
    if verb:
        request.state.audit["verb"] = verb
    if object:
        request.state.audit["object"] = object
