"""A forward sender that names chunks and waits for acks, as Fluent Bit does with `Require_ack_response`."""

from __future__ import annotations

import gzip
import hashlib
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import zstandard


def event_time(seconds: int, ns: int = 0) -> msgpack.ExtType:
    return msgpack.ExtType(0, struct.pack(">II", seconds, ns))


def packed(entries: Sequence[Any]) -> bytes:
    return b"".join(msgpack.packb(entry) for entry in entries)


def frame(mode: str, tag: str, entries: Sequence[Any], **option: Any) -> bytes:
    """One frame of `mode`: message, forward, packed, gzip or zstd."""
    body: list[Any]
    if mode == "message":
        body = [tag, *entries[0]]
    elif mode == "forward":
        body = [tag, list(entries)]
    elif mode == "packed":
        body = [tag, packed(entries)]
    else:
        pack = gzip.compress if mode == "gzip" else zstandard.ZstdCompressor().compress
        body = [tag, pack(packed(entries))]
        option["compressed"] = mode
    return bytes(msgpack.packb([*body, option] if option else body))


class Refused(Exception):
    """The server said no; the text is its reason."""


class Sender:
    """Blocking; `shared_key` makes it answer the HELO."""

    def __init__(
        self,
        port: int,
        *,
        shared_key: str = "",
        user: tuple[str, str] = ("", ""),
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 60,
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._unpacker = msgpack.Unpacker()
        if shared_key:
            self._handshake(shared_key.encode(), *(each.encode() for each in user))

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> Any:
        """The next message of the server. Raises EOFError when it closed the connection."""
        while True:
            for message in self._unpacker:
                return message
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._unpacker.feed(data)

    def acked(self, chunk: str, data: bytes) -> None:
        """Send a chunk and wait for its ack."""
        self.send(data)
        answer = self.receive()
        assert answer == {"ack": chunk}, answer

    def closed(self) -> bool:
        """Wait for the server to close the connection."""
        try:
            return not self.socket.recv(65536)
        except ConnectionError:
            return True

    def _handshake(self, key: bytes, name: bytes, password: bytes) -> None:
        kind, options = self.receive()
        assert kind == "HELO"
        salt, host, nonce = b"\xff\x00salt-of-16-byte", b"sender", options["nonce"]
        proof = hashlib.sha512(salt + host + nonce + key).hexdigest()
        asked = options["auth"]
        user_proof = hashlib.sha512(asked + name + password).hexdigest() if asked else ""
        self.send(_ping(host, salt, proof, name if asked else b"", user_proof))
        kind, known, reason, server, theirs = self.receive()
        assert kind == "PONG"
        if not known:
            raise Refused(reason)
        assert theirs == hashlib.sha512(salt + server.encode() + nonce + key).hexdigest()


def _ping(host: bytes, salt: bytes, proof: str, user: bytes, user_proof: str) -> bytes:
    """As Fluent Bit packs it: the salt's random bytes as a string."""
    fields = (b"PING", host, salt, proof.encode(), user, user_proof.encode())
    return b"\x96" + b"".join(bytes(msgpack.Packer(use_bin_type=False).pack(field)) for field in fields)
