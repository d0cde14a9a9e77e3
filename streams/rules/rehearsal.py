"""Rules over given records, without Kafka: what they would have said. Everything but the transport is the real code.

What may differ between clusters and days can be made to differ here: how records are spread over partitions, in which
order these are read, when progress is told, what is read or told again after a crash, when state moves to another
worker. None of it may change an alert.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from schemas.alerts import Alert
from schemas.base import encode
from schemas.rules import Match, Progress
from streams.batch import batch_of
from streams.owners import Owners
from streams.record import Outgoing, Record
from streams.rules.evaluation import Entry, Evaluation
from streams.rules.matching import matches
from streams.rules.reading import Reading
from streams.rules.ruleset import RuleSet
from streams.rules.subject import Owned
from streams.state import State

DAY_MS = 86_400_000
TP = tuple[str, int]


class Disturbance(NamedTuple):
    """`repeats`: share of batches read again; `told_again`: of records their source produces a second time after the
    next few; `moves`: of steps at which the state moves to another worker."""

    partitions: int = 1
    windows: int = 1
    batch: int = 500
    repeats: float = 0.0
    told_again: float = 0.0
    moves: float = 0.0


CALM = Disturbance()
ROUGH = Disturbance(partitions=8, windows=3, batch=7, repeats=0.3, told_again=0.2, moves=0.05)


class Rehearsal:
    """Of the records of some input topics. `clock_ms`: the time it is when they are read; it goes on as they are."""

    def __init__(
        self,
        rules: RuleSet,
        topics: str | Sequence[str],
        clock_ms: int,
        rng: random.Random,
        disturbance: Disturbance = CALM,
        *,
        cluster: str = "local",
        lateness_ms: int = 0,
        owned: Owned | None = None,
    ) -> None:
        self.rules = rules
        self.clock_ms = clock_ms
        self.alerts: list[Alert] = []
        """Observations, in the order they were made."""
        self._rng = rng
        self._how = disturbance
        self._cluster = cluster
        self._lateness_ms = lateness_ms
        self._owned = owned or Owners({})
        self._states: list[State[Entry]] = [State(partition=p) for p in range(disturbance.windows)]
        self._evaluations: dict[int, Evaluation] = {}
        self._logs: dict[TP, list[Record]] = {
            (topic, partition): []
            for topic in ([topics] if isinstance(topics, str) else topics)
            for partition in range(disturbance.partitions)
        }
        self._positions = dict.fromkeys(self._logs, 0)
        self._reading = Reading()

    def produce(self, records: Iterable[Record]) -> None:
        """Put records, given in order, onto the partitions."""
        told = list(records)
        again = [(at + self._rng.randrange(5), record) for at, record in enumerate(told)]
        again = [each for each in again if self._rng.random() < self._how.told_again]
        for at, record in sorted(again, key=lambda each: each[0], reverse=True):
            told.insert(at + 1, record)
        for record in told:
            partition = self._rng.randrange(self._how.partitions)
            log = self._logs[record.topic, partition]
            log.append(record._replace(partition=partition, offset=len(log)))

    def run(self, *, after_ms: int = 8 * DAY_MS) -> None:
        """Read everything, then let `after_ms` pass."""
        while unread := self.unread:
            self.read(self._rng.choice(unread))
            self.clock_ms += self._rng.randrange(1, 300)
            if self._rng.random() < 0.5:
                self.tell()
        for _ in range(8):
            self.clock_ms += 2_000
            self.tell()
        self.clock_ms += after_ms
        self.tell()
        self.tell()

    @property
    def unread(self) -> list[TP]:
        """Partitions that are not read to their end."""
        return [tp for tp, position in self._positions.items() if position < len(self._logs[tp])]

    def tell(self) -> None:
        """Say how far each partition is, as matchers do."""
        ends = {tp: len(log) for tp, log in self._logs.items()}
        marks = self._reading.marks(self._positions, ends, self.clock_ms)
        counts = {topic: self._how.partitions for topic, _ in self._logs}
        for window in range(self._how.windows):
            self._evaluate(window, Progress(marks=marks, partitions=counts))

    def read(self, place: TP) -> None:
        """Read the next batch of a partition."""
        first, log = self._positions[place], self._logs[place]
        records = log[first : first + self._rng.randrange(1, self._how.batch + 1)]
        self._match(records)
        if self._rng.random() < self._how.repeats:
            self._match(log[max(0, first - 3) : first + len(records)])
        self._positions[place] += len(records)

    def _match(self, records: Sequence[Record]) -> None:
        batch = batch_of(records)
        if matcher := self.rules.matchers.get(batch.topic):
            found = matches(matcher, batch, cluster=self._cluster, owned=self._owned, now_ms=self.clock_ms)
            for match in found.matches:
                self._evaluate(int(match.key or b"0", 16) % self._how.windows, _decoded(match))
        self._reading.read(batch, self.clock_ms)

    def _evaluate(self, window: int, message: Match | Progress) -> None:
        if self._rng.random() < self._how.moves:
            self._states[window] = moved(self._states[window])
        state, evaluation = self._states[window], self._evaluations.get(window)
        if evaluation is None or not evaluation.is_of(state, self.rules):
            evaluation = self._evaluations[window] = Evaluation(state, self.rules, self._lateness_ms)
        if isinstance(message, Match):
            evaluation.match(message)
        else:
            evaluation.progress(message)
        evaluation.keep_clocks()
        out, evaluation.out = evaluation.out, []
        self.alerts += [msgspec.json.decode(each.value or b"", type=Alert) for each in out]
        state.clean()


def rehearsed(
    rules: RuleSet, records: Sequence[Record], until_ms: int, seed: int = 0, disturbance: Disturbance = CALM
) -> list[Alert]:
    """What `rules` say of records of any topics, each in order of time, and of the time up to `until_ms`."""
    topics = sorted(rules.matchers)
    mine = [record for record in records if record.topic in rules.matchers]
    newest = max((record.timestamp_ms for record in mine), default=0)
    rehearsal = Rehearsal(rules, topics, newest + 60_000, random.Random(seed), disturbance)  # noqa: S311
    rehearsal.produce(mine)
    rehearsal.run(after_ms=max(0, until_ms - newest))
    return rehearsal.alerts


def _decoded(match: Outgoing) -> Match:
    return msgspec.json.decode(match.value or b"", type=Match)


def moved(state: State[Entry]) -> State[Entry]:
    """The state as another worker restores it."""
    entries = {key: msgspec.json.decode(encode(entry), type=Entry) for key, entry in state.items()}
    return State(entries, partition=state.partition)
