"""The broker goes away and comes back: nothing is lost, nobody is ended for it."""

from __future__ import annotations

import asyncio

import pytest

from deploy.local.broker import Broker
from streams.batch import Batch
from tests.batch_source.harness import committed, create, produce, running, settings_for, unique, until


@pytest.mark.timeout(240)
async def test_a_broker_killed_and_started_again_costs_nothing(own_broker: Broker) -> None:
    kafka = own_broker.kafka
    topic, group = unique("records"), unique("away")
    create(kafka, topic, partitions=2)
    produce(kafka, topic, (b"%d" % i for i in range(2000)), partitions=2)
    seen: set[bytes | None] = set()

    async def handle(batch: Batch) -> None:
        seen.update(record.value for record in batch.records())
        await asyncio.sleep(0.1)

    limits = settings_for(kafka, max_batch_records=100)
    async with running(kafka, group, [topic], handle, settings=limits) as run:
        await until(lambda: len(seen) > 300, "some were handled")
        await asyncio.to_thread(own_broker.kill)
        # Longer than the session timeout: the group is given up.
        for _ in range(15):
            assert run.watchdog.stalled() == []
            await asyncio.sleep(1)
        await asyncio.to_thread(own_broker.start)
        await asyncio.to_thread(own_broker.wait_ready)
        await until(lambda: committed(kafka, group, topic) == {0: 1000, 1: 1000}, "all committed", 120)
        await asyncio.to_thread(produce, kafka, topic, [b"late %d" % i for i in range(100)], 2)
        await until(lambda: committed(kafka, group, topic) == {0: 1050, 1: 1050}, "what came late", 120)
    assert len(seen) == 2100
