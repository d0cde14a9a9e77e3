"""A forward sender that asks for acks and sends a chunk again, under the same chunk id, until it has one.

Protocol: Fluentd forward protocol specification v1, PackedForward mode with options `chunk` and `size`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

ACK_S = 10.0
AGAIN_S = 0.3
_EXT_TIME = 0


class NotAcknowledged(Exception):
    """Nobody acknowledged the chunk in time."""


class ForwardSender:
    """One connection at a time, opened when needed. `send` returns when the chunk was acknowledged."""

    def __init__(self, address: str, tag: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self._tag = tag
        self._clock = clock
        self._socket: socket.socket | None = None
        self.resent = 0
        """Chunks sent more than once."""

    def send(self, chunk: str, entries: Sequence[tuple[int, dict[str, Any]]], *, within_s: float = 120.0) -> None:
        """`entries` are (time in ms, record). Raises NotAcknowledged after `within_s`."""
        frame = packed(self._tag, chunk, entries)
        deadline = self._clock() + within_s
        while True:
            try:
                self._exchange(frame, chunk)
                return
            except OSError as error:
                self.close()
                self.resent += 1
                if self._clock() > deadline:
                    raise NotAcknowledged(f"chunk {chunk} was not acknowledged within {within_s:.0f} s") from error
                time.sleep(AGAIN_S)

    def _exchange(self, frame: bytes, chunk: str) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=ACK_S)
        self._socket.sendall(frame)
        answer = b""
        while True:
            part = self._socket.recv(4096)
            if not part:
                raise ConnectionError("closed before the ack")
            answer += part
            try:
                if msgspec.msgpack.decode(answer) == {"ack": chunk}:
                    return
            except msgspec.DecodeError:
                continue
            raise ConnectionError("another answer than the ack")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def packed(tag: str, chunk: str, entries: Sequence[tuple[int, dict[str, Any]]]) -> bytes:
    """A PackedForward frame: [tag, concatenated [EventTime, record], {chunk, size}]."""
    encode = msgspec.msgpack.encode
    body = b"".join(encode([_event_time(at_ms), record]) for at_ms, record in entries)
    return encode([tag, body, {"chunk": chunk, "size": len(entries)}])


def _event_time(at_ms: int) -> msgspec.msgpack.Ext:
    seconds, rest = divmod(at_ms, 1000)
    return msgspec.msgpack.Ext(_EXT_TIME, seconds.to_bytes(4, "big") + (rest * 1_000_000).to_bytes(4, "big"))
