"""The forward server: Fluent Bit, Fluentd and fluent-logger -> topic `logs`.

An ack (option `chunk`) is sent only when Kafka acked every record of the chunk, or its dead letter. A chunk that is
sent again gives records with the same keys, so a sender that names chunks gets each record once in the index; one that
does not gets at-least-once. A chunk all of whose records are beyond a hard quota is not acked, and its connection
closed when the others of it are. While Kafka is away nothing is acked and nothing more is read.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import structlog

from streams.disk import DiskWatch
from streams.process.held import Documents
from streams.quotas import Limits
from streams.settings import Forward
from streams.sources.durable import BulkDurable
from streams.sources.forward_connection import Connection
from streams.sources.forward_delivery import Shared
from streams.sources.forward_settings import address, cannot_listen, check, tls

log = structlog.get_logger(__name__)

SOURCE = "forward"
CLOSE_S = 2.0
BACKLOG = 256
STREAM_BUFFER_BYTES = 1
"""Of a connection nobody reads from nothing is taken off the network but what comes at once with the last read."""


class ForwardServer:
    """Listens from `start` to `close`; beside others on the same port where `settings.processes` are more than one.
    `cluster()` names the cluster of records that do not; `clock()` is in ms."""

    def __init__(
        self,
        settings: Forward,
        durable: BulkDurable,
        cluster: Callable[[], str],
        clock: Callable[[], int],
        nonce: Callable[[], bytes] = lambda: os.urandom(32),
        documents: Documents | None = None,
        disk: DiskWatch | None = None,
        limits: Limits | None = None,
    ) -> None:
        check(settings)
        self._settings = settings
        self._shared = Shared(settings, durable, cluster, clock, documents, disk, limits)
        self._durable = durable
        self._nonce = nonce
        self._hostname = socket.gethostname()
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}

    @property
    def port(self) -> int:
        """The one it listens on: the setting's, or the one the system chose for 0."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server else self._settings.port

    @property
    def address(self) -> str:
        return address(self._settings.host, self.port)

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.is_serving()

    async def start(self) -> None:
        """Raises WrongSettings when the address is taken or the certificate cannot be used."""
        settings = self._settings
        try:
            self._server = await asyncio.start_server(
                self._serve,
                settings.host,
                settings.port,
                ssl=tls(settings),
                backlog=BACKLOG,
                limit=STREAM_BUFFER_BYTES,
                reuse_port=settings.processes > 1,
            )
        except OSError as error:
            raise cannot_listen(settings, error) from None

    async def close(self) -> None:
        """Stop reading, deliver and ack what was read (at most 2 s), close the connections."""
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.stop_reading()
        tasks = set(self._connections.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self._shared, reader, writer)
        if len(self._connections) >= self._settings.max_connections:
            self._durable.refused("too_many_connections", peer=connection.peer)
            writer.transport.abort()
            return
        if task := asyncio.current_task():
            self._connections[connection] = task
        _keep_alive(writer)
        try:
            await connection.serve(self._nonce(), self._hostname)
        except asyncio.CancelledError:
            connection.abandon()
        finally:
            self._connections.pop(connection, None)
            writer.close()


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the kernel find peers that are gone: within about three minutes."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 6)):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
