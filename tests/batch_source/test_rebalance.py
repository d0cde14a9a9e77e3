"""Two workers of one group on a real broker: partitions move, nothing is lost, what moved away is forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

from streams.batch import Batch, Lease
from streams.settings import Kafka
from tests.batch_source.harness import committed, create, produce, running, settings_for, unique, until


class Seen:
    """What one worker handled; while `gate` is closed it holds its batch."""

    def __init__(self) -> None:
        self.values: Counter[bytes | None] = Counter()
        self.held: Batch | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, batch: Batch) -> None:
        self.held = batch
        await self.gate.wait()
        self.values.update(record.value for record in batch.records())


async def test_partitions_move_to_a_worker_that_joins_and_back_when_it_leaves(kafka: Kafka) -> None:
    topic, group = unique("records"), unique("two")
    create(kafka, topic, partitions=4)
    first, second = Seen(), Seen()
    limits = settings_for(kafka, max_batch_records=100)
    async with running(kafka, group, [topic], first, settings=limits) as one:
        await one.until_assigned(4)
        await asyncio.to_thread(produce, kafka, topic, [b"a%d" % i for i in range(2000)], 4)
        async with running(kafka, group, [topic], second, settings=limits) as two:
            await until(lambda: len(one.source.assigned) == len(two.source.assigned) == 2, "two partitions each")
            await asyncio.to_thread(produce, kafka, topic, [b"b%d" % i for i in range(2000)], 4)
            await until(lambda: sum(committed(kafka, group, topic).values()) == 4000, "all committed")
            assert min(first.values.total(), second.values.total()) >= 1000
        await one.until_assigned(4)
        await asyncio.to_thread(produce, kafka, topic, [b"c%d" % i for i in range(2000)], 4)
        await until(lambda: sum(committed(kafka, group, topic).values()) == 6000, "all committed")
    both = first.values + second.values
    assert len(both) == 6000
    assert both.total() - len(both) <= 2 * 100, "at most the batch held when partitions went"
    assert not [v for v in second.values if v and v.startswith(b"c")]


async def test_a_batch_that_was_held_when_its_partition_went_is_done_by_its_new_owner(kafka: Kafka) -> None:
    topic, group = unique("records"), unique("held")
    create(kafka, topic, partitions=2)
    first, second = Seen(), Seen()
    first.gate.clear()
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(kafka, group, [topic], first))
        await one.until_assigned(2)
        await asyncio.to_thread(produce, kafka, topic, [b"%d" % i for i in range(200)], 2)
        await until(lambda: first.held is not None, "the first worker holds a batch")
        two = await stack.enter_async_context(running(kafka, group, [topic], second))
        await until(lambda: len(one.source.assigned) == len(two.source.assigned) == 1, "one partition each")
        await until(lambda: second.values.total() == 100, "the second worker did its partition")
        (moved,) = two.source.assigned
        await until(lambda: committed(kafka, group, topic) == {moved[1]: 100}, "its partition is committed")
        held = first.held
        assert held is not None
        assert (held.lease is Lease.FORGOTTEN) == (held.partition == moved[1])
        first.gate.set()
        await until(lambda: committed(kafka, group, topic) == {0: 100, 1: 100}, "all committed")
        assert one.source._flight.records == 0
    assert set(first.values) | set(second.values) == {b"%d" % i for i in range(200)}
