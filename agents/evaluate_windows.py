"""`rules.matches` -> `alerts`: counts the matches of each rule and group in event time, and observes their alerts.

Key: hash(rule, group) in, tenant/fingerprint out. Guarantee: the same source records give the same alerts whatever the
number of partitions and workers and the order partitions are read in; a match that comes again changes nothing. Time
passes only by what matchers say of their partitions (streams/rules/clock.py), never by the clock here.

A match from before that time is late. It is still counted, in its own place in time: it can begin an alert, but not
move the beginning of one that was already observed, and not make another one inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from schemas.base import UNREADABLE
from schemas.rules import Match, Progress
from streams.errors import Invalid, Retryable
from streams.record import Outgoing, Record
from streams.rules.evaluation import Entry, Evaluation
from streams.rules.held import rules_of
from streams.rules.ruleset import RuleSet
from streams.state import State

if TYPE_CHECKING:
    from streams.worker import Worker

NAME = "evaluate-windows"
_decoder = msgspec.json.Decoder(Match | Progress)


class EvaluateWindows:
    """`lateness_ms`: of rules that do not name theirs. `waits_for`: whether a match's rule is about to be known."""

    version = 1
    entry = Entry

    def __init__(
        self, rules: Callable[[], RuleSet], lateness_ms: int, waits_for: Callable[[Match], bool] = lambda _match: False
    ) -> None:
        self._rules = rules
        self._waits_for = waits_for
        self._lateness_ms = lateness_ms
        self._evaluations: dict[int, Evaluation] = {}

    def decide(self, state: State[Entry], record: Record) -> Iterable[Outgoing]:
        """Raises Invalid("decode") for what is neither a match nor progress, Retryable for a match that comes before
        its rule."""
        try:
            message = _decoder.decode(record.value or b"")
        except UNREADABLE as error:
            raise Invalid("decode", str(error)) from error
        if isinstance(message, Match) and message.version and self._waits_for(message):
            raise Retryable("rule_not_known_yet", message.rule)
        evaluation = self._evaluation(state)
        if isinstance(message, Match):
            evaluation.match(message)
        else:
            evaluation.progress(message)
        evaluation.keep_clocks()
        return _taken(evaluation)

    def tick(self, state: State[Entry], now_ms: int) -> Iterable[Outgoing]:
        """Alerts of rules that changed or went end; otherwise nothing happens by the clock."""
        return _taken(self._evaluation(state))

    def _evaluation(self, state: State[Entry]) -> Evaluation:
        rules = self._rules()
        known = self._evaluations.get(state.partition)
        if known is None or not known.is_of(state, rules):
            known = self._evaluations[state.partition] = Evaluation(state, rules, self._lateness_ms)
        return known


def _taken(evaluation: Evaluation) -> list[Outgoing]:
    out, evaluation.out = evaluation.out, []
    return out


def register(worker: Worker) -> None:
    rules = rules_of(worker)
    lateness_ms = int(worker.settings.worker.window_lateness_s * 1000)
    worker.stateful(NAME, "rules.matches", EvaluateWindows(lambda: rules.current, lateness_ms, rules.waits_for))
