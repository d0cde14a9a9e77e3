"""The forward server: Fluent Bit, Fluentd and fluent-logger -> topic `logs`.

An ack (option `chunk`) is sent only when Kafka acked every record of the chunk, or its dead letter. A chunk that is
sent again gives records with the same keys, so a sender that names chunks gets each record once in the index; one that
does not gets at-least-once. While Kafka is away nothing is acked and nothing more is read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable

import structlog

from streams.disk import DiskWatch
from streams.process.held import Documents
from streams.settings import Forward, WrongSettings
from streams.sources.durable import BulkDurable
from streams.sources.forward_connection import Connection, Shared

log = structlog.get_logger(__name__)

SOURCE = "forward"
CLOSE_S = 2.0
BACKLOG = 256
STREAM_BUFFER_BYTES = 256 << 10


class ForwardServer:
    """Listens from `start` to `close`. `cluster()` names the cluster of records that do not; `clock()` is in ms."""

    def __init__(
        self,
        settings: Forward,
        durable: BulkDurable,
        cluster: Callable[[], str],
        clock: Callable[[], int],
        nonce: Callable[[], bytes] = lambda: os.urandom(32),
        documents: Documents | None = None,
        disk: DiskWatch | None = None,
    ) -> None:
        check(settings)
        self._settings = settings
        self._shared = Shared(settings, durable, cluster, clock, documents, disk)
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
        host = self._settings.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

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
            )
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise WrongSettings(
                f"EVENTSPHERE_FORWARD__PORT (forward.port): cannot listen on {where}: {error.strerror or error}"
            ) from None

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


def check(settings: Forward) -> None:
    """Raises WrongSettings when anyone on the network could write, or TLS is half set up."""
    if settings.client_ca_file and not settings.certificate_file:
        raise WrongSettings(
            "EVENTSPHERE_FORWARD__CLIENT_CA_FILE (forward.client_ca_file): needs certificate_file and key_file too"
        )
    if settings.key_file and not settings.certificate_file:
        raise WrongSettings("EVENTSPHERE_FORWARD__KEY_FILE (forward.key_file): needs certificate_file too")
    if settings.username and not settings.shared_key.get_secret_value():
        raise WrongSettings(
            "EVENTSPHERE_FORWARD__USERNAME (forward.username): the protocol knows users beside a shared key only: set "
            "EVENTSPHERE_FORWARD__SHARED_KEY too"
        )
    protected = settings.shared_key.get_secret_value() or settings.client_ca_file
    if not protected and not loopback(settings.host):
        raise WrongSettings(
            f"EVENTSPHERE_FORWARD__HOST (forward.host): {settings.host} is reachable from the network: set "
            "EVENTSPHERE_FORWARD__SHARED_KEY or EVENTSPHERE_FORWARD__CLIENT_CA_FILE, or listen on 127.0.0.1"
        )


def loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls(settings: Forward) -> ssl.SSLContext | None:
    """Raises WrongSettings when a file cannot be used."""
    if not settings.certificate_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate_file, settings.key_file or None)
        if settings.client_ca_file:
            context.load_verify_locations(settings.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise WrongSettings(f"EVENTSPHERE_FORWARD__CERTIFICATE_FILE (forward.certificate_file): {error}") from None
    return context


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the kernel find peers that are gone: within about three minutes."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 6)):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
