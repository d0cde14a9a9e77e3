"""`/livez`, `/readyz` and `/metrics`: open without a token (a setting closes `/metrics`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from gateway.authentication import authenticate
from gateway.canary import Watch
from gateway.deps import Kit
from gateway.metrics import PlatformCollector
from gateway.problems import MEDIA_TYPE, Problem
from gateway.services import Services
from schemas.catalogue import catalogue
from streams.disk import DiskWatch
from streams.errors import Failure, Retryable

router = APIRouter(tags=["health"])

FRESH_S = 1.0
CHECK_S = 5.0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Holds the client that asks other processes whether they are ready, and the cluster's metrics."""
    collector = PlatformCollector(app.state.services.cluster)
    REGISTRY.register(collector)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CHECK_S)) as session:
            app.state.readiness = Readiness(app.state.services, session, lambda: _canary(app))
            yield
    finally:
        REGISTRY.unregister(collector)


def _canary(app: FastAPI) -> str:
    watch = getattr(app.state, "canary", None)
    return watch.text() if isinstance(watch, Watch) else ""


class Readiness:
    """Every check, run side by side and remembered for `FRESH_S`."""

    def __init__(self, services: Services, session: aiohttp.ClientSession, canary: Callable[[], str]) -> None:
        self._services = services
        self._canary = canary
        self._session = session
        self._disk = DiskWatch(services.settings.data_dir, services.settings.full_disk_percent)
        self._lock = asyncio.Lock()
        self._known: tuple[float, dict[str, dict[str, Any]]] = (0.0, {})

    async def checks(self) -> dict[str, dict[str, Any]]:
        async with self._lock:
            at, known = self._known
            if not known or time.monotonic() - at > FRESH_S:
                known = await self._run()
                self._known = (time.monotonic(), known)
            return known

    async def _run(self) -> dict[str, dict[str, Any]]:
        named: dict[str, Callable[[], Awaitable[None]]] = {
            "bus": self._bus,
            "views": self._views,
            "index": self._services.index.ping,
            "database": self._database,
        }
        for said in self._services.settings.gateway.ready_urls:
            name, _, url = said.rpartition("=")
            named[name or url] = lambda url=url: self._process(url)  # type: ignore[misc]
        results = await asyncio.gather(*(_outcome(check) for check in named.values()))
        # A full disk refuses input only: what is stored can be searched, so this says it and stays ready.
        disk = {"disk": {"ok": True, "detail": self._disk.full()}}
        # Nor is it the gateway that fails when alerts do not arrive.
        canary = {"canary": {"ok": True, "detail": self._canary()}}
        return dict(zip(named, results, strict=True)) | disk | canary

    async def _bus(self) -> None:
        """A leader for every partition of every topic of the catalogue."""
        topics = (await self._services.cluster.snapshot()).topics
        missing = [n for n in catalogue() if n not in topics or any(span.leader < 0 for span in topics[n])]
        if missing:
            raise Retryable("no_leader", f"no topic or no leader: {', '.join(missing[:5])}")

    async def _views(self) -> None:
        waiting = [name for name, view in self._services.views.named.items() if not view.ready]
        if waiting:
            raise Retryable("views", f"still reading: {', '.join(waiting)}")

    async def _database(self) -> None:
        await self._services.accounts.ping()

    async def _process(self, url: str) -> None:
        try:
            async with self._session.get(url) as answer:
                if answer.status != 200:
                    raise Retryable("not_ready", f"answers {answer.status}")
        except aiohttp.ClientError as error:
            raise Retryable("not_ready", type(error).__name__) from error


async def _outcome(check: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(CHECK_S):
            await check()
    except Failure as error:
        return {"ok": False, "detail": error.detail or error.reason}
    except TimeoutError:
        return {"ok": False, "detail": f"no answer in {CHECK_S:.0f} s"}
    return {"ok": True, "detail": ""}


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process runs and its loop turns."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """200 when a request can be served: Kafka has leaders for all topics, views are complete, index and database are
    there, and the processes of `gateway.ready_urls` are ready; else 503 with what is not."""
    readiness = getattr(request.app.state, "readiness", None)
    checks = await readiness.checks() if readiness else {"start": {"ok": False, "detail": "the gateway is starting"}}
    failed = [f"{name}: {check['detail']}" for name, check in checks.items() if not check["ok"]]
    if not failed:
        return JSONResponse({"status": "ready", "checks": checks})
    problem = Problem(503, "Not ready", "; ".join(failed), checks=checks)
    return JSONResponse(problem.document() | {"state": "not ready"}, 503, {"Retry-After": "1"}, MEDIA_TYPE)


@router.get("/metrics")
async def metrics(request: Request, kit: Kit) -> Response:
    """Prometheus's text format: this process, topics, lag and dead letters; no tenant, pod or user names in labels."""
    if not kit.settings.gateway.metrics_open:
        who = await authenticate(request, kit)
        if not who.may("metrics:read"):
            raise Problem(403, "Forbidden", "this needs the scope metrics:read", scope="metrics:read")
    await kit.cluster_quietly()
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
