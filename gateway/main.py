"""The gateway process: uvicorn over `create_app`, stopping gracefully within 5 s (streams are told to end first)."""

from __future__ import annotations

import gc
import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI

from gateway.app import create_app
from gateway.database import bootstrap
from gateway.services import Services
from streams.settings import Settings

GRACE_S = 3
KEEP_ALIVE_S = 65
BACKLOG = 1024
GC_OBJECTS = 50_000
"""Records live for a moment and hold no cycles: looking for them at every 700th object is dear."""


def main(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. On the very first start the admin's password is printed, once."""
    if password := bootstrap(settings):
        print(f"admin password: {password}", flush=True)  # noqa: T201
    running = server(settings)
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)
    running.run()


class Server(uvicorn.Server):
    """uvicorn, ending live streams as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.end_streams()
        super().handle_exit(signal.Signals(sig), frame)

    def end_streams(self) -> None:
        services = getattr(self._app.state, "services", None)
        if isinstance(services, Services):
            services.end_streams()


def server(settings: Settings) -> Server:
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.gateway.host,
        port=settings.gateway.port,
        loop="uvloop",
        http="httptools",
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
        server_header=False,
        date_header=True,
        access_log=False,
        log_level="warning",
        ws="none",
    )
    return Server(config, app)
