"""A null Elasticsearch: takes bulk requests, counts their items, answers as Elasticsearch would, stores nothing.

`python -m tests.bench.sink PORT`. `GET /count` tells how many items came. Honours `filter_path` as far as bulk
requests of this project use it: of a reply without errors the items' statuses remain.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

_HEAD = (
    b"HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
_FULL = b'{"create":{"_index":"i","_id":"%032d","_version":1,"result":"created","_seq_no":1,"status":201}}'
_SHORT = b'{"create":{"status":201}}'
LIMIT = 1 << 27


class Sink(asyncio.Protocol):
    """One connection. Bodies need a content length (every client here sends one)."""

    count = 0

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._wanted = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        while self._size and self._size >= self._wanted:
            joined = b"".join(self._parts)
            end = joined.find(b"\r\n\r\n")
            if end < 0:
                self._keep(joined, len(joined) + 1)
                return
            head = joined[:end].lower()
            length = _length(head)
            total = end + 4 + length
            if len(joined) < total:
                self._keep(joined, total)
                return
            self._answer(joined[: head.find(b"\r\n")], joined[end + 4 : total])
            self._keep(joined[total:], 0)

    def _keep(self, rest: bytes, wanted: int) -> None:
        self._parts = [rest] if rest else []
        self._size = len(rest)
        self._wanted = wanted

    def _answer(self, line: bytes, body: bytes) -> None:
        assert self._transport is not None
        reply = b'{"acknowledged":true}'
        if b"/count" in line:
            reply = b'{"count":%d}' % Sink.count
        elif b"_bulk" in line:
            items = body.count(b"\n") // 2
            Sink.count += items
            reply = _reply(items, short=b"filter_path" in line)
        head = _HEAD % len(reply)
        self._transport.write(head if line[:4].lower() == b"head" else head + reply)


def _reply(items: int, *, short: bool) -> bytes:
    one = _SHORT if short else _FULL % 0
    took = b"" if short else b'"took":1,'
    return b'{"errors":false,%s"items":[%s]}' % (took, b",".join([one] * items))


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return min(int(line[15:]), LIMIT)
    return 0


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
