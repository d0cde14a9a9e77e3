"""A live tail that is cut anywhere, in the middle of an event too, while records flow: each is seen exactly once."""

from __future__ import annotations

import random
import socket
import threading
from urllib.parse import urlencode

import orjson
import pytest

from tests.gateway.serving import Served, eventually

RECORDS, EACH, CUTS = 1500, 50, 12
"""Records; how many are produced at once; how often the tail is cut at least."""


class Browser:
    """An EventSource as the standard has it: an event counts when its empty line came, and so does its id. `cut` ends
    the connection wherever it stands."""

    def __init__(self, served: Served, query: str) -> None:
        self._served, self._query = served, query
        self.last_id = ""
        self.found: list[int] = []
        self.gaps = 0

    def read(self, nbytes: int) -> None:
        """About so many bytes of a new connection, or all that comes within a moment."""
        port = self._served.settings.gateway.port
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(self._request(port))
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(4096)
            head, data = data.split(b"\r\n\r\n", 1)
            assert head.startswith(b"HTTP/1.1 200"), head
            connection.settimeout(2)
            while len(data) < nbytes:
                try:
                    more = connection.recv(min(8192, nbytes - len(data)))
                except TimeoutError:
                    break
                assert more, "it ended by itself"
                data += more
        self._take(_unchunked(data))

    def _request(self, port: int) -> bytes:
        headers = self._served.admin | ({"Last-Event-ID": self.last_id} if self.last_id else {})
        lines = [f"GET /api/v1/streams/logs?{self._query} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
        return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()

    def _take(self, text: bytes) -> None:
        for block in text.split(b"\n\n")[:-1]:  # what follows the last empty line never became an event
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line and line[:1] != b":")
            self.last_id = fields.get(b"id", self.last_id.encode()).decode()
            if fields.get(b"event") == b"gap":
                self.gaps += 1
            elif b"data" in fields:
                self.found.append(orjson.loads(fields[b"data"])["record"]["n"])


def _unchunked(data: bytes) -> bytes:
    """The body of chunked transfer as far as it came."""
    out = b""
    while b"\r\n" in data:
        size, data = data.split(b"\r\n", 1)
        length = int(size, 16)
        out += data[:length]
        data = data[length + 2 :]
    return out


@pytest.mark.timeout(300)
def test_a_tail_that_is_cut_anywhere_has_each_record_once(served: Served) -> None:
    chance = random.Random(20261124)
    browser = Browser(served, urlencode({"q": "payment", "namespace": "resumed"}))
    while not browser.last_id:  # it stands: from here on nothing is to be missed
        browser.read(4096)

    def produce() -> None:
        for first in range(0, RECORDS, EACH):
            served.produce("logs", *(_record(n) for n in range(first, first + EACH)))

    producing = threading.Thread(target=produce)
    producing.start()
    wanted = [n for n in range(RECORDS) if n % 3]
    cuts = 0

    def complete() -> bool:
        nonlocal cuts
        cuts += 1
        browser.read(chance.randrange(200, 40_000))
        return cuts >= CUTS and len(browser.found) >= len(wanted)

    eventually(complete, 100)
    producing.join()
    assert sorted(browser.found) == wanted
    assert browser.gaps == 0


def _record(n: int) -> dict[str, object]:
    line = f"{'payment' if n % 3 else 'refund'} {n} was taken"
    return {"n": n, "log": line, "kubernetes": {"namespace_name": "resumed", "pod_name": f"p{n % 7}"}}
