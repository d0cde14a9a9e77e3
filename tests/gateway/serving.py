"""The gateway as a part of tests: the real server on a port of its own, over a real broker and the embedded index."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from gateway.database import bootstrap
from gateway.main import server
from streams.batch import as_record, batch_of
from streams.kafka import client
from streams.record import Outgoing, Record
from streams.settings import Cluster, Gateway, Kafka, Mailbox, Settings
from streams.sinks.index.port import Kind, open_index
from tests.parts.process import free_port

READY_S = 90.0


class Served:
    def __init__(self, kafka: Kafka, data_dir: Path, sections: Mapping[str, Any], **gateway: Any) -> None:
        self.kafka = kafka
        self.settings = Settings(
            kafka=kafka,
            data_dir=str(data_dir),
            cluster=Cluster(name="test"),
            gateway=Gateway(port=free_port(), **gateway),
            self_logging=False,
            **{"mailbox": Mailbox(port=free_port()), **sections},
        )
        self.url = f"http://127.0.0.1:{self.settings.gateway.port}"
        self.password = ""
        self.http = httpx.Client(base_url=self.url, timeout=60)
        self._session = ""

    @property
    def admin(self) -> dict[str, str]:
        """Headers of the admin's session."""
        if not self._session:
            answer = self.http.post("/api/v1/login", json={"username": "admin", "password": self.password})
            assert answer.status_code == 200, answer.text
            self._session = answer.json()["access_token"]
        return {"Authorization": f"Bearer {self._session}"}

    def token(self, *scopes: str, **more: Any) -> dict[str, str]:
        """Headers of a machine that holds `scopes`."""
        answer = self.http.post("/api/v1/tokens", json={"scopes": list(scopes), **more}, headers=self.admin)
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    def get(self, path: str, **params: Any) -> Any:
        answer = self.http.get(path, params=params, headers=self.admin)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def produce(self, topic: str, *values: Any, key: bytes | None = None, timestamp: int = 0) -> None:
        producer = Producer(client(self.kafka))
        for value in values:
            data = value if isinstance(value, bytes) else orjson.dumps(value)
            producer.produce(topic, data, key=key, timestamp=timestamp)
        assert producer.flush(60) == 0

    def send(self, *records: Outgoing) -> None:
        """Produce records as they are, headers and all."""
        producer = Producer(client(self.kafka))
        for record in records:
            headers: Any = record.headers or []
            producer.produce(record.topic, record.value, key=record.key, headers=headers)
        assert producer.flush(60) == 0

    def records(self, topic: str) -> list[Record]:
        """Everything the topic holds."""
        consumer = Consumer(client(self.kafka) | {"group.id": "tests", "auto.offset.reset": "earliest"})
        out: list[Record] = []
        try:
            spans = {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)
                for number in consumer.list_topics(topic, timeout=30).topics[topic].partitions
            }
            consumer.assign([TopicPartition(topic, number, low) for number, (low, _) in spans.items()])
            unread = {number for number, (low, high) in spans.items() if low < high}
            deadline = time.monotonic() + 60
            while unread and time.monotonic() < deadline:
                message: Any = consumer.poll(1)
                if message is not None and message.error() is None:
                    record = as_record(topic, message.partition(), message)
                    out.append(record)
                    if record.offset + 1 >= spans[record.partition][1]:
                        unread.discard(record.partition)
        finally:
            consumer.close()
        return sorted(out, key=lambda record: (record.partition, record.offset))

    def index(self, kind: Kind, topic: str) -> None:
        """Index everything the topic holds, as a worker would."""
        found = self.records(topic)

        async def write() -> None:
            index = open_index(self.settings, writer=True)
            await index.open()
            try:
                for number in {record.partition for record in found}:
                    await index.write(kind, batch_of([record for record in found if record.partition == number]))
            finally:
                await index.close()

        asyncio.run(write())

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def serving(
    kafka: Kafka, data_dir: Path, sections: Mapping[str, Any] | None = None, **gateway: Any
) -> Iterator[Served]:
    """`sections` of the settings, and values of its section `gateway`."""
    served = Served(kafka, data_dir, sections or {}, **gateway)
    served.password = bootstrap(served.settings)
    running = server(served.settings)
    thread = threading.Thread(target=running.run, name="gateway")
    thread.start()
    try:
        eventually(served.is_ready, READY_S)
        yield served
    finally:
        served.http.close()
        running.end_streams()
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def eventually(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true in time")
        time.sleep(0.05)
    return value


def events_of(lines: Iterator[str], count: int) -> Sequence[dict[str, Any]]:
    """The next `count` server-sent events that have data: `{id, event, data}`."""
    out: list[dict[str, Any]] = []
    current: dict[str, Any] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            current |= {name: orjson.loads(value) if name == "data" else value} if name else {}
        else:
            if "data" in current:
                out.append(current)
            if len(out) == count:
                return out
            current = {"id": current["id"]} if "id" in current else {}
    raise AssertionError(f"the stream ended after {len(out)} of {count} events")
