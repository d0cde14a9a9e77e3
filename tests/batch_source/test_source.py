"""The batch source under a real Faust app on a real broker."""

from __future__ import annotations

import asyncio
from typing import Any

from streams.batch import Batch
from streams.settings import Kafka
from tests.batch_source.harness import committed, create, produce, running, settings_for, unique, until


async def test_a_batch_is_one_event_and_its_end_is_committed_once_finished(kafka: Kafka) -> None:
    topic, group = unique("records"), unique("plain")
    create(kafka, topic)
    produce(kafka, topic, (b"%d" % i for i in range(5000)))
    seen: list[Batch] = []
    values: list[bytes | None] = []
    gate = asyncio.Event()

    async def handle(batch: Batch) -> None:
        seen.append(batch)
        values.extend(record.value for record in batch.records())
        await gate.wait()

    async with running(kafka, group, [topic], handle) as run:
        await until(lambda: bool(seen), "a batch came")
        assert await asyncio.to_thread(committed, kafka, group, topic) == {}, "nothing is finished yet"
        gate.set()
        await until(lambda: committed(kafka, group, topic) == {0: 5000}, "all committed")
        assert values == [b"%d" % i for i in range(5000)]
        assert len(seen) < 50, "thousands of records a batch, not one"
        assert seen[0].topic_id == run.source.topic_id(topic) != ""
        assert seen[-1].at_end
        await until(lambda: run.source.lag == 0, "no lag")


async def test_batches_are_bounded_by_records(kafka: Kafka) -> None:
    topic, group = unique("records"), unique("bounded")
    create(kafka, topic, partitions=3)
    produce(kafka, topic, (b"%d" % i for i in range(3000)), partitions=3)
    in_flight: list[int] = []
    lengths: list[int] = []

    async def handle(batch: Batch) -> None:
        lengths.append(len(batch))
        in_flight.append(run.source._flight.records)
        await asyncio.sleep(0.01)

    async with running(kafka, group, [topic], handle, settings=settings_for(kafka, max_batch_records=100)) as run:
        await until(lambda: sum(lengths) >= 3000, "all came")
        await until(lambda: sum(committed(kafka, group, topic).values()) == 3000, "all committed")
    assert sum(lengths) == 3000
    assert max(lengths) <= 100
    assert max(in_flight) < 300, "two reads may be unfinished, and one more was under way"


async def test_a_full_source_pauses_and_reads_nothing_twice(kafka: Kafka) -> None:
    topic, group = unique("records"), unique("full")
    create(kafka, topic)
    produce(kafka, topic, (b"%d" % i for i in range(1000)))
    offsets: list[int] = []
    gate = asyncio.Event()

    async def handle(batch: Batch) -> None:
        offsets.extend(message.offset() for message in batch.messages)
        await gate.wait()

    async with running(kafka, group, [topic], handle, settings=settings_for(kafka, max_batch_records=50)) as run:
        await until(lambda: run.source._group is not None and run.source._group._full, "paused")
        await asyncio.sleep(1)
        assert run.source._flight.records <= 150
        gate.set()
        await until(lambda: committed(kafka, group, topic) == {0: 1000}, "all committed")
    assert offsets == list(range(1000))


async def test_what_is_held_when_the_agent_restarts_comes_again_in_order(kafka: Kafka) -> None:
    topic, group = unique("records"), unique("restart")
    create(kafka, topic)
    produce(kafka, topic, (b"%d" % i for i in range(1000)))
    seen: list[int] = []
    finished: list[int] = []
    gate = asyncio.Event()

    async def handle(batch: Batch) -> None:
        seen.append(batch.first_offset)
        await gate.wait()
        finished.extend(message.offset() for message in batch.messages)

    async with running(kafka, group, [topic], handle, settings=settings_for(kafka, max_batch_records=100)) as run:
        await until(lambda: len(seen) == 1, "the first batch is held")
        await run.agent.stop()
        run.agent.service_reset()
        await run.agent.start()
        await until(lambda: len(seen) == 2, "it came again")
        # Faust clears its queues when its own group rebalances: nothing of ours is in them.
        run.app.flow_control.suspend()
        run.app.flow_control.clear()
        run.app.flow_control.resume()
        gate.set()
        await until(lambda: committed(kafka, group, topic) == {0: 1000}, "all committed")
    assert seen[:2] == [0, 0]
    assert finished == list(range(1000)), "each once, in order"


async def test_what_an_agent_took_and_dropped_comes_again(kafka: Kafka) -> None:
    """It crashes between taking a batch and claiming it; a body that skips one gets the same one again."""
    topic, group = unique("records"), unique("dropped")
    create(kafka, topic)
    produce(kafka, topic, (b"%d" % i for i in range(500)))
    taken: list[int] = []
    finished: list[int] = []

    def agent(_run: Any) -> Any:
        async def body(batches: Any) -> None:
            async for batch in batches:
                taken.append(batch.first_offset)
                if len(taken) == 1:
                    raise RuntimeError("the agent crashes")
                if len(taken) == 3:
                    continue
                assert batch.claim()
                finished.extend(message.offset() for message in batch.messages)
                batch.finish()

        return body

    async def unused(_batch: Batch) -> None:
        raise AssertionError

    limits = settings_for(kafka, max_batch_records=100)
    async with running(kafka, group, [topic], unused, settings=limits, agent=agent):
        await until(lambda: committed(kafka, group, topic) == {0: 500}, "all committed")
    assert taken[0] == taken[1]
    assert taken[2] == taken[3]
    assert finished == list(range(500))


async def test_state_is_loaded_before_the_first_batch_and_given_up_before_the_commit(kafka: Kafka) -> None:
    topic, group = unique("records"), unique("state")
    create(kafka, topic, partitions=2)
    produce(kafka, topic, (b"%d" % i for i in range(100)), partitions=2)
    story: list[str] = []

    async def load(partitions: Any) -> None:
        await asyncio.sleep(0.5)
        story.append(f"loaded {len(partitions)}")

    async def give_up(partitions: Any) -> None:
        story.append(f"gave up {len(partitions)}, committed {sum(committed(kafka, group, topic).values())}")

    async def handle(batch: Batch) -> None:
        story.append("batch")
        if len([line for line in story if line == "batch"]) == 2:
            done.set()

    def prepare(source: Any) -> None:
        source.on_assigned.append(load)
        source.on_revoked.append(give_up)

    done = asyncio.Event()
    async with running(kafka, group, [topic], handle, prepare=prepare):
        await asyncio.wait_for(done.wait(), 60)
    assert story[0] == "loaded 2"
    assert story[-1].startswith("gave up 2")
    assert committed(kafka, group, topic) == {0: 50, 1: 50}
