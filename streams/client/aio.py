"""The same client for asyncio."""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp

from streams.client import wire
from streams.client.sync import OURS
from streams.client.wire import Events, Gap, Received, Record
from streams.errors import Retryable


class AsyncClient:
    """As `Client`; several tasks may use one at a time."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        ca_file: str = "",
        timeout_s: float = 30.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_key: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._tls: ssl.SSLContext | bool = True
        if url.startswith("https://"):
            self._tls = ssl.create_default_context(cafile=ca_file or None)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._clock = clock
        self._sleep = sleep
        self._new_key = new_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    async def publish(
        self,
        topic: str,
        records: Sequence[Record],
        *,
        source: str = OURS,
        type_: str = "",
        key: str = "",
        within_s: float = 60.0,
    ) -> int:
        """As `Client.publish`."""
        key = key or self._new_key()
        for start in range(0, len(records), wire.AT_ONCE):
            part = records[start : start + wire.AT_ONCE]
            await self._send(topic, part, f"{key}-{start}", source, type_ or topic, self._clock() + within_s)
        return len(records)

    async def _send(self, topic: str, part: Sequence[Record], key: str, source: str, type_: str, until: float) -> None:
        body = wire.batch(part, key=key, source=source, type_=type_, now_ms=int(self._clock() * 1000))
        given = wire.headers(self._token, Content_Type=wire.BATCH, Idempotency_Key=key)
        attempt = 0
        while True:
            try:
                return await self._post(wire.events_path(topic), body, given)
            except Retryable:
                if self._clock() + wire.wait_s(attempt) > until:
                    raise
                await self._sleep(wire.wait_s(attempt))
                attempt += 1

    async def _post(self, path: str, body: bytes, given: dict[str, str]) -> None:
        try:
            async with self._opened().post(
                self._url + path, data=body, headers=given, ssl=self._tls, timeout=self._timeout
            ) as reply:
                if reply.status >= 300:
                    raise wire.refusal(reply.status, await reply.read())
                await reply.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Retryable("bus_away", f"{type(error).__name__}: {error}") from error

    async def follow(
        self, topics: str, *, condition: str = "", start: str = "", after: str = ""
    ) -> AsyncIterator[Received | Gap]:
        """As `Client.follow`."""
        events, attempt = Events(after), 0
        while True:
            try:
                async for each in self._connected(topics, condition, start, events):
                    attempt = 0
                    yield each
            except Retryable:
                attempt += 1
            await self._sleep(wire.wait_s(attempt))

    async def _connected(
        self, topics: str, condition: str, start: str, events: Events
    ) -> AsyncIterator[Received | Gap]:
        again = {"Last_Event_ID": events.point} if events.point else {}
        silent = aiohttp.ClientTimeout(total=None, sock_read=wire.SILENT_S)
        path = wire.stream_path(topics, condition, start)
        try:
            async with self._opened().get(
                self._url + path,
                headers=wire.headers(self._token, **again),
                ssl=self._tls,
                timeout=silent,
                read_bufsize=1 << 24,
            ) as reply:
                if reply.status >= 300:
                    raise wire.refusal(reply.status, await reply.read())
                async for line in reply.content:
                    if (event := events.line(line)) is not None:
                        yield event
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Retryable("bus_away", f"{type(error).__name__}: {error}") from error
