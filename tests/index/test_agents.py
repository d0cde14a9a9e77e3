"""The agents as they run: from topics of a real broker into the index, through kill -9 of the worker."""

from __future__ import annotations

import asyncio
import operator
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from agents.index_events import KINDS
from schemas.catalogue import catalogue
from schemas.notifications import Decision, Notification
from schemas.platform import Gap
from streams.producer import Producer
from streams.record import Outgoing
from streams.settings import Index as IndexSettings
from streams.settings import Kafka, Settings, environment
from streams.sinks.index.port import Index, Kind, Query, open_index
from tests.index.conftest import NOON, log, until
from tests.parts.process import Process

COUNT = 30_000


@pytest.fixture(params=["tantivy", "elasticsearch"])
def settings(request: pytest.FixtureRequest, platform_kafka: Kafka, tmp_path: Path) -> Settings:
    own = IndexSettings()
    if request.param == "elasticsearch":
        own = IndexSettings(url=request.getfixturevalue("elasticsearch"), prefix=f"t{uuid4().hex[:10]}")
    return Settings(kafka=platform_kafka, data_dir=str(tmp_path), index=own, self_logging=False)


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[Process]:
    command = [sys.executable, "-m", "agents.run", "index-logs", "index-events"]
    process = Process("worker", command, tmp_path / "out.log", cwd=Path.cwd(), env=environment(settings))
    process.start()
    yield process
    process.stop()


async def send(kafka: Kafka, records: list[Outgoing]) -> None:
    producer = Producer(kafka, "test")
    await producer.start()
    try:
        await producer.send(records)
    finally:
        await producer.close()


async def total(index: Index, **query: Any) -> int:
    return (await index.search(Query(**({"kind": Kind.LOGS} | query)))).total


@pytest.mark.timeout(300)
async def test_every_record_is_found_once_though_the_worker_is_killed(
    worker: Process, platform_kafka: Kafka, settings: Settings
) -> None:
    index, run = open_index(settings, writer=False), uuid4().hex
    found = partial(total, index, cluster=(run,))
    records = [
        Outgoing(
            "logs",
            log(f"line {n}", cluster=run).value,
            b"%s-%d" % (run.encode(), n) if n % 2 else None,
            timestamp_ms=NOON + n,
        )
        for n in range(COUNT)
    ]
    await send(platform_kafka, [Outgoing("logs", b"no json", timestamp_ms=NOON), *records])
    for goal in (1, COUNT // 2):
        await until(found, partial(operator.le, goal))
        worker.kill()
        worker.start()
    await send(platform_kafka, [record for record in records if record.key])
    await send(platform_kafka, [Outgoing("logs", log("the last", cluster=run).value, run.encode(), timestamp_ms=NOON)])
    await until(partial(found, text="last"), bool)
    await until(found, partial(operator.le, COUNT + 1))
    await asyncio.sleep(2)
    assert await found() == COUNT + 1
    assert await found(text="17") == 1
    await index.close()


@pytest.mark.timeout(300)
async def test_each_topic_goes_where_it_is_searched(worker: Process, platform_kafka: Kafka, settings: Settings) -> None:
    index = open_index(settings, writer=False)
    gap = Gap(id="g1", source="watch/prod", cluster="prod", reason="relisted", time_ms=NOON)
    sent = Notification(
        id="n1",
        tenant="platform",
        receiver="ops",
        group_key="g",
        group_labels={},
        flush=1,
        decision=Decision.SEND,
        status="firing",
        alerts=[],
        decided_at_ms=NOON,
    )
    await send(
        platform_kafka,
        [
            Outgoing("gaps", msgspec.json.encode(gap), b"watch/prod", timestamp_ms=NOON),
            Outgoing("notifications", msgspec.json.encode(sent), b"k", timestamp_ms=NOON),
        ],
    )
    for kind, name in ((Kind.GAPS, "watch/prod"), (Kind.NOTIFICATIONS, "ops")):
        assert await until(partial(total, index, kind=kind, names=(name,)), bool) == 1
    await index.close()


def test_every_topic_indexed_is_in_the_catalogue() -> None:
    assert KINDS.keys() <= catalogue().keys()
    assert set(KINDS.values()) == set(Kind) - {Kind.LOGS}
