"""Elasticsearch away for a while at full input: the worker's memory stays flat, and afterwards everything is there."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from confluent_kafka import Producer

from streams.kafka import client
from streams.settings import Index as IndexSettings
from streams.settings import Kafka, Settings, Worker, environment
from streams.sinks.index.elasticsearch import ElasticsearchIndex
from streams.sinks.index.port import Kind
from tests.bench.records import records
from tests.index.faults import Fault, Proxy, server_at
from tests.parts.process import Process

GROWTH_MIB = 30.0
LIMIT_MIB = 300.0
CATCH_UP_S = 180.0


class Sender:
    """Writes records to `logs`, `rate` a second, until told to stop; `sent` counts them."""

    def __init__(self, kafka: Kafka, rate: int) -> None:
        self.sent = 0
        self._rate = rate
        self._producer = Producer(client(kafka) | {"acks": "all", "linger.ms": 50, "compression.type": "lz4"})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        begun = time.monotonic()
        for key, value, time_ms in records(1 << 40, seed=uuid4().int):
            if self.sent % 100 == 0:
                self._producer.poll(0)
                if self._stop.wait(max(0.0, self.sent / self._rate - (time.monotonic() - begun))):
                    return
            self._producer.produce("logs", value, key, timestamp=time_ms)
            self.sent += 1

    def finish(self) -> int:
        self._stop.set()
        self._thread.join()
        assert self._producer.flush(60) == 0
        return self.sent


@asynccontextmanager
async def worker(kafka: Kafka, index: IndexSettings, own: Worker, folder: Path) -> AsyncIterator[psutil.Process]:
    """`index-logs` in a process of its own."""
    settings = Settings(kafka=kafka, index=index, worker=own, data_dir=str(folder), self_logging=False)
    command = [sys.executable, "-m", "agents.run", "index-logs"]
    process = Process("worker", command, folder / "worker.log", cwd=Path.cwd(), env=environment(settings))
    process.start()
    try:
        yield psutil.Process(process.pid)
        assert not process.ended, process.tail()
    finally:
        await asyncio.to_thread(process.stop)


async def until(condition: Callable[[], bool], what: str, within_s: float = CATCH_UP_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


async def away(kafka: Kafka, url: str, folder: Path, *, seconds: float, rate: int, own: Worker) -> None:
    prefix = f"t{uuid4().hex[:10]}"
    async with server_at(url) as upstream:
        proxy = Proxy(upstream)
        async with (
            proxy.serve() as between,
            worker(kafka, IndexSettings(url=between, prefix=prefix), own, folder) as process,
        ):
            sender = Sender(kafka, rate)
            await until(lambda: len(proxy.seen) > 10, "records flow")
            sizes = []
            for fault in (Fault.AWAY, Fault.CUT_BEFORE):
                proxy.away = fault
                await asyncio.sleep(seconds / 2)
                sizes.append(process.memory_info().rss / 2**20)
            begun = sender.sent
            proxy.away = Fault.NONE
            await until(lambda: sender.sent > begun + rate, "records flow on")
            sent = sender.finish()
            index = ElasticsearchIndex(IndexSettings(url=url, prefix=prefix))
            counts: dict[tuple[str, ...], int] = {}
            deadline = time.monotonic() + max(CATCH_UP_S, seconds)
            while counts != {(): sent}:
                assert time.monotonic() < deadline, f"{counts} of {sent}"
                await asyncio.sleep(0.5)
                counts = await index.counts(Kind.LOGS)
            await index.close()
            end = process.memory_info().rss / 2**20
    assert sizes[1] - sizes[0] < GROWTH_MIB, sizes
    assert max(*sizes, end) < LIMIT_MIB, (sizes, end)


@pytest.mark.timeout(400)
async def test_elasticsearch_away_for_a_short_time(platform_kafka: Kafka, elasticsearch: str, tmp_path: Path) -> None:
    small = Worker(max_batch_records=1000, max_in_flight_bytes=2 << 20)
    await away(platform_kafka, elasticsearch, tmp_path, seconds=8, rate=2000, own=small)


@pytest.mark.long
@pytest.mark.timeout(3000)
async def test_elasticsearch_away_for_ten_minutes(platform_kafka: Kafka, elasticsearch: str, tmp_path: Path) -> None:
    await away(platform_kafka, elasticsearch, tmp_path, seconds=600, rate=10_000, own=Worker())
