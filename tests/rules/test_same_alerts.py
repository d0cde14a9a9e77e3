"""The same records give the same episodes, however they are spread, read, repeated and moved."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.base import encode
from tests.rules.simulation import Cluster, Line, episodes, rule_set

RULES = rule_set("""
groups:
- name: test
  rules:
  - alert: Burst
    input: logs
    where: log.contains("error")
    level: namespace
    count: 3
    within: 10s
  - alert: Held
    input: logs
    where: log.contains("error") && stream == "stderr"
    level: pod
    count: 2
    within: 5s
    keep_firing_for: 20s
  - alert: Any
    input: logs
    where: log.matches("fatal|panic")
    level: pod
    keep_firing_for: 15s
""")


def line(time_ms: int, pod: int, text: str) -> Line:
    record = {
        "log": text,
        "stream": "stderr",
        "kubernetes": {"namespace_name": f"n{pod % 2}", "pod_name": f"p{pod}"},
    }
    return Line(time_ms, encode(record))


times = st.lists(
    st.tuples(
        st.integers(1, 9_000),
        st.integers(0, 3),
        st.sampled_from(["an error here", "fatal: gone", "fine", "error panic"]),
    ),
    min_size=1,
    max_size=60,
)


def lines_of(steps: Sequence[tuple[int, int, str]]) -> list[Line]:
    out, now = [], 0
    for gap, pod, text in steps:
        now += gap
        out.append(line(now, pod, text))
    return out


def outcome(lines: Sequence[Line], seed: int, **shape: float) -> set[tuple[str, int, int]]:
    cluster = Cluster(RULES, random.Random(seed), **shape)  # type: ignore[arg-type]
    cluster.produce_lines(lines)
    cluster.run()
    return episodes(cluster.alerts, cluster.start_ms)


@settings(max_examples=150, deadline=None)
@given(times, st.integers(0, 1 << 30))
def test_partitions_batches_repeats_and_moves_change_nothing(steps: list[tuple[int, int, str]], seed: int) -> None:
    lines = lines_of(steps)
    expected = outcome(lines, 0)
    assert outcome(lines, seed, partitions=8, windows=3, repeats=0.3, moves=0.05) == expected
    assert outcome(lines, seed + 1, partitions=3, windows=1, batch=50) == expected


@settings(max_examples=100, deadline=None)
@given(times, st.integers(0, 1 << 30))
def test_records_their_source_tells_twice_change_nothing(steps: list[tuple[int, int, str]], seed: int) -> None:
    lines = lines_of(steps)
    assert outcome(lines, seed, partitions=4, windows=2, told_again=0.4) == outcome(lines, 0)


@settings(max_examples=100, deadline=None)
@given(times, st.integers(0, 1 << 30))
def test_old_records_on_a_running_system_are_put_in_order_too(steps: list[tuple[int, int, str]], seed: int) -> None:
    """Time was at the clock already when a replay of an hour ago began."""
    lines = lines_of(steps)
    results = []
    for partitions, windows in ((1, 1), (8, 3)):
        cluster = Cluster(RULES, random.Random(seed), partitions=partitions, windows=windows)
        cluster.tell()
        cluster.produce_lines(lines)
        cluster.run()
        results.append(episodes(cluster.alerts, cluster.start_ms))
    assert results[0] == results[1] == outcome(lines, 0)


@settings(max_examples=60, deadline=None)
@given(times, st.integers(0, 1 << 30), st.integers(1, 5_000))
def test_disorder_within_the_lateness_changes_nothing(
    steps: list[tuple[int, int, str]], seed: int, lateness_ms: int
) -> None:
    lines = lines_of(steps)
    rng = random.Random(seed)
    shuffled = sorted(lines, key=lambda each: each.time_ms + rng.randrange(lateness_ms))
    assert outcome(shuffled, seed, partitions=4, windows=2, lateness_ms=lateness_ms) == outcome(lines, 0)


@pytest.mark.parametrize("seed", range(3))
def test_every_episode_ends_and_times_are_those_of_records(seed: int) -> None:
    lines = [line(t, 0, "error") for t in (1000, 2000, 12_500, 13_000, 14_000, 40_000)]
    found = outcome(lines, seed, partitions=4)
    # Burst: three within 10 s at 14 000, fewer than three from 22 500 on. Held: two within 5 s, then 20 s more.
    assert {(begin, end) for _, begin, end in found} == {(14_000, 22_500), (2000, 38_000)}
