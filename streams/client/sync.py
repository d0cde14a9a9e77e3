"""The client that waits: for scripts and threads."""

from __future__ import annotations

import http.client
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from urllib.parse import urlsplit

from streams.client import wire
from streams.client.wire import Events, Gap, Received, Record
from streams.errors import Retryable

OURS = "eventsphere-client"


class Client:
    """`token` needs `topics:<topic>:write` to publish and `topics:<topic>:read` to follow. One thread at a time."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        ca_file: str = "",
        timeout_s: float = 30.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        new_key: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._parts = urlsplit(url)
        self._token = token
        self._tls = ssl.create_default_context(cafile=ca_file or None) if self._parts.scheme == "https" else None
        self._timeout_s = timeout_s
        self._clock = clock
        self._sleep = sleep
        self._new_key = new_key
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def publish(
        self,
        topic: str,
        records: Sequence[Record],
        *,
        source: str = OURS,
        type_: str = "",
        key: str = "",
        within_s: float = 60.0,
    ) -> int:
        """Returns how many Kafka has acknowledged: all. While the bus is away it is tried again for `within_s` (then
        Retryable). Raises Invalid (`indexes` of the first request that was refused; earlier ones are stored), Fatal.

        The same `key` again publishes the same events: of a record with a key of its own the newest of it."""
        key = key or self._new_key()
        for start in range(0, len(records), wire.AT_ONCE):
            part = records[start : start + wire.AT_ONCE]
            self._send(topic, part, f"{key}-{start}", source, type_ or topic, self._clock() + within_s)
        return len(records)

    def _send(self, topic: str, part: Sequence[Record], key: str, source: str, type_: str, until: float) -> None:
        body = wire.batch(part, key=key, source=source, type_=type_, now_ms=int(self._clock() * 1000))
        given = wire.headers(self._token, Content_Type=wire.BATCH, Idempotency_Key=key)
        attempt = 0
        while True:
            try:
                return self._post(wire.events_path(topic), body, given)
            except Retryable:
                if self._clock() + wire.wait_s(attempt) > until:
                    raise
                self._sleep(wire.wait_s(attempt))
                attempt += 1

    def _post(self, path: str, body: bytes, given: dict[str, str]) -> None:
        if self._connection is None:
            self._connection = self._connect(self._timeout_s)
        try:
            self._connection.request("POST", self._parts.path.rstrip("/") + path, body, given)
            reply = self._connection.getresponse()
            told = reply.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Retryable("bus_away", f"{type(error).__name__}: {error}") from error
        if reply.status >= 300:
            raise wire.refusal(reply.status, told)

    def follow(self, topics: str, *, condition: str = "", start: str = "", after: str = "") -> Iterator[Received | Gap]:
        """Records as they come, without end; several topics by commas. `after` is the `point` of the last one seen:
        what came since is not missed. It connects again by itself; what could not be kept for it comes as `Gap`."""
        events, attempt = Events(after), 0
        while True:
            try:
                for each in self._connected(topics, condition, start, events):
                    attempt = 0
                    yield each
            except Retryable:
                attempt += 1
            self._sleep(wire.wait_s(attempt))

    def _connected(self, topics: str, condition: str, start: str, events: Events) -> Iterator[Received | Gap]:
        again = {"Last_Event_ID": events.point} if events.point else {}
        with closing(self._connect(wire.SILENT_S)) as connection:
            try:
                path = self._parts.path.rstrip("/") + wire.stream_path(topics, condition, start)
                connection.request("GET", path, headers=wire.headers(self._token, **again))
                reply = connection.getresponse()
                if reply.status >= 300:
                    raise wire.refusal(reply.status, reply.read())
                while line := reply.readline():
                    if (event := events.line(line)) is not None:
                        yield event
            except (OSError, http.client.HTTPException) as error:
                raise Retryable("bus_away", f"{type(error).__name__}: {error}") from error

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
