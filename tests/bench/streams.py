"""`python -m tests.bench.streams`: what a core of the gateway publishes over HTTP, and delivers as event streams.

The gateway runs as a process of its own on a broker of its own; its CPU time is what is counted, its clients' is not.
Targets: 20 000 events/s published in batches, 100 000 events/s delivered, a core.
"""

from __future__ import annotations

import argparse
import http.client
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import orjson
import psutil

from schemas.catalogue import declared
from streams import topics
from streams.settings import Gateway, Kafka, Settings, environment
from tests.parts.broker import broker
from tests.parts.local import COMMAND, ROOT
from tests.parts.process import Process, answers, folder, free_port, running

PUBLISHED, DELIVERED = 20_000, 100_000
BATCH = 1000
TOPICS = ("logs", "cicd.events", "alerts")
PROBE_S = 2.0
MARK = b"\ndata: {"


@contextmanager
def gateway(kafka: Kafka) -> Iterator[tuple[str, str, psutil.Process]]:
    """(its URL, a token for everything, its process)."""
    with folder("bench") as base:
        limits = Gateway(port=free_port(), requests_per_s=1e6, burst=1_000_000, max_streams=10_000)
        settings = Settings(kafka=kafka, data_dir=str(base), gateway=limits, self_logging=False)
        env = environment(settings)
        part = Process("gateway", [*COMMAND, "gateway"], base / "gateway.log", env=env, cwd=ROOT)
        url = f"http://127.0.0.1:{limits.port}"
        with running(part, answers(f"{url}/readyz"), 180):
            command = [*COMMAND, "token", "create", "--name", "bench", "--scope", "*"]
            out = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | env, cwd=ROOT)
            yield url, next(word for word in out.stdout.split() if word.startswith("est_")), psutil.Process(part.pid)


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def publish(url: str, token: str, process: psutil.Process, topic: str, events: int) -> float:
    """Events a CPU-second of the gateway."""
    data = orjson.loads(declared()[topic].example)
    data.pop("fingerprint", None)
    batch = [{"specversion": "1.0", "id": str(n), "source": "/b", "type": "t", "data": data} for n in range(BATCH)]
    body = orjson.dumps(batch)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents-batch+json"}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def send(count: int) -> None:
        for _ in range(count):
            connection.request("POST", f"/api/v1/topics/{topic}/events", body, headers)
            reply = connection.getresponse()
            assert reply.status == 202, reply.read()
            reply.read()

    send(3)
    before = cpu_s(process)
    send(events // BATCH)
    return events / (cpu_s(process) - before)


class Reader:
    """One event stream, read as fast as it comes; `events` counts."""

    def __init__(self, url: str, token: str, topic: str) -> None:
        self.events = 0
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
        self._connection.request("GET", f"/api/v1/streams/{topic}", headers={"Authorization": f"Bearer {token}"})
        self._reply = self._connection.getresponse()
        assert self._reply.status == 200, self._reply.read()
        while b"id: " not in self._reply.readline():
            pass
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        with suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while piece := self._reply.read1(1 << 16):
                whole = rest + piece
                self.events += whole.count(MARK)
                rest = whole[-(len(MARK) - 1) :]  # a mark may be cut in two

    def close(self) -> None:
        self._connection.close()


def deliver(
    url: str, token: str, process: psutil.Process, kafka: Kafka, readers: int, events: int
) -> tuple[float, float]:
    """(events delivered a CPU-second of the gateway, its MiB with all readers connected)."""
    from confluent_kafka import Producer

    from streams.kafka import client

    open_ = [Reader(url, token, "notifications") for _ in range(readers)]
    time.sleep(PROBE_S)
    mib = process.memory_info().rss / 2**20
    example = declared()["notifications"].example.encode()
    producer = Producer(client(kafka) | {"linger.ms": 5})
    before = cpu_s(process)
    for number in range(events):
        producer.produce("notifications", example, key=str(number))
        if number % 1000 == 0:
            producer.poll(0)
    producer.flush(60)
    deadline = time.monotonic() + 180
    while sum(each.events for each in open_) < events * readers and time.monotonic() < deadline:
        time.sleep(0.05)
    spent = cpu_s(process) - before
    delivered = sum(each.events for each in open_)
    for each in open_:
        each.close()
    return delivered / spent, mib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000, help="published to each topic")
    parser.add_argument("--readers", type=int, nargs="*", default=[1, 10, 50], help="event streams at once")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"load average at the start: {load:.1f} on {os.cpu_count()} cores")
    with broker() as part:
        topics.apply(part.kafka)
        with gateway(part.kafka) as (url, token, process):
            for topic in TOPICS:
                found = publish(url, token, process, topic, given.events)
                print(f"publish {topic}: {found:,.0f} events/s a core (target {PUBLISHED:,})")
            for readers in given.readers:
                found, mib = deliver(url, token, process, part.kafka, readers, given.events // max(1, readers // 5))
                print(f"streams, {readers} readers: {found:,.0f} events/s a core (target {DELIVERED:,}), {mib:.0f} MiB")


if __name__ == "__main__":
    main()
