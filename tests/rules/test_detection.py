"""Each detection type on a short history: when its alert begins and ends."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.base import encode
from streams.rules.document import parse_document
from streams.rules.ruleset import RuleSet
from tests.rules.simulation import EVERY_TYPE, Cluster, Line, episodes, rule_set

Step = tuple[int, dict[str, Any]]


def rules(fields: str) -> RuleSet:
    return rule_set(f"groups: [{{name: g, rules: [{{alert: A, input: logs, where: has(log), {fields}}}]}}]")


def lines(history: list[Step]) -> list[Line]:
    return [Line(ms, encode({"log": "x"} | fields)) for ms, fields in history]


def outcome(of: RuleSet, history: list[Step]) -> list[tuple[int, int]]:
    cluster = Cluster(of, random.Random(0), lateness_ms=0)
    cluster.produce_lines(lines(history))
    cluster.run()
    return sorted((begin, end) for _, begin, end in episodes(cluster.alerts, cluster.start_ms))


def s(*seconds: float, **fields: Any) -> list[Step]:
    return [(int(second * 1000), fields) for second in seconds]


@pytest.mark.parametrize(
    ("fields", "history", "expected"),
    [
        # blacklist and whitelist: a value is in the list or not; no value is neither
        ("type: blacklist, field: user, values: [eve], keep_firing_for: 10s",
         s(1, user="eve") + s(2, user="bob") + s(30) + s(40, user="eve"), [(1000, 11_000), (40_000, 50_000)]),
        ("type: whitelist, field: code, values: [200, 204], keep_firing_for: 10s",
         s(1, code=200) + s(2, code=500) + s(30), [(2000, 12_000)]),
        # change: another value than before, not the first one
        ("type: change, field: image, keep_firing_for: 10s",
         s(1, 2, image="a") + s(30, image="b") + s(31, image="b"), [(30_000, 40_000)]),
        ("type: change, field: image, within: 5s, keep_firing_for: 10s",
         s(1, image="a") + s(30, image="b") + s(32, image="a"), [(32_000, 42_000)]),
        # new_term: not seen for ten minutes, after a minute of learning
        ("type: new_term, field: user, within: 10m, learn: 1m, keep_firing_for: 10s",
         s(1, user="a") + s(20, user="b") + s(90, user="a") + s(91, user="c") + s(900, user="c"),
         [(91_000, 101_000), (900_000, 910_000)]),
        # expression: over how often each of several conditions was met
        ('type: expression, counts: {bad: "v == 0", all: "true"}, expression: "all > 3 && bad / all > .4", within: 10s',
         s(1, 2, 3, v=1) + s(4, 5, v=0) + s(8, v=1), [(12_000, 13_000)]),
        ('type: expression, counts: {bad: "v == 0", all: "has(v)"}, expression: "bad / all > 0.6", within: 10s',
         s(1, 2, v=1) + s(3, 4, v=0), [(11_000, 14_000)]),
        # windows that do not slide: [0, 10], (10, 20], ... each by itself, looked at when it is over
        ("count: 3, within: 10s, window: tumbling", s(1, 2, 12, 13) + s(14) + s(35), [(20_000, 30_000)]),
        ("count: 3, within: 10s, window: hopping, hop: 5s", s(8, 9, 12), [(15_000, 20_000)]),
        ("count: 3, within: 1m, window: session, gap: 5s", s(1, 4, 8, 12) + s(20, 21), [(8000, 17_000)]),
        ("type: metric, field: v, aggregate: sum, above: 5, within: 10s, window: tumbling",
         s(1, 9, v=3) + s(11, v=3), [(10_000, 20_000)]),
        ("type: cardinality, field: v, above: 1, within: 1m, window: session, gap: 5s",
         s(1, v=1) + s(9, v=2) + s(12, v=3), [(12_000, 17_000)]),
        # nothing to measure
        ("type: metric, field: v, above: 5, within: 10s, on_no_data: keep", s(1, v=9) + s(60, v=1), [(1000, 60_000)]),
        ("type: metric, field: v, above: 5, within: 10s, on_no_data: firing, forget: 30s",
         s(1, v=1), [(11_000, 31_000)]),
        ("type: metric, field: v, above: 5, within: 10s, on_no_data: no_data, forget: 30s", s(1, v=9) + s(13, v=1),
         [(1000, 11_000), (11_000, 13_000), (23_000, 43_000)]),
        # severity by value: another severity is another alert
        ("type: metric, field: v, aggregate: sum, above: {warning: 2, critical: 6}, within: 10s",
         s(1, v=3) + s(4, v=5) + s(12, v=1), [(1000, 4000), (4000, 11_000), (11_000, 14_000)]),
        ("type: metric, field: v, aggregate: min, below: {warning: 5, critical: 2}, within: 10s, keep_firing_for: 5s",
         s(1, v=4) + s(3, v=1), [(1000, 3000), (3000, 18_000)]),
        # sequence: in this order, within the time
        ('type: sequence, steps: ["step == 1", "step == 2"], within: 10s, keep_firing_for: 10s',
         s(1, step=2) + s(2, step=1) + s(5, step=2) + s(6, step=2) + s(30, step=1) + s(41, step=2), [(5000, 15_000)]),
        ('type: sequence, steps: ["step == 1"], unless: "step == 2", within: 10s, keep_firing_for: 20s',
         s(1, step=1) + s(5, step=2) + s(30, step=1), [(40_000, 60_001)]),
        # join: in any order, within the time
        ('type: join, steps: ["step == 1", "step == 2"], within: 10s, keep_firing_for: 10s',
         s(1, step=2) + s(5, step=1) + s(30, step=1) + s(41, step=2), [(5000, 15_000)]),
        # cardinality: more than two users within ten seconds
        ("type: cardinality, field: user, above: 2, within: 10s",
         s(1, user="a") + s(2, 3, user="b") + s(4, user="c") + s(5, user="a"), [(4000, 13_000)]),
        ("type: cardinality, field: user, below: 2, within: 10s",
         s(1, user="a") + s(2, user="b") + s(8, user="a") + s(14, user="b"), [(12_000, 14_000), (18_000, 24_000)]),
        # metric
        ("type: metric, field: ms, aggregate: avg, above: 100, within: 10s",
         s(1, ms=50) + s(2, ms=250) + s(8, ms=0) + s(9, ms="none"), [(2000, 8000), (11_000, 12_000)]),
        ("type: metric, field: ms, aggregate: sum, above: 5, within: 10s",
            s(1, 2, ms=3) + s(20, ms=9), [(2000, 11_000), (20_000, 30_000)]),
        ("type: metric, field: ms, aggregate: max, above: 5, within: 10s", s(1, ms=3) + s(2, ms="7"), [(2000, 12_000)]),
        ("type: metric, field: ms, aggregate: min, below: 5, within: 10s", s(1, ms=3) + s(2, ms=7), [(1000, 11_000)]),
        ("type: metric, field: ms, aggregate: p90, above: 5, within: 100s",
         s(*range(1, 10), ms=1) + s(10, 11, ms=9), [(11_000, 111_000)]),
        ("type: metric, aggregate: count, above: 1, within: 10s", s(1, 2), [(2000, 11_000)]),
        # percentage_match: more than half, of at least three
        ('type: percentage_match, match: "code >= 500", above: 50, count: 3, within: 10s',
         s(1, 2, code=500) + s(3, code=200) + s(4, 5, code=200), [(3000, 4000)]),
        # spike: three times as many as in the ten seconds before
        ("type: spike, times: 3, count: 3, within: 10s", s(1, 12, 13, 14), [(14_000, 22_000)]),
        ("type: spike, times: 3, direction: down, count: 3, within: 10s", s(1, 2, 3, 12), [(13_000, 21_000)]),
        # flatline: known, and fewer than two within ten seconds; forgotten after a minute
        ("type: flatline, count: 2, within: 10s, forget: 1m",
         s(1, 5, 9, 30, 35), [(15_000, 35_000), (40_000, 95_000)]),
    ],
)  # fmt: skip
def test_begin_and_end(fields: str, history: list[Step], expected: list[tuple[int, int]]) -> None:
    assert outcome(rules(fields), history) == expected


ALL = rule_set(EVERY_TYPE)

histories = st.lists(st.tuples(st.integers(1, 9000), st.integers(0, 1), st.integers(0, 4)), min_size=1, max_size=40)


def records(steps: list[tuple[int, int, int]]) -> list[Line]:
    now, out = 0, []
    for gap, pod, value in steps:
        now += gap
        kubernetes = {"namespace_name": "n", "pod_name": f"p{pod}"}
        out.append(Line(now, encode({"log": "x", "v": value, "kubernetes": kubernetes})))
    return out


def told(
    steps: list[tuple[int, int, int]], seed: int, *, running: bool = False, **shape: Any
) -> set[tuple[str, int, int]]:
    """`running`: time was at the clock already when these records of an hour ago came."""
    rng = random.Random(seed)
    out = sorted(records(steps), key=lambda line: line.time_ms + rng.randrange(shape.get("lateness_ms", 0) or 1))
    cluster = Cluster(ALL, rng, **shape)
    if running:
        cluster.tell()
    cluster.produce_lines(out)
    cluster.run()
    return episodes(cluster.alerts, cluster.start_ms)


@settings(max_examples=60, deadline=None)
@given(histories, st.integers(0, 1 << 30))
def test_partitions_repeats_restarts_and_batches_change_nothing(steps: list[tuple[int, int, int]], seed: int) -> None:
    expected = told(steps, 0)
    assert told(steps, seed, partitions=8, windows=3, repeats=0.3, moves=0.1, told_again=0.3) == expected
    assert told(steps, seed + 1, partitions=3, batch=50) == expected
    assert told(steps, seed + 2, partitions=8, windows=3, running=True) == expected
    assert told(steps, seed + 3, partitions=4, windows=2, lateness_ms=4000) == expected


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("type: cardinality, field: user, within: 5m", "expected one of above and below"),
        ("type: cardinality, field: user, above: 1, below: 5, within: 5m", "expected one of above and below"),
        ("type: metric, above: 3, within: 5m", "expected field"),
        ("type: metric, field: x, aggregate: median, above: 3, within: 5m", "expected one of sum, avg"),
        ("type: metric, field: x, above: many, within: 5m", "expected a number"),
        ("type: change, field: 'a b'", "expected a field of the record"),
        ("type: any, field: x", "belongs to type: cardinality or metric"),
        ("type: blacklist, field: x, values: []", "expected 1 to 1000 values"),
        ("type: sequence, steps: [has(a)], within: 5m", "expected 2 to 8 conditions"),
        ("type: sequence, steps: [has(a), 'b('], within: 5m", "steps[1]"),
        ("type: spike, times: 0.5, within: 5m", "expected 1 or more"),
        ("type: spike, times: 2, direction: sideways, within: 5m", "expected one of up, down, both"),
        ("type: flatline, count: 2", "expected within"),
    ],
)
def test_what_is_refused_says_why(fields: str, says: str) -> None:
    text = f"groups: [{{name: g, rules: [{{alert: A, input: logs, where: has(log), {fields}}}]}}]"
    found, errors = parse_document(text, "f.yaml")
    assert not found
    assert any(says in line for line in errors), errors
