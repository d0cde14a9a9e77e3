"""Who may read, and how much may be held, while memory is full."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from streams.sources.budget import Budget, ReadGate


async def _blocked(waiting: asyncio.Task[None]) -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return not waiting.done()


async def test_a_budget_lets_one_beyond_it_alone_and_the_rest_in_order() -> None:
    budget = Budget(100)
    await budget.take(300)
    first = asyncio.create_task(budget.take(60))
    second = asyncio.create_task(budget.take(60))
    assert await _blocked(first)
    budget.give(300)
    await first
    assert await _blocked(second)
    budget.give(60)
    await second
    assert budget.used == 60


async def test_who_holds_nothing_passes_those_that_wait() -> None:
    budget = Budget(100)
    await budget.take(100)
    noisy = asyncio.create_task(budget.take(50))
    assert await _blocked(noisy)
    await budget.take(20, first=True)
    late = asyncio.create_task(budget.take(20, first=True))
    assert await _blocked(late), "a quarter beyond, and no more"
    budget.give(120)
    await asyncio.gather(noisy, late)
    assert budget.used == 70


async def test_above_the_limit_one_goes_on_only_when_nothing_is_on_its_way_out() -> None:
    gate = ReadGate(100)
    gate.add(60)
    gate.complete("a", 60)
    gate.add(60)
    waiting = asyncio.create_task(gate.enter("b", unfinished=True, holds=0))
    assert await _blocked(waiting), "what is on its way out will leave room"
    gate.remove(60)
    await waiting
    gate.add(60)
    one = asyncio.create_task(gate.enter("b", unfinished=True))
    await one
    other = asyncio.create_task(gate.enter("c", unfinished=True))
    assert await _blocked(other), "one after the other"
    gate.complete("b", 120)
    assert await _blocked(other)
    gate.remove(120)
    await other


async def test_who_holds_nothing_may_begin_a_quarter_beyond() -> None:
    gate = ReadGate(100)
    gate.add(110)
    gate.complete("a", 110)
    await gate.enter("quiet", unfinished=False)
    gate.add(15)
    waiting = asyncio.create_task(gate.enter("another", unfinished=False))
    assert await _blocked(waiting)
    gate.remove(110)
    await waiting


async def test_it_says_when_little_is_left_of_a_limit_that_was_reached() -> None:
    times = 0

    def emptied() -> None:
        nonlocal times
        times += 1

    gate = ReadGate(100, emptied)
    gate.add(50)
    gate.drop(50)
    assert times == 0
    gate.add(100)
    gate.drop(50)
    assert times == 0
    gate.drop(50)
    assert times == 1


READ = 25
"""Bytes a reader takes at once."""


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 6)), min_size=1, max_size=12), st.integers(0, 2**32))
def test_all_frames_get_through_within_the_limit_a_quarter_and_a_frame(
    senders: list[tuple[int, int]], seed: int
) -> None:
    """`senders`: frames of each, and reads a frame takes. What is complete leaves at some time."""
    asyncio.run(_all_get_through(senders, random.Random(seed)))


async def _all_get_through(senders: list[tuple[int, int]], chance: random.Random) -> None:
    gate, most = ReadGate(200), 0
    leaving: list[asyncio.Task[None]] = []

    async def leave(size: int) -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        gate.remove(size)

    async def send(who: int, frames: int, reads: int) -> None:
        nonlocal most
        for _ in range(frames):
            for part in range(reads):
                await gate.enter(who, unfinished=part > 0, holds=0)
                gate.add(READ)
                most = max(most, gate.held)
                await asyncio.sleep(0)
            gate.complete(who, READ * reads)
            leaving.append(asyncio.create_task(leave(READ * reads)))

    async with asyncio.timeout(10):
        await asyncio.gather(*(send(who, *each) for who, each in enumerate(senders)))
        await asyncio.gather(*leaving)
    assert gate.held == 0
    # Those that were let in at the same moment read beside each other.
    assert most <= 200 + 50 + READ * max(reads for _, reads in senders) + READ * len(senders)
