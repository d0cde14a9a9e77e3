"""Nothing acknowledged is lost and nothing doubles while worker, sources and broker are killed."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from fluent.sender import FluentSender

from deploy.demo.forward import ForwardSender
from deploy.local.broker import Broker
from streams import topics
from streams.kafka import client
from streams.producer import Producer
from streams.record import Outgoing
from streams.settings import Kafka
from tests.parts.local import Local, local, until

KILLS = (
    "worker",
    "sources",
    "worker",
    "sources",
    "broker",
    "worker",
    "sources",
    "worker",
    "sources",
    "worker",
    "sources",
)
CHUNK = 500


def _record(run: str, number: int) -> dict[str, Any]:
    return {"log": f"number {number}", "number": number, "kubernetes": {"namespace_name": run, "pod_name": "sender"}}


def _killer(platform: Local, over: threading.Event, killed: list[str], every_s: float) -> None:
    for name in KILLS:
        if over.wait(every_s):
            return
        platform.kill(name)
        killed.append(name)


def _send_under_fire(platform: Local, run: str, count: int, every_s: float) -> list[str]:
    """Send `count` numbered records with acks while `KILLS` happen; returns who was killed."""
    over, killed = threading.Event(), list[str]()
    killer = threading.Thread(target=_killer, args=(platform, over, killed, every_s), daemon=True)
    sender = ForwardSender(platform.forward, "chaos")
    killer.start()
    chunks = range(0, count, CHUNK)
    pause = every_s * (len(KILLS) + 1) / len(chunks)
    for start in chunks:
        at = time.time_ns() // 1_000_000
        sender.send(f"{run}-{start}", [(at, _record(run, n)) for n in range(start, min(start + CHUNK, count))])
        time.sleep(pause)
    killer.join(every_s * len(KILLS))
    over.set()
    return killed


def _numbers(platform: Local, run: str) -> list[int]:
    """Every indexed number of `run`, page by page."""
    out, cursor = list[int](), ""
    while True:
        page = until(partial(platform.get, "/api/v1/logs", namespace=run, limit=1000, cursor=cursor))
        out += [int(item["record"]["number"]) for item in page["items"]]
        cursor = page["next"]
        if not cursor:
            return out


def _arrives_exactly_once(platform: Local, run: str, count: int) -> None:
    until(lambda: platform.count_logs(namespace=run), lambda total: total >= count, within_s=180)
    numbers = _numbers(platform, run)
    assert len(numbers) == count
    assert sorted(numbers) == list(range(count))


@pytest.fixture(scope="module")
def tantivy() -> Iterator[Local]:
    with local(SELF_LOGGING="false") as part:
        yield part


@pytest.fixture
def on_elasticsearch(elasticsearch: str) -> Iterator[Local]:
    with local(SELF_LOGGING="false", INDEX__URL=elasticsearch, INDEX__PREFIX="chaos") as part:
        yield part


@pytest.mark.timeout(600)
def test_acknowledged_records_are_indexed_exactly_once_while_processes_are_killed(tantivy: Local) -> None:
    killed = _send_under_fire(tantivy, "short-fire", 20_000, every_s=2.0)
    assert len(killed) >= 5
    _arrives_exactly_once(tantivy, "short-fire", 20_000)


@pytest.mark.long
def test_a_hundred_thousand_under_fire_into_tantivy(tantivy: Local) -> None:
    assert _send_under_fire(tantivy, "long-fire", 100_000, every_s=5.0) == list(KILLS)
    _arrives_exactly_once(tantivy, "long-fire", 100_000)


@pytest.mark.long
def test_a_hundred_thousand_under_fire_into_elasticsearch(on_elasticsearch: Local) -> None:
    assert _send_under_fire(on_elasticsearch, "long-fire", 100_000, every_s=5.0) == list(KILLS)
    _arrives_exactly_once(on_elasticsearch, "long-fire", 100_000)


@pytest.mark.timeout(600)
def test_a_topic_deleted_and_recreated_loses_nothing(on_elasticsearch: Local) -> None:
    """Records without a key: their ids hold the topic's id, so the new topic's offsets collide with nothing.

    What is read before the recreation is noticed (2 s) may be stored under either id, so a few may be there twice.
    """
    kafka = _kafka(on_elasticsearch)
    _produce(kafka, "recreated", range(1000))
    until(lambda: on_elasticsearch.count_logs(namespace="recreated"), lambda total: total == 1000)
    admin = AdminClient(client(kafka))
    admin.delete_topics(["logs"])["logs"].result()
    until(lambda: topics.apply(kafka), lambda created: "logs" in created)
    _produce(kafka, "recreated", range(1000, 2000))
    until(lambda: len(set(_numbers(on_elasticsearch, "recreated"))), lambda found: found == 2000, within_s=180)


def _kafka(platform: Local) -> Kafka:
    return Broker(platform.data_dir / "broker", platform.base + 2, platform.base + 3).kafka


def _produce(kafka: Kafka, run: str, numbers: range) -> None:
    async def send() -> None:
        producer = Producer(kafka, "test")
        await producer.start()
        try:
            at = time.time_ns() // 1_000_000
            records = [json.dumps(_record(run, number)).encode() for number in numbers]
            await producer.send([Outgoing("logs", record, timestamp_ms=at) for record in records])
        finally:
            await producer.close()

    asyncio.run(send())


@pytest.mark.long
def test_a_stock_fluent_logger_delivers_a_hundred_thousand(tantivy: Local) -> None:
    host, _, port = tantivy.forward.rpartition(":")
    sender = FluentSender("stock", host=host, port=int(port), bufmax=64 << 20)
    for number in range(100_000):
        assert sender.emit(None, _record("stock", number)) or sender.last_error is None
    sender.close()
    _arrives_exactly_once(tantivy, "stock", 100_000)


@pytest.mark.long
def test_the_chaos_demo_adds_up(tantivy: Local) -> None:
    out = tantivy.run("demo", "--chaos", "--data-dir", str(tantivy.data_dir), timeout_s=600)
    last = out.splitlines()[-1]
    assert re.fullmatch(r"sent (\d+) = indexed \1, mails 1\+1", last), out
