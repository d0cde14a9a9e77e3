"""The senders of the ingest bench, in a process of their own: what they send is made before the clock runs.

`python -m tests.bench.ingest_sender forward|http ADDRESS RECORDS CONNECTIONS [TOKEN]` says `ready`, waits for a line,
sends, and says `done` when every record is acknowledged.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from itertools import count, islice

import msgpack
import orjson

from tests.bench.records import records
from tests.sources.client import event_time

A_CHUNK = 1000
"""Records of one chunk, or of one request."""
DIFFERENT = 20
"""Chunks that are really made; each is sent again and again under new ids."""


def chunks() -> list[bytes]:
    """Entries of the forward protocol: the records without their time, which stands beside them."""
    out, found = [], records(A_CHUNK * DIFFERENT)
    for _ in range(DIFFERENT):
        entries = []
        for _, value, time_ms in islice(found, A_CHUNK):
            record = orjson.loads(value)
            del record["@timestamp"], record["cluster"]
            entries.append(msgpack.packb([event_time(time_ms // 1000, time_ms % 1000 * 1_000_000 + 1), record]))
        out.append(b"".join(entries))
    return out


def bodies() -> list[bytes]:
    found = records(A_CHUNK * DIFFERENT)
    return [b"\n".join(value for _, value, _ in islice(found, A_CHUNK)) for _ in range(DIFFERENT)]


def forward(address: str, numbers: Iterator[int], made: list[bytes]) -> None:
    host, _, port = address.rpartition(":")
    unpacker = msgpack.Unpacker()
    with socket.create_connection((host, int(port)), 120) as connection:
        for number in numbers:
            chunk = f"{number:032x}"
            option = {"chunk": chunk, "size": A_CHUNK, "fluent_signal": 0}
            connection.sendall(msgpack.packb(["kube.var.log.pod", made[number % DIFFERENT], option]))
            answer = None
            while answer is None:
                unpacker.feed(connection.recv(65536))
                answer = next(unpacker, None)
            assert answer == {"ack": chunk}, answer


def http(address: str, numbers: Iterator[int], made: list[bytes], token: str) -> None:
    host, _, port = address.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=120)
    headers = {"content-type": "application/x-ndjson", "authorization": f"Bearer {token}"}
    for number in numbers:
        connection.request("POST", "/ingest/logs", made[number % DIFFERENT], headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 202, body


def main(kind: str, address: str, total: str, connections: str, token: str = "") -> None:
    made = chunks() if kind == "forward" else bodies()
    share = int(total) // A_CHUNK // int(connections)
    ids = count()
    numbers = [iter(list(islice(ids, share))) for _ in range(int(connections))]

    work: Callable[[Iterator[int]], None] = (
        (lambda n: forward(address, n, made)) if kind == "forward" else (lambda n: http(address, n, made, token))
    )
    print("ready", sum(map(len, made)) // (A_CHUNK * DIFFERENT), flush=True)
    sys.stdin.readline()
    threads = [threading.Thread(target=work, args=(each,)) for each in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
