"""An index built anew beside the one in use: a better one takes its place, a poorer one does not."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from streams.errors import Fatal
from streams.producer import Producer
from streams.rebuild.rebuilding import Feed, from_topic
from streams.rebuild.staging import Fate, staging
from streams.rebuild.topic import TopicReader
from streams.record import Outgoing
from streams.settings import Index as IndexSettings
from streams.settings import Kafka, Settings
from streams.sinks.index.embedded import EmbeddedIndex
from streams.sinks.index.port import Kind, Query, open_index
from tests.index.conftest import NOON, batch, log, until
from tests.retention.conftest import DAY_MS

pytestmark = pytest.mark.long


async def send(kafka: Kafka, records: list[Outgoing]) -> None:
    producer = Producer(kafka, "test")
    await producer.start()
    try:
        await producer.send(records)
    finally:
        await producer.close()


def outgoing(n: int) -> Outgoing:
    made = log(f"line {n}", n, time_ms=NOON - n % 3 * DAY_MS)
    return Outgoing("logs", made.value, b"k%d" % n, timestamp_ms=made.timestamp_ms)


@pytest.fixture(params=["tantivy", "elasticsearch"])
def own(request: pytest.FixtureRequest) -> IndexSettings:
    if request.param == "elasticsearch":
        return IndexSettings(url=request.getfixturevalue("elasticsearch"), prefix=f"t{uuid4().hex[:10]}")
    return IndexSettings(commit_interval_s=0.05)


@pytest.mark.timeout(180)
async def test_days_are_replaced_by_what_holds_no_less(
    own: IndexSettings, platform_kafka: Kafka, tmp_path: Path
) -> None:
    settings = Settings(kafka=platform_kafka, data_dir=str(tmp_path), index=own)
    index = open_index(settings, writer=True)
    await index.open()
    old_day = [log(f"older {n}", n, key=b"o%d" % n, time_ms=NOON - DAY_MS) for n in range(500)]
    await index.write(Kind.LOGS, batch(*old_day, log("to be replaced", 600, key=b"k0")))
    await until(lambda: index.counts(Kind.LOGS), lambda found: found[()] == 501)
    await index.close()
    await send(platform_kafka, [outgoing(n) for n in range(300)])
    sums: list[int] = []
    place = staging(settings)
    await place.open()
    async with TopicReader(platform_kafka, "logs") as reader:
        outcomes = await from_topic(place, reader, Feed(Kind.LOGS, None, sums.append), Kind.LOGS, force=False)
        total = sum((await reader.ends())[1].values())
    await place.close()
    assert [each.fate for each in outcomes] == [Fate.NEW, Fate.KEPT, Fate.REPLACED]
    assert sum(sums) == total
    index = open_index(settings, writer=False)
    counts = await until(lambda: index.counts(Kind.LOGS), lambda found: found[()] == 700)
    assert counts
    assert (await index.search(Query(kind=Kind.LOGS, text='"to be replaced"'))).total == 0
    assert (await index.search(Query(kind=Kind.LOGS, text="older"))).total == 500
    assert len(await index.stored()) == 3
    await index.close()
    assert {path.name for path in tmp_path.iterdir()} <= {"index"}  # noqa: ASYNC240


async def test_while_a_worker_writes_the_embedded_index_it_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    worker = EmbeddedIndex(settings, writer=True)
    await worker.open()
    with pytest.raises(Fatal, match="Stop the instance"):
        await staging(settings).open()
    await worker.close()


async def test_an_index_of_another_version_is_put_aside(platform_kafka: Kafka, tmp_path: Path) -> None:
    import tantivy

    path = tmp_path / "index" / "logs"
    path.mkdir(parents=True)
    tantivy.Index(tantivy.SchemaBuilder().add_text_field("other").build(), str(path))
    await send(platform_kafka, [outgoing(n) for n in range(3)])
    settings = Settings(kafka=platform_kafka, data_dir=str(tmp_path))
    place = staging(settings)
    await place.open()
    async with TopicReader(platform_kafka, "logs") as reader:
        await from_topic(place, reader, Feed(Kind.LOGS, None, lambda _: None), Kind.LOGS, force=False)
    await place.close()
    index = open_index(settings, writer=False)
    assert (await index.counts(Kind.LOGS))[()] > 0
    await index.close()
    assert (tmp_path / "index" / "logs.old-version" / "meta.json").exists()
