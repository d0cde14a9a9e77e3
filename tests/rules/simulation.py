"""The rule path without Kafka: source partitions, matchers, `rules.matches`, windows, in any interleaving.

Everything but the transport is the real code. What varies between runs is what may vary on a cluster: how records are
spread, in which order partitions are read, when progress is told, what is read again after a crash, when state moves.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from agents.evaluate_windows import EvaluateWindows
from schemas.alerts import Alert
from schemas.base import encode
from schemas.rules import Progress
from streams.batch import batch_of
from streams.record import Outgoing, Record
from streams.rules.document import parse_document
from streams.rules.evaluation import Entry
from streams.rules.matching import matches
from streams.rules.reading import Reading
from streams.rules.ruleset import RuleSet
from streams.rules.subject import NoOwners
from streams.state import State

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


@dataclass
class Cluster:
    """`partitions` of the source, `windows` partitions of rules.matches. `told_again`: share of records that their
    source, killed and started again, produces a second time after the next few."""

    rules: RuleSet
    rng: random.Random
    partitions: int = 1
    windows: int = 1
    batch: int = 5
    repeats: float = 0.0
    told_again: float = 0.0
    moves: float = 0.0
    lateness_ms: int = 0
    start_ms: int = NOW_MS - 3_600_000
    clock_ms: int = NOW_MS
    alerts: list[Alert] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.core = EvaluateWindows(lambda: self.rules, self.lateness_ms)
        self.states: list[State[Entry]] = [State(partition=p) for p in range(self.windows)]
        self.logs: list[list[Record]] = [[] for _ in range(self.partitions)]
        self.positions = [0] * self.partitions
        self.reading = Reading()
        self._offsets = [0] * self.windows
        self._told = 0

    def produce(self, lines: Iterable[Line]) -> None:
        told: list[tuple[int, Line]] = list(enumerate(lines, self._told))
        again = [(at + self.rng.randrange(5), number, line) for at, (number, line) in enumerate(told)]
        self._told += len(told)
        again = [each for each in again if self.rng.random() < self.told_again]
        for at, number, line in sorted(again, key=lambda each: each[0], reverse=True):
            told.insert(at + 1, (number, line))
        for number, line in told:
            partition = self.rng.randrange(self.partitions)
            log = self.logs[partition]
            key = f"r-{number}".encode()
            log.append(Record(TOPIC, partition, len(log), key, line.value, self.start_ms + line.time_ms))

    def run(self) -> None:
        """Read everything, then let time pass until nothing can happen any more."""
        while unread := [p for p in range(self.partitions) if self.positions[p] < len(self.logs[p])]:
            self._read(self.rng.choice(unread))
            self.clock_ms += self.rng.randrange(1, 300)
            if self.rng.random() < 0.5:
                self.tell()
        for _ in range(8):
            self.clock_ms += 2_000
            self.tell()
        self.clock_ms += 86_400_000
        self.tell()
        self.tell()

    def _read(self, partition: int) -> None:
        first = self.positions[partition]
        records = self.logs[partition][first : first + self.rng.randrange(1, self.batch + 1)]
        self._match(records)
        if self.rng.random() < self.repeats:
            self._match(self.logs[partition][max(0, first - 3) : first + len(records)])
        self.positions[partition] += len(records)

    def _match(self, records: Sequence[Record]) -> None:
        batch = batch_of(records)
        matcher = self.rules.matchers[TOPIC]
        found = matches(matcher, batch, cluster="c", owned=NoOwners(), now_ms=self.clock_ms)
        for record in found.matches:
            assert record.key is not None
            self._send(int(record.key, 16) % self.windows, record)
        self.reading.read(batch, self.clock_ms)

    def tell(self) -> None:
        positions = {(TOPIC, p): self.positions[p] for p in range(self.partitions)}
        ends = {(TOPIC, p): len(self.logs[p]) for p in range(self.partitions)}
        marks = self.reading.marks(positions, ends, self.clock_ms)
        progress = Progress(marks=marks, partitions={TOPIC: self.partitions})
        for partition in range(self.windows):
            self._send(partition, Outgoing("rules.matches", encode(progress)))

    def _send(self, partition: int, outgoing: Outgoing) -> None:
        if self.rng.random() < self.moves:
            self.states[partition] = moved(self.states[partition])
        record = Record(
            "rules.matches", partition, self._offsets[partition], outgoing.key, outgoing.value, self.clock_ms
        )
        self._offsets[partition] += 1
        for alert in self.core.decide(self.states[partition], record):
            assert alert.value is not None
            self.alerts.append(msgspec.json.decode(alert.value, type=Alert))
        self.states[partition].clean()


def moved(state: State[Entry]) -> State[Entry]:
    """The state as another worker restores it."""
    entries = {key: msgspec.json.decode(encode(entry), type=Entry) for key, entry in state.items()}
    return State(entries, partition=state.partition)


def episodes(alerts: Iterable[Alert], start_ms: int) -> set[tuple[str, int, int]]:
    """(fingerprint, begin, end) of every episode, relative to the start; end -1: it still fires."""
    out: dict[tuple[str, int], int] = {}
    for alert in alerts:
        key = alert.fingerprint, alert.starts_at_ms - start_ms
        assert out.get(key, -1) == -1 or alert.ends_at_ms, "observed again after its end"
        out[key] = alert.ends_at_ms - start_ms if alert.ends_at_ms else -1
    return {(*key, end) for key, end in out.items()}
