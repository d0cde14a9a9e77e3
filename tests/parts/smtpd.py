"""An SMTP server of the test's own (aiosmtpd) that does as told: takes, refuses for now or for good, hangs up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.parts.process import free_port


class Smtpd:
    """`replies` by recipient: what RCPT is answered; `answers`: one after the other, first; `on_data`: what DATA is
    answered, or an exception's effect."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.replies: dict[str, str] = {}
        self.answers: dict[str, list[str]] = {}
        self.on_data = ""
        self.delay_s = 0.0
        self.drop_after_data = False
        self.received: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._controller: Controller | None = None

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def ids(self) -> list[str]:
        with self._lock:
            return [str(message["Message-ID"]) for message in self.received]

    async def handle_EHLO(
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if answers := self.answers.get(address):
            return answers.pop(0)
        if reply := self.replies.get(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.on_data:
            return self.on_data
        message: Any = BytesParser(policy=policy.default).parsebytes(envelope.original_content or b"")
        with self._lock:
            self.received.append(message)
            self.recipients.extend(envelope.rcpt_tos)
        if self.drop_after_data and server.transport is not None:
            server.transport.close()
        return "250 OK"


@contextmanager
def smtpd() -> Iterator[Smtpd]:
    server = Smtpd(free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()
