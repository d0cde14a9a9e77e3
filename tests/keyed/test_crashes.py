"""Killed anywhere, as often as may be: the state is that of a run without kills, every output left, none is made up."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import journal
from streams import keyed as keyed_module
from streams.batch import Batch
from streams.errors import Retryable
from streams.keyed import Keyed
from streams.record import Record
from tests.keyed.fakes import INPUT, STATE, Bus, Count, Counter, Killed, Process, batches, records

inputs_ = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from([b"n", b"n", b"n", b"bad", b"delete", b"silent", b"text x"])),
    min_size=1,
    max_size=40,
)
deaths_ = st.lists(st.integers(0, 60), max_size=12)
seeds_ = st.integers(0, 1 << 32)


@pytest.fixture(autouse=True, scope="module")
def claimed_again_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyed_module, "AGAIN_S", 0.0)
        yield


def never(error: BaseException) -> None:
    raise AssertionError("failed") from error


def make(process: Process, name: str) -> Keyed[Count]:
    """Each has a clock of its own: what two of them decide at a tick differs."""
    now_ms = zlib.crc32(name.encode())
    return Keyed(
        Counter(),
        process,
        process,
        name="count",
        state_topic=STATE,
        clock=lambda: now_ms,
        fail=never,
        new_id=iter(f"{name}-{i}" for i in range(1_000_000)).__next__,
    )


async def again(keyed: Keyed[Count], batch: Batch) -> None:
    """What `deliver` does about Retryable."""
    while True:
        try:
            return await keyed.handle(batch)
        except Retryable:
            await asyncio.sleep(0)


async def loaded(keyed: Keyed[Count]) -> None:
    while True:
        try:
            return await keyed.assigned([(INPUT, 0)])
        except Retryable:
            await asyncio.sleep(0)


async def live(process: Process, name: str, input_: Sequence[Record], committed: list[int], rng: random.Random) -> None:
    """One process's life: load, apply what is not committed, let time pass now and then."""
    keyed = make(process, name)
    try:
        await loaded(keyed)
        for batch in batches(input_, rng, committed[0]):
            await again(keyed, batch)
            if rng.random() < 0.7:  # else it is killed, perhaps, before it committed
                committed[0] = max(committed[0], batch.end_offset)
            if rng.random() < 0.3:
                with suppress(Retryable):
                    await keyed.tick(0)
            if rng.random() < 0.1:
                await keyed.revoked([(INPUT, 0)])
                await loaded(keyed)
        committed[0] = len(input_)
        await keyed.revoked([(INPUT, 0)])
    finally:
        process.close()


async def state_of(bus: Bus) -> dict[str, tuple[int, str]]:
    process = Process(bus, random.Random(0))
    keyed = make(process, "reader")
    await keyed.assigned([(INPUT, 0)])
    out: dict[str, tuple[int, str]] = await keyed.apply(
        0, lambda state: ({key: (count.seen, count.text) for key, count in state.items()}, [])
    )
    process.close()
    return out


def without_kills(input_: Sequence[Record]) -> tuple[dict[str, tuple[int, str]], list[bytes], set[bytes]]:
    bus = Bus()

    async def run() -> dict[str, tuple[int, str]]:
        keyed = make(process := Process(bus, random.Random(0)), "once")
        await keyed.assigned([(INPUT, 0)])
        for batch in batches(input_, random.Random(0), 0):
            await keyed.handle(batch)
        process.close()
        return await state_of(bus)

    return asyncio.run(run()), bus.sent, bus.dead


def no_ticks(values: Sequence[bytes]) -> list[bytes]:
    return [value for value in values if not value.startswith(b"tick")]


@settings(max_examples=300, deadline=None)
@given(
    inputs=inputs_, deaths=deaths_, seed=seeds_, fails=st.sampled_from([0.0, 0.3]), chunk=st.sampled_from([7, 1 << 20])
)
def test_kills_at_any_record_change_nothing(
    inputs: list[tuple[str, bytes]], deaths: list[int], seed: int, fails: float, chunk: int
) -> None:
    journal.CHUNK_BYTES, before = chunk, journal.CHUNK_BYTES
    try:
        bus, rng, committed, input_ = Bus(), random.Random(seed), [0], records(inputs)

        async def lives() -> dict[str, tuple[int, str]]:
            for number, dies_after in enumerate(deaths):
                process = Process(bus, rng, dies_after=dies_after, fails=fails)
                with suppress(Killed):
                    await live(process, f"life{number}", input_, committed, rng)
                if rng.random() < 0.5:
                    bus.compact()
            await live(Process(bus, rng, fails=fails), "last", input_, committed, rng)
            return await state_of(bus)

        state = asyncio.run(lives())
        expected, sent, dead = without_kills(input_)
        assert state == expected
        assert no_ticks(bus.sent) == sent
        assert bus.dead == dead
        assert len(set(bus.ticks)) == len(bus.ticks)
    finally:
        journal.CHUNK_BYTES = before


async def over(process: Process, name: str, input_: Sequence[Record], rng: random.Random) -> None:
    """A life that does not go on once it is fenced."""
    keyed = make(process, name)
    with suppress(Killed):
        with suppress(Retryable):
            await keyed.assigned([(INPUT, 0)])
            for batch in batches(input_, rng, 0):
                await keyed.handle(batch)
                if rng.random() < 0.5:
                    await keyed.tick(0)
        await keyed.revoked([(INPUT, 0)])
        return
    process.close()


@settings(max_examples=400, deadline=None)
@given(inputs=inputs_, deaths=st.lists(st.integers(0, 60), min_size=1, max_size=4), seed=seeds_, late=st.booleans())
def test_owners_that_do_not_know_they_are_over_change_nothing(
    inputs: list[tuple[str, bytes]], deaths: list[int], seed: int, late: bool
) -> None:
    """Each believes the partition is its own until fenced or killed; records reach the log in any interleaving."""
    bus, rng, input_ = Bus(), random.Random(seed), records(inputs)

    async def run() -> dict[str, tuple[int, str]]:
        tasks = []
        for number, dies_after in enumerate(deaths):
            process = Process(bus, rng, dies_after=dies_after, slow=True)
            tasks.append(asyncio.create_task(over(process, f"life{number}", input_, rng)))
            for _ in range(rng.randrange(100)):
                await asyncio.sleep(0)
        keyed = make(Process(bus, rng, slow=True), "owner")
        await loaded(keyed)
        for batch in batches(input_, rng, 0):
            await again(keyed, batch)
            if rng.random() < 0.5:
                await again_tick(keyed)
        await asyncio.gather(*tasks)
        if late:  # the log is compacted, but not before the owner saw what hides its entries
            await again_tick(keyed)
            bus.compact()
        bus.followed.clear()
        return await state_of(bus)

    state = asyncio.run(run())
    expected, sent, dead = without_kills(input_)
    assert state == expected
    assert no_ticks(bus.sent) == sent
    assert bus.dead == dead
    assert len(set(bus.ticks)) == len(bus.ticks)


async def again_tick(keyed: Keyed[Count]) -> None:
    while True:
        try:
            return await keyed.tick(0)
        except Retryable:
            await asyncio.sleep(0)
