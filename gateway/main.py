"""The gateway process: uvicorn over `create_app`, stopping gracefully within 5 s (streams are told to end first)."""

from __future__ import annotations

import uvicorn

from gateway.app import create_app
from gateway.database import bootstrap
from streams.settings import Settings

GRACE_S = 3
KEEP_ALIVE_S = 65
BACKLOG = 1024


def main(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. On the very first start the admin's password is printed, once."""
    if password := bootstrap(settings):
        print(f"admin password: {password}", flush=True)  # noqa: T201
    server(settings).run()


def server(settings: Settings) -> uvicorn.Server:
    config = uvicorn.Config(
        create_app(settings),
        host=settings.gateway.host,
        port=settings.gateway.port,
        loop="uvloop",
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
        server_header=False,
        date_header=True,
        access_log=False,
        log_level="warning",
        ws="none",
    )
    return uvicorn.Server(config)
