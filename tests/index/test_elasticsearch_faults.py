"""Whatever goes wrong between us and Elasticsearch: every record ends in the index or as a dead letter, never both,
never neither."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.dead_letters import DeadLetterLimit, parse
from streams.delivery import deliver
from streams.record import Outgoing, Record
from streams.settings import Index as IndexSettings
from streams.settings import Settings
from streams.sinks.index.elasticsearch import ElasticsearchIndex, writer
from streams.sinks.index.port import Index, Kind, Query
from streams.watchdog import Watchdog
from tests.index.conftest import NOON, batch, log, raw, until
from tests.index.faults import Double, Fault, Proxy, schedule, server_at, share

MAX_BYTES = 60_000
OVER = "x" * (2 * MAX_BYTES)


class Source:
    name = "index-logs"

    def __init__(self) -> None:
        self.dead_letter_limit = DeadLetterLimit(lambda: NOON)


class Letters:
    """Takes dead letters; by the offsets of their records."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    async def send(self, records: Sequence[Outgoing]) -> None:
        for each in records:
            dead = parse(Record(each.topic, 0, 0, each.key, each.value, 0, each.headers))
            assert dead.offset not in self.reasons, "twice"
            self.reasons[dead.offset] = dead.detail


class Sleep:
    """Back-offs without waiting; the fault schedules end, so their number does."""

    def __init__(self) -> None:
        self._left = 500

    async def __call__(self, _seconds: float) -> None:
        self._left -= 1
        assert self._left, "it comes again without end"
        await asyncio.sleep(0)


async def index_all(index: Index, records: Sequence[Record], batches: int = 1) -> dict[int, str]:
    """Deliver the records as the worker does, in so many batches side by side; returns the dead letters' reasons."""
    letters, at_work = Letters(), []
    edges = [len(records) * n // batches for n in range(batches + 1)]
    for start, end in pairwise(edges):
        if start < end:
            work = deliver(
                Source(),
                batch(*records[start:end]),
                lambda part: index.write(Kind.LOGS, part),
                settings=Settings(),
                producer=letters,
                watchdog=Watchdog(60),
                sleep=Sleep(),
                rng=random.Random(1),
            )
            at_work.append(work)
    await asyncio.gather(*at_work)
    return letters.reasons


MAKERS: dict[str, Any] = {
    "good": lambda n: log(f"line {n}", n, key=b"k%d" % n),
    "no key": lambda n: log(f"line {n}", n),
    "another day": lambda n: log(f"line {n}", n, key=b"k%d" % n, time_ms=NOON - 86_400_000),
    "labels no object": lambda n: log("a", n, key=b"k%d" % n, kubernetes={"labels": [1], "namespace_name": "shop"}),
    "log an object": lambda n: log({"a": {"b": n}}, n, key=b"k%d" % n),
    "no JSON": lambda n: raw(b'{"log":', n, key=b"k%d" % n),
    "no object": lambda n: raw(b"[1]", n, key=b"k%d" % n),
    "no value": lambda n: raw(None, n, key=b"k%d" % n),
    "a line break": lambda n: raw(b'{"log":\n"b"}', n, key=b"k%d" % n),
    "invalid UTF-8": lambda n: raw(b'{"log":"\xff\xfe"}', n, key=b"k%d" % n),
    "duplicate keys": lambda n: raw(b'{"log":"a","log":"b"}', n, key=b"k%d" % n),
    "half a pair": lambda n: raw(b'{"log":"a","x":"\\ud83d"}', n, key=b"k%d" % n),
    "a comment": lambda n: raw(b'{"log":"a"/* b */}', n, key=b"k%d" % n),
    "nested deeply": lambda n: raw(b'{"log":"a","x":' + b"[" * 5000 + b"]" * 5000 + b"}", n, key=b"k%d" % n),
    "too large": lambda n: log(OVER, n, key=b"k%d" % n),
}
LOST = frozenset({"no JSON", "no object", "no value", "too large"})
"""What can never be stored, here."""
TAKEN_AS_IT_CAME = frozenset({"nested deeply", "half a pair", "a comment"})
"""What Elasticsearch takes and we could not read: without a fallback form."""


@pytest.fixture(scope="module", autouse=True)
def _no_pauses() -> Iterator[None]:
    with patch.object(writer, "FIRST_PAUSE_S", 0.001):
        yield


def check_on_double(faults: Sequence[Fault], kinds: Sequence[str], batches: int, seed: int) -> None:
    """Index records of these kinds with this going wrong, and see where each is."""
    records = [MAKERS[kind](n) for n, kind in enumerate(kinds)]
    hopeless = share(5, seed)
    double = Double()
    proxy = Proxy(double, faults, seed=seed, max_bytes=MAX_BYTES, conflicts=share(10, seed + 1), hopeless=hopeless)

    async def run() -> dict[int, str]:
        async with proxy.serve() as url:
            index = ElasticsearchIndex(IndexSettings(url=url))
            try:
                return await index_all(index, records, batches)
            finally:
                await index.close()

    dead = asyncio.run(run())
    where = [source["_where"]["offset"] for source in double.stored.values()]
    assert len(where) == len(set(where)), "a record is in the index twice"
    assert sorted([*where, *dead]) == list(range(len(records)))
    ids = {source["_where"]["offset"]: id_ for (_index, id_), source in double.stored.items()}
    assert not any(hopeless(id_) for id_ in ids.values())
    keyed = {n for n, record in enumerate(records) if hopeless((record.key or b"").decode())}
    assert {n for n, kind in enumerate(kinds) if kind in LOST} <= dead.keys()
    assert all(
        kinds[n] in LOST or n in keyed or kinds[n] in ("no key", "nested deeply", "half a pair", "a comment")
        for n in dead
    )
    assert all(dead.values()), "each says why"


GIVEN = {
    "faults": st.lists(st.sampled_from(list(Fault)), max_size=12),
    "kinds": st.lists(st.sampled_from(list(MAKERS)), min_size=1, max_size=30),
    "batches": st.integers(1, 3),
    "seed": st.integers(0, 1000),
}


@given(**GIVEN)
@settings(max_examples=40, deadline=None)
def test_every_record_is_in_the_index_or_a_dead_letter(
    faults: list[Fault], kinds: list[str], batches: int, seed: int
) -> None:
    check_on_double(faults, kinds, batches, seed)


@pytest.mark.long
@given(**GIVEN | {"faults": st.lists(st.sampled_from(list(Fault)), max_size=40)})
@settings(max_examples=2000, deadline=None)
def test_every_record_is_in_the_index_or_a_dead_letter_at_length(
    faults: list[Fault], kinds: list[str], batches: int, seed: int
) -> None:
    check_on_double(faults, kinds, batches, seed)


def test_a_third_of_the_items_busy_for_long_is_no_reason_to_send_the_others_again() -> None:
    records = [log(f"line {n}", n, key=b"k%d" % n) for n in range(3000)]
    double = Double()
    proxy = Proxy(double, [Fault.BUSY_ITEMS] * 1000)

    async def run() -> None:
        async with proxy.serve() as url:
            index = ElasticsearchIndex(IndexSettings(url=url))
            await index.write(Kind.LOGS, batch(*records))
            await index.close()

    asyncio.run(run())
    assert len(double.stored) == 3000
    assert len(proxy.seen) < 20


async def check_on_server(url: str, count: int, seed: int, faults: Sequence[Fault]) -> None:
    """The same on a real server, for records of which 2 % do not fit the mapping."""
    odd = [kind for kind in MAKERS if kind not in TAKEN_AS_IT_CAME | {"good", "no key"}]
    rng = random.Random(seed)
    kinds = [rng.choice(odd) if n % 25 == 7 else "good" for n in range(count)]
    records = [MAKERS[kind](n) for n, kind in enumerate(kinds)]
    async with server_at(url) as upstream:
        proxy = Proxy(
            upstream, faults, seed=seed, max_bytes=MAX_BYTES, conflicts=share(1, seed), hopeless=share(1, seed + 1)
        )
        async with proxy.serve() as between:
            index = ElasticsearchIndex(IndexSettings(url=between, prefix=f"t{uuid4().hex[:10]}"))
            dead = await index_all(index, records, 4)
            counted = await until(lambda: index.counts(Kind.LOGS), lambda counts: counts[()] >= count - len(dead))
            where = await _all_offsets(index)
            await index.close()
    assert counted == {(): count - len(dead)}
    assert sorted([*where, *dead]) == list(range(count))
    wanted = {n for n in range(count) if kinds[n] in LOST or share(1, seed + 1)(f"k{n}")}
    assert dead.keys() == wanted
    assert set(faults) <= set(proxy.seen), "all of it happened"


async def _all_offsets(index: Index) -> list[int]:
    out, cursor = [], ""
    while True:
        page = await index.search(Query(kind=Kind.LOGS, limit=1000, cursor=cursor))
        out += [hit.offset for hit in page.items]
        cursor = page.next
        if not cursor:
            return out


FIXED = [*(fault for fault in Fault for _ in range(3)), *[Fault.AWAY] * 10]


async def test_a_fixed_schedule_on_a_real_server(elasticsearch: str) -> None:
    await check_on_server(elasticsearch, 700, 7, FIXED)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
async def test_long_schedules_on_a_real_server(elasticsearch: str, seed: int) -> None:
    await check_on_server(elasticsearch, 20_000, seed, schedule(seed, 300))
