"""Fluent Bit 5.x where there is one: its outputs forward, http and kafka, and a capture of what they send.

Debian has no package. The program is looked for in `EVENTSPHERE_FLUENT_BIT`, on the PATH and in the cache, where
`make fluent-bit SOURCE=checkout` puts it (fluentbit_build.py). `python -m tests.parts.fluentbit` writes the captures in
tests/fixtures/fluent-bit anew.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgpack

from streams import topics
from streams.settings import Kafka
from tests.parts.broker import broker
from tests.parts.cache import cache_dir
from tests.parts.process import Missing, Process, folder
from tests.parts.running import following

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fluent-bit"
TAG = "kube.shop"
NAMESPACE = "from-out-xxxx"
"""In every captured record; a test puts another of the same length there."""
PARSERS = """
[PARSER]
    Name        line
    Format      json
    Time_Key    time
    Time_Format %Y-%m-%dT%H:%M:%S.%LZ
"""
INPUT = """
[SERVICE]
    Flush        0.5
    Grace        2
    Log_Level    warn
    Parsers_File {base}/parsers.conf
[INPUT]
    Name           tail
    Path           {lines}
    Read_from_Head On
    Parser         line
    Tag            {tag}
"""
FORWARD = """
[OUTPUT]
    Name                 forward
    Match                *
    Host                 127.0.0.1
    Port                 {port}
    Require_ack_response True
    Retry_Limit          no_limits
"""
HTTP = """
[OUTPUT]
    Name             http
    Match            *
    Host             127.0.0.1
    Port             {port}
    URI              /ingest/logs
    Format           json_lines
    Json_date_key    @timestamp
    Json_date_format iso8601
    Header           Authorization Bearer {token}
    Retry_Limit      no_limits
"""
KAFKA = """
[OUTPUT]
    Name             kafka
    Match            *
    Brokers          {kafka.bootstrap_servers}
    Topics           logs
    Format           json
    Timestamp_Key    @timestamp
    Timestamp_Format iso8601
    rdkafka.security.protocol {kafka.security_protocol}
    rdkafka.sasl.mechanism    {kafka.sasl_mechanism}
    rdkafka.sasl.username     {kafka.username}
    rdkafka.sasl.password     {password}
"""


def program() -> Path:
    """Raises Missing."""
    given = os.environ.get("EVENTSPHERE_FLUENT_BIT") or shutil.which("fluent-bit")
    found = Path(given) if given else cache_dir() / "fluent-bit" / "bin" / "fluent-bit"
    if not os.access(found, os.X_OK):
        raise Missing(f"there is no Fluent Bit at {found}: `make fluent-bit SOURCE=checkout` builds one")
    return found


@contextmanager
def fluent_bit(lines: Path, output: str, tag: str = TAG) -> Iterator[Process]:
    """Fluent Bit tailing `lines`: JSON with its `time`. Raises Missing."""
    binary = program()
    with folder("fluent-bit") as base:
        (base / "parsers.conf").write_text(PARSERS, "ascii")
        config = base / "fluent-bit.conf"
        config.write_text(INPUT.format(base=base, lines=lines, tag=tag) + output, "utf-8")
        process = Process("fluent-bit", [binary, "-c", config], base / "log")
        process.start()
        try:
            yield process
        finally:
            process.stop()


def to_kafka(kafka: Kafka) -> str:
    return KAFKA.format(kafka=kafka, password=kafka.password.get_secret_value())


def sample(namespace: str, count: int = 20) -> list[dict[str, Any]]:
    """Container logs as its Kubernetes filter leaves them, with what is hard in text and fields."""
    texts = ['payment failed: "refused" \\ {}', "tab\tand \u00fc\u4e16\U0001f600", "", "x" * 3000, "level=warn n=1.50"]
    return [
        {
            "time": f"2026-11-24T10:00:{n // 10:02d}.{n * 37 % 1000:03d}Z",
            "log": f"{texts[n % len(texts)]} #{n}",
            "stream": ("stdout", "stderr")[n % 2],
            "cluster": "prod",
            "size": n * 1000,
            "ratio": n + 0.25,
            "ok": n % 2 == 0,
            "nothing": None,
            "list": [1, "two", {"three": 3}],
            "kubernetes": {
                "namespace_name": namespace,
                "pod_name": f"pay-7d9c8f6b5-x{n}kp",
                "container_name": "pay",
                "labels": {"app": "pay", "app.kubernetes.io/name": "pay"},
            },
        }
        for n in range(count)
    ]


def write(records: list[dict[str, Any]], file: Path) -> None:
    file.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")


def capture(into: Path) -> None:
    """What the three outputs send of the same lines: forward.msgpack, http.ndjson, kafka.ndjson."""
    into.mkdir(parents=True, exist_ok=True)
    count = len(sample(NAMESPACE))
    lines = into / "lines.ndjson"
    write(sample(NAMESPACE), lines)
    forward, http = _Forward(), _http()
    with broker() as part, following_logs(part.kafka) as values:
        outputs = FORWARD.format(port=forward.port) + HTTP.format(port=http.server_port, token="none")
        with fluent_bit(lines, outputs + to_kafka(part.kafka)) as process:
            deadline = time.monotonic() + 60
            while not (forward.seen >= count and http.bodies and len(values()) >= count):
                if time.monotonic() > deadline or process.ended:
                    raise RuntimeError(f"not all came:\n{process.tail(30)}")
                time.sleep(0.2)
        (into / "kafka.ndjson").write_bytes(b"".join(value + b"\n" for value in values()))
    (into / "forward.msgpack").write_bytes(bytes(forward.data))
    (into / "http.ndjson").write_bytes(b"".join(http.bodies))
    http.shutdown()


@contextmanager
def following_logs(kafka: Kafka) -> Iterator[Any]:
    topics.apply(kafka)
    with following(kafka, "logs") as read:
        yield lambda: [value for _, value in read() if value is not None]


class _Forward:
    """Takes frames on one connection, acks their chunks, keeps the bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.seen = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            unpacker = msgpack.Unpacker(raw=True)
            with connection:
                while data := connection.recv(65536):
                    self.data += data
                    unpacker.feed(data)
                    for frame in unpacker:
                        self.seen += frame[2][b"size"]
                        connection.sendall(msgpack.packb({"ack": frame[2][b"chunk"].decode()}))


class _Server(HTTPServer):
    bodies: list[bytes]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


def _http() -> _Server:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.bodies = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    capture(FIXTURES)
