"""Every record is in the archive once, however batches are cut, repeated, interrupted and taken over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.archive import archiver as module
from streams.archive import format as form
from streams.archive.archiver import Archiver
from streams.archive.reading import Wanted, batches, manifests, names, verify
from streams.archive.store import FolderStore, Store
from streams.batch import Batch, batch_of
from streams.errors import Invalid, Retryable
from streams.record import Record
from tests.index.conftest import NOON, log

SPAN = 10
TOPIC_ID = "A/LKpv/ySJOH4e+55vIx1A"
"""Kafka prints ids in base64: not every character of it may stand in a name."""


@pytest.fixture(autouse=True)
def short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "SPAN", SPAN)
    monkeypatch.setattr(module, "SPAN", SPAN)


def record(n: int) -> Record:
    return log(f"line {n}", n, key=b"k%d" % n, time_ms=NOON + n)


def batch(first: int, end: int) -> Batch:
    return batch_of([record(n) for n in range(first, end)], topic_id=TOPIC_ID)


async def held(store: Store, wanted: Wanted = Wanted()) -> list[Record]:  # noqa: B008 - a frozen value
    out: list[Record] = []
    for name in await names(store):
        assert await verify(store, name) == ""
        async for part in batches(store, name, wanted):
            assert part.topic_id == TOPIC_ID
            out += part.records()
    return out


def read(found: list[Record]) -> list[tuple[int, bytes | None, bytes | None, int]]:
    return [(each.offset, each.key, each.value, each.timestamp_ms) for each in found]


async def test_records_come_back_as_they_were(store: Store) -> None:
    odd = [
        b"no json",
        b'{"log": "a\\nb"}',
        b'{"a":\n 1,\r\n "kubernetes": {"namespace_name": "data"}}',
        b'["list"]',
        b'{"log": "\xff"}',
        b'{"kubernetes": 3, "cluster": ["a"]}',
        b'{"log": 1} trailing',
        None,
        b"",
    ]
    keys = [b"k", None, b"\xff\x00", b"", b'a"b', b"k", b"k", b"k", b"k"]
    records = [Record("logs", 3, n, key, value, NOON + n) for n, (key, value) in enumerate(zip(keys, odd, strict=True))]
    await Archiver(store).write(batch_of(records, topic_id=TOPIC_ID))
    found = await held(store)
    assert [each.key for each in found] == keys
    assert [each.timestamp_ms for each in found] == [NOON + n for n in range(len(odd))]
    values = [(each or b"").replace(b"\n", b" ").replace(b"\r", b" ") if n == 2 else each for n, each in enumerate(odd)]
    assert [each.value for each in found] == values
    (_, told), *rest = [each async for each in manifests(store, Wanted())]
    assert not rest
    assert told is not None
    assert (told.records, told.from_ms, told.to_ms) == (len(odd), NOON, NOON + len(odd) - 1)


async def test_an_object_grows_until_its_span_is_over(store: Store) -> None:
    writer = Archiver(store)
    for first, end in ((3, 5), (5, 9), (9, 14), (14, 20), (20, 45)):
        await writer.write(batch(first, end))
    assert [(name.first, name.last) for name in await names(store)] == [(3, 9), (10, 19), (20, 29), (30, 39), (40, 44)]
    assert [name async for name in store.names("")] == sorted(
        text for name in await names(store) for text in (str(name), name.manifest)
    )
    assert [each.offset for each in await held(store)] == list(range(3, 45))


async def test_what_is_asked_for_by_time_and_namespace(store: Store) -> None:
    def of(n: int, namespace: str) -> Record:
        return log("x", n, time_ms=NOON + n, kubernetes={"namespace_name": namespace})

    await Archiver(store).write(batch_of([of(n, "shop" if n % 2 else "data") for n in range(25)], topic_id=TOPIC_ID))
    wanted = Wanted(NOON + 4, NOON + 12, "shop")
    assert [each.offset for each in await held(store, wanted)] == [5, 7, 9, 11]
    found = [name.first async for name, _ in manifests(store, wanted)]
    assert found == [0, 10]
    assert [name async for name, _ in manifests(store, Wanted(namespace="other"))] == []


async def test_damage_is_told(store: Store) -> None:
    await Archiver(store).write(batch(0, 10))
    (name,) = await names(store)
    content = await store.get(str(name)) or b""
    await store.put(str(name), content[:-3])
    assert "sha256" in await verify(store, name)
    with pytest.raises(Invalid):
        [each async for each in batches(store, name, Wanted())]
    await store.delete(name.manifest)
    assert "no manifest" in await verify(store, name)


class Failing(FolderStore):
    """Fails, and forgets nothing it did, at the calls whose numbers are in `at`."""

    def __init__(self, folder: Path, at: Iterator[int]) -> None:
        super().__init__(folder)
        self._at = at
        self._left = next(at, -1)

    async def put(self, name: str, content: bytes) -> None:
        await self._maybe()
        await super().put(name, content)

    async def delete(self, name: str) -> None:
        await self._maybe()
        await super().delete(name)

    async def _maybe(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._left = next(self._at, -1)
            raise Retryable("archive_away")


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 17), min_size=1, max_size=8),
    st.lists(st.integers(1, 6), max_size=6),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 25), st.booleans()), max_size=6),
    st.integers(0, 12),
)
def test_every_record_once_through_failures_repeats_and_others(
    sizes: list[int], failures: list[int], repeats: list[tuple[int, int, bool]], first: int
) -> None:
    """Batches in order; a failed one is written again, by the same writer; before some of them a new writer begins
    further back, and a writer of before (a zombie) writes once more what it knows."""
    from tempfile import TemporaryDirectory

    async def run(folder: Path) -> None:
        store = Failing(folder, iter(failures))
        writer, end = Archiver(store), first
        again = {at: (back, zombie) for at, back, zombie in repeats}
        for at, size in enumerate(sizes):
            start = end
            if at in again:
                back, zombie = again[at]
                old, writer = writer, Archiver(store)
                start = max(first, end - back)
                if zombie and end > first:
                    await until_written(old, batch(max(first, end - 2), end))
            end += size
            await until_written(writer, batch(start, end))
        assert read(await held(FolderStore(folder))) == read([record(n) for n in range(first, end)])

    with TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


async def until_written(writer: Archiver, what: Batch) -> None:
    while True:
        try:
            return await writer.write(what)
        except Retryable:
            continue
