"""The local mailbox: an SMTP server beside the gateway, so that notifications arrive somewhere before SMTP is set up.

On loopback, without authentication, and only when `smtp.url` is empty. A mail is acknowledged once it is on disk.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session
from fastapi import FastAPI

from gateway.files import data_dir
from gateway.mail_store import MailStore
from streams.settings import Settings

log = structlog.get_logger(__name__)

HOST = "127.0.0.1"
FILE = "mailbox.db"
MAX_MAIL_BYTES = 8 << 20
MAX_RECIPIENTS = 100
IDLE_S = 120
RETRY_S = 1.0


class Handler:
    def __init__(self, store: MailStore, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        raw = envelope.content if isinstance(envelope.content, bytes) else b""
        try:
            await asyncio.to_thread(
                self._store.add, raw, envelope.mail_from or "", list(envelope.rcpt_tos), self._clock()
            )
        except sqlite3.Error as error:
            log.warning("mailbox.not_stored", error=str(error))
            return "452 4.3.1 Could not be stored, try again"
        return "250 2.0.0 Stored"


def open_store(settings: Settings) -> MailStore:
    limits = settings.mailbox
    return MailStore(data_dir(settings) / FILE, max_messages=limits.max_messages, max_bytes=limits.max_bytes)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens the store (`app.state.mailbox`) and, unless mail goes to a server, listens."""
    settings: Settings = app.state.settings
    store = await asyncio.to_thread(open_store, settings)
    app.state.mailbox = store
    listening = None
    if not settings.smtp.url.get_secret_value():
        listening = asyncio.create_task(serve(settings, Handler(store, app.state.services.clock)), name="mailbox")
    try:
        yield
    finally:
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        await asyncio.to_thread(store.close)


async def serve(settings: Settings, handler: Handler) -> None:
    """Until cancelled. A port that is taken is waited for: the rest of the gateway works without."""
    loop = asyncio.get_running_loop()
    said = False

    def protocol() -> SMTP:
        return SMTP(
            handler,
            hostname="mailbox.eventsphere",
            ident="Eventsphere mailbox",
            data_size_limit=MAX_MAIL_BYTES,
            enable_SMTPUTF8=True,
            timeout=IDLE_S,
            loop=loop,
        )

    while True:
        try:
            server = await loop.create_server(protocol, HOST, settings.mailbox.port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if not said:
                log.error("mailbox.port_in_use", port=settings.mailbox.port, setting="EVENTSPHERE_MAILBOX__PORT")
                said = True
            await asyncio.sleep(RETRY_S)
            continue
        async with server:
            await server.serve_forever()
