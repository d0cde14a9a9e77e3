"""SMTP (RFC 5321) by aiosmtplib: one connection kept open, one recipient a transaction, replies classed.

4xx and a broken connection come again, 5xx to a recipient or its message is final. What is wrong between us and the
server (login refused, TLS missing) is `Away`: an operator mends it, no notification is given up for it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import parseaddr
from urllib.parse import unquote, urlsplit

import aiosmtplib
import msgspec
from aiosmtplib import SMTP

from streams.errors import Invalid, Retryable
from streams.sinks.channel import Away

CONNECT_S = 10.0
COMMAND_S = 30.0
IDLE_S = 20.0
"""A connection unused for longer is opened anew: servers hang up after a while, mostly without a word."""
MAX_MESSAGES = 100
"""Messages over one connection: servers limit it."""
REPLY_CHARS = 300
DEFAULT_SENDER = "eventsphere@localhost"
SHUTTING_DOWN = 421
OUR_FAULT = {530, 534, 535, 538}
"""Replies about login and TLS (RFC 4954 section 6)."""
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """An SMTP server as `smtp|smtp+starttls|smtps://user:password@host:port?from=address&ca_file=path` names it."""

    scheme: str
    host: str
    port: int
    username: str = ""
    password: str = ""
    sender: str
    ca_file: str = ""

    @property
    def envelope_sender(self) -> str:
        return parseaddr(self.sender)[1]

    def __repr__(self) -> str:
        return f"Server({self.scheme}://{self.host}:{self.port})"


def parse_url(url: str) -> Server:
    """Raises ValueError saying what is expected, without the URL's secrets."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("smtp.url: expected smtp|smtp+starttls|smtps://user:password@host:port?from=address")
    # Not parse_qs: a plus in an address is a plus.
    query = {
        name: unquote(value) for name, _, value in (pair.partition("=") for pair in parts.query.split("&") if pair)
    }
    if unknown := set(query) - {"from", "ca_file"}:
        raise ValueError(f"smtp.url: unknown parameter {min(unknown)!r}; expected from, ca_file")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise ValueError("smtp.url: the port is not a number below 65536") from None
    sender = query.get("from", DEFAULT_SENDER)
    if "@" not in parseaddr(sender)[1]:
        raise ValueError("smtp.url: from is not an address; expected from=user@host or from=Name <user@host>")
    return Server(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        sender=sender,
        ca_file=query.get("ca_file", ""),
    )


class Mailer:
    """One connection to one server. Calls of `send` must not overlap (they go through one lane)."""

    def __init__(self, server: Server, clock: Callable[[], float] = time.monotonic) -> None:
        self.server = server
        self._clock = clock
        self._connection: SMTP | None = None
        self._sent = 0
        self._used = False
        self._used_at = 0.0
        self._lock = asyncio.Lock()

    async def send(self, message: EmailMessage, recipient: str) -> None:
        """Return when the server took the message. Raises Invalid("smtp_<code>"), Retryable or Away.

        After `Away` it is unknown whether the message was taken: the caller sends the same one (same Message-ID) again.
        """
        async with self._lock:
            try:
                smtp = await self._begin()
                await self._transaction(smtp, message, recipient)
            except (Invalid, Retryable):
                raise
            except (TimeoutError, OSError, ssl.SSLError, aiosmtplib.SMTPException) as error:
                failure = classified(error)
                if isinstance(failure, Away):
                    self._drop()
                raise failure from error
            except BaseException:
                self._drop()  # cancelled in the middle of a command: the connection's state is unknown
                raise

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                await connection.quit(timeout=2)

    async def _begin(self) -> SMTP:
        """A connection ready for MAIL: RSET clears what a refused one left, and finds out whether it still stands."""
        smtp = await self._connected()
        if self._used:
            try:
                await smtp.rset(timeout=CONNECT_S)
            except (OSError, aiosmtplib.SMTPException):
                self._drop()
                smtp = await self._connected()
        self._used = True
        return smtp

    async def _connected(self) -> SMTP:
        old = self._connection
        if old is not None and (
            not old.is_connected or self._sent >= MAX_MESSAGES or self._clock() - self._used_at > IDLE_S
        ):
            await self.close()
        if self._connection is None:
            self._connection = await self._connect()
            self._sent, self._used, self._used_at = 0, False, self._clock()
        return self._connection

    async def _connect(self) -> SMTP:
        server = self.server
        secure = server.scheme != "smtp"
        smtp = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username or None,
            password=server.password or None,
            timeout=CONNECT_S,
            use_tls=server.scheme == "smtps",
            start_tls=server.scheme == "smtp+starttls",
            tls_context=ssl.create_default_context(cafile=server.ca_file or None) if secure else None,
        )
        try:
            await smtp.connect()
        except (aiosmtplib.SMTPException, OSError, ssl.SSLError, TimeoutError) as error:
            smtp.close()
            raise Away(_reason(error), _said(error)) from error
        return smtp

    async def _transaction(self, smtp: SMTP, message: EmailMessage, recipient: str) -> None:
        sender = self.server.envelope_sender
        wide = not (recipient.isascii() and sender.isascii())
        if wide and not smtp.supports_extension("smtputf8"):
            raise Invalid("smtp_utf8", "the server does not take addresses beyond ASCII (SMTPUTF8)")
        policy = SMTP_POLICY.clone(utf8=True) if wide else SMTP_POLICY
        await smtp.mail(
            sender,
            options=["SMTPUTF8"] if wide else [],
            encoding="utf-8" if wide else "ascii",
            timeout=COMMAND_S,
        )
        await smtp.rcpt(recipient, encoding="utf-8" if wide else "ascii", timeout=COMMAND_S)
        await smtp.data(message.as_bytes(policy=policy), timeout=COMMAND_S)
        self._sent += 1
        self._used_at = self._clock()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def classified(error: Exception) -> Invalid | Retryable:
    """What a failed transaction means for the notification."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        code = error.code
        if code == SHUTTING_DOWN or code in OUR_FAULT:
            return Away(f"smtp_{code}", _said(error))
        if code >= 500:
            return Invalid(f"smtp_{code}", _said(error))
        if code >= 400:
            return Retryable(f"smtp_{code}", _said(error))
    return Away(_reason(error), _said(error))


def _reason(error: Exception) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException) and error.code > 0:
        return f"smtp_{error.code}"
    if isinstance(error, (TimeoutError, aiosmtplib.SMTPTimeoutError)):
        return "smtp_timeout"
    if isinstance(error, ssl.SSLError):
        return "smtp_tls"
    return "smtp_away"


def _said(error: Exception) -> str:
    """The server's words on one bounded line."""
    said = error.message if isinstance(error, aiosmtplib.SMTPResponseException) else str(error)
    return " ".join(str(said or type(error).__name__).split())[:REPLY_CHARS]
