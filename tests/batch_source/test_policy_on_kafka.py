"""The error policy with real dead letters and real commits."""

from __future__ import annotations

import asyncio

from streams.batch import Batch
from streams.dead_letters import parse
from streams.errors import Invalid, Retryable
from streams.record import Record
from streams.settings import Kafka
from tests.batch_source.harness import committed, create, produce, read_all, running, unique, until


async def test_bad_records_end_on_the_dead_letter_topic_and_hold_nothing_back(kafka: Kafka) -> None:
    topic, group = unique("records"), unique("policy")
    create(kafka, topic, f"{topic}.dlq")
    produce(kafka, topic, (b"%d" % i for i in range(500)))
    handled: list[bytes | None] = []
    away = 3

    async def handle(batch: Batch) -> None:
        nonlocal away
        values = [record.value for record in batch.records()]
        if away:
            away -= 1
            raise Retryable("index_away")
        if b"77" in values:
            raise Invalid("mapping", indexes={values.index(b"77"): "no such field"})
        if b"333" in values:
            raise ZeroDivisionError("by record 333")
        handled.extend(values)

    async with running(kafka, group, [topic], handle):
        await until(lambda: committed(kafka, group, topic) == {0: 500}, "all committed")
    assert sorted(handled, key=lambda v: int(v or 0)) == [b"%d" % i for i in range(500) if i not in (77, 333)]
    letters = {letter.offset: letter for letter in map(parse, await asyncio.to_thread(_dead, kafka, topic))}
    assert sorted(letters) == [77, 333]
    assert (letters[77].reason, letters[77].value, letters[77].stage) == ("mapping", b"77", group)
    assert (letters[333].reason, letters[333].value) == ("ZeroDivisionError", b"333")


def _dead(kafka: Kafka, topic: str) -> list[Record]:
    return read_all(kafka, f"{topic}.dlq", 2)
