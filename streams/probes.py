"""`/livez`, `/readyz` and `/metrics` of a process that serves nothing else."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.errors import Fatal

SHUTDOWN_S = 1.0


class Probes:
    """`waiting` names what the process still waits for: empty means ready. Port 0: nothing is served.

    `problems` are shown beside it, by what they concern: what does not work without making the process unready.
    `metrics` gives their text.
    """

    def __init__(
        self,
        host: str,
        port: int,
        waiting: Callable[[], list[str]],
        problems: Callable[[], dict[str, str]] = dict,
        metrics: Callable[[], bytes] = generate_latest,
    ) -> None:
        self._host = host
        self._port = port
        self._waiting = waiting
        self._problems = problems
        self._text = metrics
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Raises Fatal("port_in_use") naming address and setting when it cannot listen."""
        if not self._port:
            return
        app = web.Application()
        app.add_routes(
            [web.get("/livez", self._livez), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port, shutdown_timeout=SHUTDOWN_S).start()
        except OSError as error:
            raise Fatal(
                "port_in_use", f"metrics cannot listen on {self._host}:{self._port}: {error.strerror}"
            ) from error

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _readyz(self, _request: web.Request) -> web.Response:
        waiting = self._waiting()
        told = {"ready": not waiting, "waiting": waiting, "problems": self._problems()}
        return web.json_response(told, status=503 if waiting else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
