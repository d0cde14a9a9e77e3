"""Accounts on a real broker: what is committed is counted, over restarts, flushes and a topic made anew."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from deploy.local import broker as broker_module
from deploy.local.broker import Broker
from gateway.cluster import Looker, Snapshot
from gateway.ledger import Indexed, entry
from gateway.usage import Subject, lines
from schemas.accounts import AccountPage
from streams.accounts import Report, Tally, by_fate, log_places
from streams.batch import Batch
from streams.book import TOPIC, Book
from streams.errors import Invalid
from streams.kafka import client
from streams.settings import Kafka
from streams.sinks.index.port import Kind
from streams.source import BatchSource
from streams.views import View
from tests.batch_source.harness import clock_ms, committed, create, delete, produce, running, unique, until
from tests.parts.process import free_ports

PLACES = 90
"""More lines than a commit's metadata holds: pages are flushed all the time."""


@pytest.fixture(scope="module")
def accounts(kafka: Kafka) -> str:
    try:
        admin = AdminClient(client(kafka))
        new = NewTopic(TOPIC, num_partitions=1, replication_factor=1, config={"cleanup.policy": "compact"})
        admin.create_topics([new])[TOPIC].result()
    except KafkaException:
        pass  # another test made it
    return TOPIC


def value(number: int) -> bytes:
    return b'{"cluster":"c","n":%d,"kubernetes":{"namespace_name":"namespace-%d"}}' % (number, number % PLACES)


def keeping(source: BatchSource) -> None:
    source.book = Book(source.name, "test", log_places, source._producer, clock_ms)


async def handle(batch: Batch) -> None:
    """Every tenth record is bad, every tenth dropped."""
    numbers = [msgspec.json.decode(message.value() or b"")["n"] for message in batch.messages]
    bad = {position: "bad" for position, number in enumerate(numbers) if number % 10 == 1}
    if bad:
        raise Invalid("odd", "bad", bad)
    batch.report = Report()
    batch.report.dropped("noise", [position for position, number in enumerate(numbers) if number % 10 == 2])


async def looked(kafka: Kafka, agent: str, topic: str) -> tuple[Snapshot, dict[Subject, Tally]]:
    looker = Looker(kafka)
    view: View[AccountPage] = View(kafka, TOPIC, msgspec.json.Decoder(AccountPage).decode)
    try:
        seen = await asyncio.to_thread(looker.look)
        await view.start()
        found = lines((page for page in view.values() if page.agent == agent), seen)
    finally:
        looker.close()
        await view.close()
    return seen, {subject: tally for subject, tally in found.items() if subject.topic == topic}


def judged(agent: str, topic: str, seen: Snapshot, found: dict[Subject, Tally]) -> Any:
    what = Indexed(topic, agent, Kind.LOGS)
    return entry(what, seen, found, refused=0, documents=0, places=[], now_ms=clock_ms())


async def test_over_restarts_each_record_counts_once_by_place_and_fate(kafka: Kafka, accounts: str) -> None:
    topic, agent = unique("logs"), unique("counting")
    create(kafka, topic, topic + ".dlq", partitions=1)
    done = 0
    for round_ in range(3):
        produce(kafka, topic, (value(n) for n in range(done, done + 1000)), start=done)
        done += 1000
        async with running(kafka, agent, [topic], handle, prepare=keeping):
            await until(lambda: committed(kafka, agent, topic) == {0: done}, f"round {round_} is committed")  # noqa: B023
    seen, found = await looked(kafka, agent, topic)
    tally = found[Subject(agent, topic, seen.ids[topic])]
    assert {fate: sum_.records for fate, sum_ in by_fate(tally).items()} == {
        "indexed": 2400,
        "dropped": 300,
        "dead_lettered": 300,
    }
    by_namespace: dict[str, int] = {}
    for line, sum_ in tally.items():
        by_namespace[line.namespace] = by_namespace.get(line.namespace, 0) + sum_.records
    assert by_namespace == {f"namespace-{k}": len([n for n in range(3000) if n % PLACES == k]) for k in range(PLACES)}
    line = judged(agent, topic, seen, found)
    assert (line.received, line.indexed, line.dropped, line.dead_lettered) == (3000, 2400, 300, 300)
    assert line.bytes["received"] == sum(len(value(n)) for n in range(3000))
    assert line.adds_up, line.problems
    assert line.searchable.records > 0


async def test_a_topic_made_anew_has_a_line_of_its_own(kafka: Kafka, accounts: str) -> None:
    topic, agent = unique("logs"), unique("anew")
    create(kafka, topic, topic + ".dlq")
    produce(kafka, topic, (value(n) for n in range(500)))
    async with running(kafka, agent, [topic], handle, prepare=keeping) as run:
        await until(lambda: committed(kafka, agent, topic) == {0: 500}, "the old records are committed")
        await asyncio.to_thread(delete, kafka, topic)
        await asyncio.to_thread(create, kafka, topic)
        await asyncio.to_thread(produce, kafka, topic, [value(n) for n in range(40)])
        await until(lambda: committed(kafka, agent, topic) == {0: 40}, "the new records are committed")
        assert run.source.assigned
    seen, found = await looked(kafka, agent, topic)
    line = judged(agent, topic, seen, found)
    assert (line.received, line.indexed, line.dropped, line.dead_lettered) == (40, 32, 4, 4)
    assert line.former == {"indexed": 400, "dropped": 50, "dead_lettered": 50}
    assert line.adds_up, line.problems


@pytest.mark.long
async def test_brokers_that_take_no_notes_still_get_offsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "PROPERTIES", broker_module.PROPERTIES + "offset.metadata.max.bytes=64\n")
    part = Broker(tmp_path / "broker", *free_ports(2))
    part.start()
    try:
        part.wait_ready(120)
        topic, agent = unique("logs"), unique("plain")
        create(part.kafka, TOPIC, topic, topic + ".dlq")
        produce(part.kafka, topic, (value(n) for n in range(100)))
        async with running(part.kafka, agent, [topic], handle, prepare=keeping):
            await until(lambda: committed(part.kafka, agent, topic) == {0: 100}, "the records are committed")
        seen, found = await looked(part.kafka, agent, topic)
        line = judged(agent, topic, seen, found)
        assert (line.received, line.indexed, line.adds_up) == (100, 100, True)
    finally:
        part.stop()
