"""The rule path without Kafka, on lines with times that count from a start."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from schemas.alerts import Alert
from streams.record import Record
from streams.rules.document import parse_document
from streams.rules.rehearsal import Disturbance, Rehearsal
from streams.rules.ruleset import RuleSet

TOPIC = "logs"
NOW_MS = 1_800_000_000_000


TYPES = {
    "Change": "level: pod, type: change, field: v, keep_firing_for: 8s",
    "Term": "level: pod, type: new_term, field: v, within: 1m, learn: 2s, keep_firing_for: 8s",
    "Seq": "level: pod, type: sequence, steps: [v == 1, v == 2], within: 9s, keep_firing_for: 8s",
    "Not": "level: pod, type: sequence, steps: [v == 1], unless: v == 2, within: 9s, keep_firing_for: 8s",
    "Join": "level: pod, type: join, steps: [v == 1, v == 3], within: 9s, keep_firing_for: 8s",
    "Card": "level: pod, type: cardinality, field: v, above: 2, within: 9s",
    "Avg": "level: pod, type: metric, field: v, above: 2, within: 9s",
    "Share": "type: percentage_match, match: v == 1, above: 40, count: 2, within: 9s",
    "Spike": "type: spike, times: 2, count: 2, within: 9s",
    "Flat": "level: pod, type: flatline, count: 2, within: 9s, forget: 30s",
    "Black": "type: blacklist, field: v, values: [3], keep_firing_for: 5s",
    "Expr": "type: expression, counts: {one: v == 1, three: v == 3}, expression: one > three && one > 1, within: 9s",
    "Tumb": "level: pod, type: frequency, count: 2, within: 9s, window: tumbling",
    "Hop": "level: pod, type: metric, field: v, aggregate: sum, above: 3, within: 9s, window: hopping, hop: 3s",
    "Sess": "level: pod, type: cardinality, field: v, above: 1, within: 30s, window: session, gap: 2s",
    "Sever": "type: metric, field: v, aggregate: sum, above: {warning: 2, critical: 6}, within: 9s, on_no_data: keep",
    "White": "type: whitelist, field: v, values: [0, 1, 2], keep_firing_for: 5s",
}
EVERY_TYPE = "groups:\n- name: every-type\n  rules:\n" + "".join(
    f"  - {{alert: {name}, input: logs, where: has(v), {fields}}}\n" for name, fields in TYPES.items()
)
"""Rules of all types but `any` and `frequency`, over records with a number `v`."""


def rule_set(text: str) -> RuleSet:
    rules, errors = parse_document(text, "test.yaml")
    assert not errors, errors
    return RuleSet(rules)


@dataclass
class Line:
    """One source record: its event time relative to the start, and its JSON."""

    time_ms: int
    value: bytes


class Cluster(Rehearsal):
    """A rehearsal of the topic `logs` whose records begin an hour before `NOW_MS`; `shape`: of the disturbance."""

    def __init__(
        self,
        rules: RuleSet,
        rng: random.Random,
        *,
        start_ms: int = NOW_MS - 3_600_000,
        clock_ms: int = NOW_MS,
        lateness_ms: int = 0,
        batch: int = 5,
        **shape: Any,
    ) -> None:
        disturbance = Disturbance(batch=batch, **shape)
        super().__init__(rules, TOPIC, clock_ms, rng, disturbance, cluster="c", lateness_ms=lateness_ms)
        self.start_ms = start_ms
        self._told = 0

    def produce_lines(self, lines: Iterable[Line]) -> None:
        first = self._told
        records = [
            Record(TOPIC, 0, number, f"r-{number}".encode(), line.value, self.start_ms + line.time_ms)
            for number, line in enumerate(lines, first)
        ]
        self._told += len(records)
        self.produce(records)


def episodes(alerts: Iterable[Alert], start_ms: int) -> set[tuple[str, int, int]]:
    """(fingerprint, begin, end) of every episode, relative to the start; end -1: it still fires."""
    out: dict[tuple[str, int], int] = {}
    for alert in alerts:
        key = alert.fingerprint, alert.starts_at_ms - start_ms
        assert out.get(key, -1) == -1 or alert.ends_at_ms, "observed again after its end"
        out[key] = alert.ends_at_ms - start_ms if alert.ends_at_ms else -1
    return {(*key, end) for key, end in out.items()}
