"""Documents at work in the agent: what the index is given, what is reported, and all of it through a real Kafka."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from agents.index_logs import writer_of
from streams.account import parse
from streams.batch import Batch
from streams.errors import Invalid
from streams.kafka import client
from streams.metrics import PROCESSED
from streams.process.held import Documents
from streams.process.processor import kept
from streams.producer import Producer
from streams.record import Outgoing
from streams.settings import Kafka, Process, Settings, environment
from streams.sinks.index.port import Index, Kind, Query, open_index
from tests.parts.process import Process as Running
from tests.process.documents import batch, left, value

NOON = 1_795_608_000_000
COUNT = 6000


class Given:
    """An index that takes everything but values that say `refuse`, and remembers it."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def write(self, kind: Kind, batch: Batch) -> None:
        assert kind is Kind.LOGS
        bad = {at: "no" for at, each in enumerate(batch.messages) if b"refuse" in (each.value() or b"")}
        if bad:
            raise Invalid("refused", "no", bad)
        self.batches.append(batch)


def held(folder: Path, text: str) -> Documents:
    (folder / "a.yaml").write_text(text)
    out = Documents(str(folder))
    out.start()
    return out


DROP = "documents: [{name: noise, select: {where: 'log.contains(\"noise\")'}, steps: [drop]}]"


async def test_without_documents_the_very_batch_is_written() -> None:
    index, given = Given(), batch(value("a"))
    await writer_of(index, Documents(""))(given)  # type: ignore[arg-type]
    assert index.batches == [given]
    assert given.report is None


async def test_what_is_dropped_is_reported_and_counted(tmp_path: Path) -> None:
    index, given = Given(), batch(value("noise"), value("a"), value("noise"))
    before = PROCESSED.labels("noise", "drop")._value.get()
    write = writer_of(index, held(tmp_path, DROP))  # type: ignore[arg-type]
    await write(given)
    assert [record["log"] for record in left(index.batches[0])] == ["a"]
    assert given.report is not None
    assert {at: by for at, (_, by) in given.report.fates.items()} == {0: "noise", 2: "noise"}
    assert PROCESSED.labels("noise", "drop")._value.get() == before + 2
    nothing = batch(value("noise"))
    await write(nothing)
    assert len(index.batches) == 1
    assert nothing.report is not None


async def test_what_the_index_refuses_is_named_as_it_stood(tmp_path: Path) -> None:
    index, given = Given(), batch(value("noise"), value("a"), value("noise"), value("refuse"))
    with pytest.raises(Invalid) as caught:
        await writer_of(index, held(tmp_path, DROP))(given)  # type: ignore[arg-type]
    assert caught.value.indexes == {3: "no"}
    assert given.report is None


async def test_what_is_no_record_is_named_before_anything_is_written(tmp_path: Path) -> None:
    index = Given()
    with pytest.raises(Invalid) as caught:
        await writer_of(index, held(tmp_path, DROP))(batch(value("a"), b'{"log":"noise'))  # type: ignore[arg-type]
    assert list(caught.value.indexes or ()) == [1]
    assert not index.batches


# through Kafka

DOCUMENTS = """
documents:
  - {name: probes, select: {namespace: shop, where: 'log.contains("/healthz")'}, steps: [drop]}
  - {name: debug, select: {labels: {tier: 'debug*'}}, steps: [{sample: {keep: 1, of: 4}}]}
  - {name: secrets, steps: [{mask: {patterns: [mail, card], replacement: gone}}]}
"""


def made(number: int, run: str) -> Outgoing:
    text = f"line {number} of {run}"
    about: dict[str, Any] = {}
    if number % 10 == 3:
        text += " from jane.doe@example.com with 4111111111111111"
    elif number % 10 == 5:
        text += ' "GET /healthz HTTP/1.1"'
    elif number % 10 == 7:
        about = {"labels": {"tier": "debug-1"}}
    raw = value(text, about=about, cluster=run).replace(b'"stream":', b'"n":1.50, "stream" : ')
    return Outgoing("logs", raw, f"{run}-{number}".encode(), timestamp_ms=NOON + number)


async def until(ask: Callable[[], Awaitable[int]], enough: Callable[[int], bool], seconds: float = 90) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if enough(await ask()):
                return
            await asyncio.sleep(0.2)


async def send(kafka: Kafka, records: list[Outgoing]) -> None:
    producer = Producer(kafka, "test")
    await producer.start()
    try:
        await producer.send(records)
    finally:
        await producer.close()


async def all_of(index: Index, run: str) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await index.search(Query(kind=Kind.LOGS, cluster=(run,), limit=1000, cursor=cursor))
        out += [hit.record for hit in page.items]
        cursor = page.next
        if not cursor:
            return out


@pytest.mark.timeout(240)
async def test_masked_text_is_never_in_the_index_and_the_rest_is_as_it_was(
    platform_kafka: Kafka, tmp_path: Path
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    held(folder, DOCUMENTS)
    run = uuid4().hex
    settings = Settings(
        kafka=platform_kafka, data_dir=str(tmp_path), process=Process(dir=str(folder)), self_logging=False
    )
    command = [sys.executable, "-m", "agents.run", "index-logs"]
    worker = Running("worker", command, tmp_path / "out.log", cwd=Path.cwd(), env=environment(settings))
    records = [made(number, run) for number in range(COUNT)]
    sample = Documents(str(folder))
    sample.start()
    (debug,) = [each for each in sample.processor.documents if each.name == "debug"] if sample.processor else []
    indexed = {
        number
        for number in range(COUNT)
        if number % 10 != 5 and (number % 10 != 7 or kept(f"{run}-{number}", "debug", debug.steps[0]))  # type: ignore[arg-type]
    }
    index = open_index(settings, writer=False)

    async def count() -> int:
        return (await index.search(Query(kind=Kind.LOGS, cluster=(run,), limit=1))).total

    worker.start()
    try:
        await send(platform_kafka, records)
        await until(count, lambda found: found > 0)
        worker.kill()
        worker.start()
        await send(platform_kafka, records)  # a sender that repeats itself: the same is dropped again
        last: dict[str, Any] = {"cluster": run}
        await send(
            platform_kafka, [Outgoing("logs", value("the end", **last), f"{run}-end".encode(), timestamp_ms=NOON)]
        )
        await until(count, lambda found: found >= len(indexed) + 1)
        found = {record["log"].split()[1]: record for record in await all_of(index, run)}
        found.pop("end")
        assert {int(number) for number in found} == indexed
        assert not [log for log in found.values() if "@example" in str(log) or "41111111" in str(log)]
        for number in indexed:
            given = msgspec.json.decode(records[number].value or b"")
            if number % 10 == 3:
                given["log"] = f"line {number} of {run} from gone with gone"
            assert found[str(number)] == given
        await until(lambda: accounted(platform_kafka), lambda found: found == 2 * COUNT + 1)
        assert await asyncio.to_thread(totals, platform_kafka) == {
            "dropped": 2 * (COUNT - len(indexed)),
            "indexed": 2 * len(indexed) + 1,
        }
        await _changes_while_it_runs(folder, platform_kafka, index, run)
    finally:
        worker.stop()
        await index.close()


def totals(kafka: Kafka) -> dict[str, int]:
    """What became of all records, by what was committed with the offsets."""
    group = ConsumerGroupTopicPartitions("eventsphere.index-logs")
    admin = AdminClient(client(kafka))
    answer = admin.list_consumer_group_offsets([group], request_timeout=10)[group.group_id].result(20)
    out: Counter[str] = Counter()
    for where in answer.topic_partitions:
        _, note = parse(where.metadata or "")
        out.update({fate: sum_.records for fate, sum_ in note.totals.items()} if note else {})
    return dict(out)


async def accounted(kafka: Kafka) -> int:
    return sum((await asyncio.to_thread(totals, kafka)).values())


async def _changes_while_it_runs(folder: Path, kafka: Kafka, index: Index, run: str) -> None:
    """A file more, and soon it applies."""
    (folder / "b.yaml").write_text("documents: [{name: own, steps: [{mask: {own: ['x-[0-9]+'], replacement: seen}}]}]")
    sent: Counter[str] = Counter()

    async def masked() -> int:
        sent["n"] += 1
        key = f"{run}-again-{sent['n']}"
        await send(kafka, [Outgoing("logs", value(f"x-{sent['n']}", cluster=run), key.encode(), timestamp_ms=NOON)])
        await asyncio.sleep(0.5)
        return (await index.search(Query(kind=Kind.LOGS, cluster=(run,), text="seen", limit=1))).total

    await until(masked, bool)
