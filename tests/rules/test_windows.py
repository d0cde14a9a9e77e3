"""When an alert of a window begins and ends, what it carries, and what is bounded."""

from __future__ import annotations

import random

import pytest

from schemas.alerts import fingerprint
from schemas.base import encode
from streams.rules.ruleset import RuleSet
from streams.rules.window import MAX_EVIDENCE, MAX_KEPT, Hit, Window, apply, settle
from tests.rules.simulation import Cluster, Line, episodes, rule_set

HEAD = "groups:\n- name: g\n  rules:\n  - {alert: A, input: logs, where: 'log == \"x\"', level: pod, "


def rules(fields: str) -> RuleSet:
    return rule_set(HEAD + fields + "}\n")


def line(time_ms: int, text: str = "x", pod: str = "p") -> Line:
    kubernetes = {"namespace_name": "n", "pod_name": pod, "container_name": "c"}
    return Line(time_ms, encode({"log": text, "kubernetes": kubernetes, "cluster": "lab"}))


def times(fields: str, *moments: int) -> list[tuple[int, int]]:
    cluster = Cluster(rules(fields), random.Random(1))
    cluster.produce_lines(line(ms) for ms in moments)
    cluster.run()
    return sorted((begin, end) for _, begin, end in episodes(cluster.alerts, cluster.start_ms))


@pytest.mark.parametrize(
    ("fields", "moments", "expected"),
    [
        ("count: 3, within: 10s", (1000, 2000, 3000), [(3000, 11_000)]),
        ("count: 3, within: 10s", (1000, 2000, 11_000), []),
        ("count: 3, within: 10s", (1001, 2000, 11_000), [(11_000, 11_001)]),
        ("count: 2, within: 1s", (1000, 1000), [(1000, 2000)]),
        ("count: 2, within: 1s", (1000, 1500, 1900, 2400), [(1500, 2900)]),
        ("count: 2, within: 1s", (1000, 1500, 3000, 3500), [(1500, 2000), (3500, 4000)]),
        ("count: 2, within: 1s, keep_firing_for: 5s", (1000, 1500, 3000, 3500), [(1500, 9000)]),
        ("count: 2, within: 1s, keep_firing_for: 5s", (1000, 1500, 5000), [(1500, 7000)]),
        ("count: 1, within: 1s", (1000, 1900, 5000), [(1000, 2900), (5000, 6000)]),
        ("keep_firing_for: 10s", (1000, 11_000, 30_000), [(1000, 21_000), (30_000, 40_000)]),
        ("type: any", (1000,), [(1000, 301_000)]),
        ("keep_firing_for: 0s", (1000, 5000), [(1000, 1001), (5000, 5001)]),
    ],
)
def test_begin_and_end(fields: str, moments: tuple[int, ...], expected: list[tuple[int, int]]) -> None:
    assert times(fields, *moments) == expected


def test_an_observation_says_what_alertmanager_would() -> None:
    cluster = Cluster(
        rules("count: 2, within: 10s, for: 1m, severity: critical, labels: {team: shop}, group_by: [log], annotations: "
              "{summary: '{{ labels.pod }} {{ labels.container }} {{ count }} in {{ within }}: {{ message }}'}"),
        random.Random(1),
    )  # fmt: skip
    cluster.produce_lines([line(1000), line(2000)])
    cluster.run()
    fired, resolved = cluster.alerts
    about = {"cluster": "lab", "namespace": "n", "pod": "p", "log": "x"}
    assert fired.labels == {"alertname": "A", "severity": "critical", "team": "shop"} | about
    assert fired.fingerprint == resolved.fingerprint == fingerprint(fired.labels)
    assert fired.annotations == {"summary": "p c 2 in 10s: x"}
    assert (fired.for_ms, fired.source, fired.cluster) == (60_000, "rule/A", "lab")
    assert [(each.offset, each.time_ms - cluster.start_ms, each.excerpt) for each in fired.evidence] == [
        (0, 1000, "x"),
        (1, 2000, "x"),
    ]
    assert fired.ends_at_ms == 0 < resolved.ends_at_ms == resolved.observed_at_ms


def test_groups_are_apart_and_records_without_what_the_level_is_about_are_no_match() -> None:
    cluster = Cluster(rules("count: 2, within: 10s"), random.Random(1))
    cluster.produce_lines([line(1000, pod="a"), line(1100, pod="b"), line(1200, pod=""), line(1300, pod="")])
    cluster.run()
    assert not cluster.alerts


def test_a_firing_alert_is_observed_again_now_and_then() -> None:
    cluster = Cluster(rules("keep_firing_for: 1m"), random.Random(1))
    cluster.produce_lines(line(ms) for ms in range(1000, 100_000, 1000))
    cluster.run()
    assert [a.observed_at_ms - cluster.start_ms for a in cluster.alerts] == [1000, 31_000, 61_000, 91_000, 159_000]
    assert all(len(alert.evidence) <= MAX_EVIDENCE for alert in cluster.alerts)


@pytest.mark.parametrize("count", [100, 1000, 5000])
def test_a_window_is_bounded_and_counts_right(count: int) -> None:
    """Exact up to half of what is kept; beyond, less than a slot off."""
    rule = rules(f"count: {count}, within: 60s").rules["A"]
    window = Window(rule="A", rule_hash="", group={})
    begins = []
    for offset in range(20_000):
        hit = Hit(time_ms=1_000_000 + offset * 10, topic="logs", partition=0, offset=offset)
        window, changes = apply(window, rule, hit, hit.time_ms)
        begins += [c.episode.starts_at_ms for c in changes if not c.ends_at_ms]
        assert len(window.kept) <= MAX_KEPT
    assert begins[0] == 1_000_000 + (count - 1) * 10
    last = 1_000_000 + 19_999 * 10
    _, (end,) = settle(window, rule, 10_000_000)
    exact = last - (count - 1) * 10 + 60_000
    assert 0 <= end.ends_at_ms - exact <= (0 if count <= MAX_KEPT // 2 else 60_000 * 2 // MAX_KEPT)


def test_a_late_match_counts_in_its_place_but_moves_nothing_that_was_said() -> None:
    rule = rules("count: 3, within: 10s").rules["A"]
    window = Window(rule="A", rule_hash="", group={})

    def hit(time_ms: int, late: bool = False) -> list[tuple[int, int]]:
        nonlocal window
        window, changes = apply(window, rule, Hit(time_ms=time_ms, topic="logs", partition=0, offset=0, late=late), 0)
        return [(c.episode.starts_at_ms, c.ends_at_ms) for c in changes]

    assert hit(1000) == hit(3000) == []
    assert hit(2000, late=True) == [(3000, 0)]
    assert hit(2500, late=True) == []
    assert window.episode is not None
    assert window.episode.below_ms == 12_000
    window, changes = settle(window, rule, 20_000)
    assert [(c.episode.starts_at_ms, c.ends_at_ms) for c in changes] == [(3000, 12_000)]
    assert hit(4000, late=True) == []
