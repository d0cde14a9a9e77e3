"""The chaos run's own reasoning: what it plans, and that its verdict tells loss and doubles."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.plan import VICTIMS, Chunk, chunks, judge, kills

SENT = [Chunk(0, 3, True), Chunk(3, 6, False), Chunk(6, 8, True)]
ACKNOWLEDGED = [SENT[0], SENT[2]]


def test_each_acknowledged_once_and_the_others_or_not_is_good() -> None:
    assert judge(SENT, ACKNOWLEDGED, [0, 1, 2, 6, 7]).good
    assert judge(SENT, ACKNOWLEDGED, [7, 6, 4, 2, 1, 0]).good


def test_loss_doubles_and_strangers_are_told_apart() -> None:
    verdict = judge(SENT, ACKNOWLEDGED, [0, 2, 4, 4, 6, 6, 7, 99])
    assert (verdict.lost, verdict.doubled, verdict.strange) == ([1], [4, 6], [99])
    assert not verdict.good
    assert str(verdict).startswith("BAD: of 5 acknowledged 1 lost (1), 2 doubled (4, 6), 1 never sent (99)")


@given(st.integers(0, 1 << 32), st.integers(3, 100))
def test_a_seed_gives_the_same_kills_and_every_process_its_own(seed: int, count: int) -> None:
    planned = kills(count, 2.0, random.Random(seed))
    assert planned == kills(count, 2.0, random.Random(seed))
    assert len(planned) == count
    assert {kill.victim for kill in planned} == set(VICTIMS)
    assert all(0 < kill.after_s < 4 for kill in planned)


@given(st.integers(1, 5000), st.integers(1, 700))
def test_chunks_hold_every_number_once_and_the_last_is_sent_until_acknowledged(records: int, size: int) -> None:
    made = chunks(records, size, random.Random(1))
    assert [number for chunk in made for number in range(chunk.start, chunk.end)] == list(range(records))
    assert made[-1].persists
