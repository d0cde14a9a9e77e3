"""The gateway's ASGI application: middleware, every router of `gateway/api/`, and what runs beside them.

A module of `gateway/api/` exports `router`, and may export `lifespan(app)`: an async context manager entered after
the services stand (`app.state.services`), left before they stop. `gateway/mailbox.py` takes part the same way.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import ModuleType

from fastapi import Depends, FastAPI

from gateway import api, middleware, parameters, problems
from gateway.services import running
from streams.settings import Settings

BESIDE = ("gateway.mailbox",)
BUSIEST = "ingest"
"""Looked at first: routes are tried one after another."""


def create_app(settings: Settings) -> FastAPI:
    modules = list(_modules())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.services = await stack.enter_async_context(running(settings))
            for module in modules:
                if hasattr(module, "lifespan"):
                    await stack.enter_async_context(module.lifespan(app))
            yield

    app = FastAPI(
        title="Eventsphere",
        version="1",
        description="Events of Kubernetes platforms: publish, search, stream, alert. Errors are RFC 9457 problems.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.settings = settings
    problems.install(app)
    for module in modules:
        if hasattr(module, "router"):
            app.include_router(module.router, dependencies=[Depends(parameters.known)])
    middleware.install(app, settings)
    return app


def _modules() -> Iterator[ModuleType]:
    for item in sorted(pkgutil.iter_modules(api.__path__), key=lambda item: (item.name != BUSIEST, item.name)):
        yield importlib.import_module(f"{api.__name__}.{item.name}")
    for name in BESIDE:
        if importlib.util.find_spec(name) is not None:
            yield importlib.import_module(name)
