"""SMTP (RFC 5321) by aiosmtplib: a few connections kept open, one recipient a transaction, replies classed.

4xx and a broken connection come again, 5xx to a recipient or its message is final. What is wrong between us and the
server (login refused, TLS missing) is `Away`: an operator mends it, no notification is given up for it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import parseaddr
from urllib.parse import unquote, urlsplit

import aiosmtplib
import msgspec
from aiosmtplib import SMTP

from streams.errors import Invalid, Retryable
from streams.sinks.channel import Away, Final

CONNECT_S = 10.0
COMMAND_S = 30.0
IDLE_S = 20.0
"""A connection unused for longer is opened anew: servers hang up after a while, mostly without a word."""
MAX_MESSAGES = 100
"""Messages over one connection: servers limit it."""
POOL = 4
"""Connections to a server: while one waits for a reply, others get ready for their own message."""
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
    hello: str = ""
    """How we name ourselves; empty: this machine's name."""

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
    if unknown := set(query) - {"from", "ca_file", "hello"}:
        raise ValueError(f"smtp.url: unknown parameter {min(unknown)!r}; expected from, ca_file, hello")
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
        hello=query.get("hello", ""),
    )


class _Connection:
    """An open connection and what was done over it."""

    def __init__(self, smtp: SMTP) -> None:
        self.smtp = smtp
        self.sent = 0
        self.used = False
        self.used_at = 0.0


class Mailer:
    """Up to `POOL` connections to one server, kept open and used again."""

    def __init__(self, server: Server, clock: Callable[[], float] = time.monotonic) -> None:
        self.server = server
        self._clock = clock
        self._idle: list[_Connection] = []
        self._room = asyncio.Semaphore(POOL)

    async def send(self, message: EmailMessage, recipient: str, final: Final = nullcontext) -> None:
        """Return when the server took the message. Raises Invalid("smtp_<code>"), Retryable or Away.

        `final` is held from before the server may have taken it. After `Away` it is unknown whether it did: the caller
        sends the same one (same Message-ID) again.
        """
        async with self._room:
            connection: _Connection | None = None
            try:
                connection = await self._begin()
                await self._transaction(connection, message, recipient, final)
            except (TimeoutError, OSError, ssl.SSLError, aiosmtplib.SMTPException) as error:
                failure = classified(error)
                if isinstance(failure, Away):
                    _drop(connection)
                else:
                    self._put_back(connection)
                raise failure from error
            except Invalid:
                self._put_back(connection)
                raise
            except BaseException:
                _drop(connection)  # cancelled in the middle of a command: the connection's state is unknown
                raise
            self._put_back(connection)

    async def close(self) -> None:
        while self._idle:
            await _quit(self._idle.pop())

    def _put_back(self, connection: _Connection | None) -> None:
        if connection is not None and connection.smtp.is_connected:
            self._idle.append(connection)

    async def _begin(self) -> _Connection:
        """A connection ready for MAIL: RSET clears what a refused one left, and finds out whether it still stands."""
        while self._idle:
            connection = self._idle.pop()
            old = self._clock() - connection.used_at > IDLE_S or connection.sent >= MAX_MESSAGES
            if old or not connection.smtp.is_connected:
                await _quit(connection)
                continue
            try:
                if connection.used:
                    await connection.smtp.rset(timeout=CONNECT_S)
            except (OSError, aiosmtplib.SMTPException):
                _drop(connection)
                continue
            connection.used = True
            return connection
        connection = _Connection(await self._connect())
        connection.used, connection.used_at = True, self._clock()
        return connection

    async def _connect(self) -> SMTP:
        server = self.server
        secure = server.scheme != "smtp"
        smtp = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username or None,
            password=server.password or None,
            timeout=CONNECT_S,
            local_hostname=server.hello or None,
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

    async def _transaction(self, connection: _Connection, message: EmailMessage, recipient: str, final: Final) -> None:
        smtp, sender = connection.smtp, self.server.envelope_sender
        wide = not (recipient.isascii() and sender.isascii())
        if wide and not smtp.supports_extension("smtputf8"):
            raise Invalid("smtp_utf8", "the server does not take addresses beyond ASCII (SMTPUTF8)")
        encoding = "utf-8" if wide else "ascii"
        body = message.as_bytes(policy=SMTP_POLICY.clone(utf8=True) if wide else SMTP_POLICY)
        await smtp.mail(sender, options=["SMTPUTF8"] if wide else [], encoding=encoding, timeout=COMMAND_S)
        await smtp.rcpt(recipient, encoding=encoding, timeout=COMMAND_S)
        async with final():
            await smtp.data(body, timeout=COMMAND_S)
        connection.sent += 1
        connection.used_at = self._clock()


async def _quit(connection: _Connection) -> None:
    with suppress(Exception):
        await connection.smtp.quit(timeout=2)


def _drop(connection: _Connection | None) -> None:
    if connection is not None:
        connection.smtp.close()


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
