"""Rules over `metrics`, and `platform.control` -> `alerts`: asks a Prometheus for each rule, at its interval.

Key: tenant/fingerprint, out. Guarantee: one owner evaluates (whoever holds the one partition of `platform.control`, of
which nothing else is used here); what is pending or firing, and since when, is written down before it is told, so that
`kill -9` costs no progress of a `for` and repeats the last observations at most. Without EVENTSPHERE_PROMETHEUS__URL
such rules are not evaluated, and the log says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import structlog

from schemas.alerts import Alert
from schemas.base import Event
from schemas.rule_document import Rule
from streams.errors import Fatal, Retryable
from streams.metrics import METRIC_RULES
from streams.prometheus import Failed, Prometheus, Result, wrong_url
from streams.record import Outgoing, Record
from streams.rules.alert import outgoing
from streams.rules.held import Rules, rules_of
from streams.rules.metric_state import RuleState, due_at, ended, evaluated, fresh, of_rules
from streams.state import State

if TYPE_CHECKING:
    from streams.keyed import Keyed
    from streams.worker import Worker

NAME = "evaluate-metrics"
TOPIC = "platform.control"
LOOK_S = 0.25

log = structlog.get_logger(__name__)


class Entry(Event, frozen=True, kw_only=True):
    """One rule: its alerts (`r/<key>`, only where it has or had some), or when it was last evaluated (`t/<key>`)."""

    state: RuleState | None = None
    last_ms: int = 0


class EvaluateMetrics:
    version = 1
    entry = Entry

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster

    def decide(self, state: State[Entry], record: Record) -> Iterable[Outgoing]:
        """The topic only says who evaluates."""
        return ()

    def tick(self, state: State[Entry], now_ms: int) -> Iterable[Outgoing]:
        return ()

    def due(self, state: State[Entry], rules: Iterable[Rule], now_ms: int) -> list[tuple[Rule, int]]:
        """Rules to be evaluated now, and at which time. What a worker slept through is not made up for."""
        out = []
        for rule in of_rules(rules):
            at_ms = due_at(rule.key, rule.every_ms, now_ms)
            if at_ms > _last_ms(state, rule.key):
                out.append((rule, at_ms))
        return out

    def apply(self, state: State[Entry], results: Iterable[tuple[Rule, int, Result]]) -> list[Outgoing]:
        """Write down what these evaluations mean; an older one than the last is not applied."""
        out: list[Alert] = []
        for rule, at_ms, result in results:
            last_ms = _last_ms(state, rule.key)
            if at_ms <= last_ms:
                continue
            out += self._retired(state, rule.key, at_ms, unless=rule.hash)
            kept = state.get(f"r/{rule.key}")
            before = kept.state if kept and kept.state else fresh(rule, self._cluster)
            after, said = evaluated(rule, before, result, at_ms, last_ms)
            out += said
            if after != before:
                state[f"r/{rule.key}"] = Entry(state=after)
            state[f"t/{rule.key}"] = Entry(last_ms=at_ms)
        return [outgoing(alert) for alert in out]

    def forget(self, state: State[Entry], known: Iterable[str], now_ms: int) -> list[Outgoing]:
        """End the alerts of rules that are gone. `known`: the keys of those there are."""
        keys = set(known)
        gone = sorted({key[2:] for key in state if key[2:] not in keys})
        out: list[Alert] = []
        for key in gone:
            out += self._retired(state, key, now_ms)
            state.pop(f"t/{key}", None)
        return [outgoing(alert) for alert in out]

    def _retired(self, state: State[Entry], key: str, at_ms: int, unless: str = "") -> list[Alert]:
        kept = state.get(f"r/{key}")
        if kept is None or kept.state is None or kept.state.rule_hash == unless:
            return []
        del state[f"r/{key}"]
        return ended(kept.state, at_ms)


def _last_ms(state: State[Entry], key: str) -> int:
    entry = state.get(f"t/{key}")
    return entry.last_ms if entry else 0


class Evaluator:
    """Asks for what is due, and writes down what came."""

    def __init__(
        self,
        ledger: Keyed[Entry],
        core: EvaluateMetrics,
        rules: Rules,
        prometheus: Prometheus,
        clock: Callable[[], int],
        at_once: int,
    ) -> None:
        self._ledger = ledger
        self._core = core
        self._rules = rules
        self._prometheus = prometheus
        self._clock = clock
        self._limit = asyncio.Semaphore(at_once)

    async def run(self) -> None:
        """Until cancelled."""
        await self._rules.wait()
        while True:
            for partition in list(self._ledger.partitions):
                try:
                    await self._look(partition)
                except Retryable as error:
                    log.warning("metrics.not_written", partition=partition, reason=error.reason)
            await asyncio.sleep(LOOK_S)

    async def _look(self, partition: int) -> None:
        now_ms, rules = self._clock(), self._rules.current
        asking = list(of_rules(rules.rules.values()))
        due = await self._ledger.apply(partition, lambda state: (self._core.due(state, asking, now_ms), ()))
        if due:
            results = await asyncio.gather(*(self._ask(rule, at_ms) for rule, at_ms in due))
            await self._ledger.apply(partition, lambda state: (None, self._core.apply(state, results)))
        if rules.complete:
            keys = [rule.key for rule in asking]
            await self._ledger.apply(partition, lambda state: (None, self._core.forget(state, keys, now_ms)))

    async def _ask(self, rule: Rule, at_ms: int) -> tuple[Rule, int, Result]:
        async with self._limit:
            result = await self._prometheus.ask(rule.query, at_ms)
        METRIC_RULES.labels(result.reason if isinstance(result, Failed) else "ok").inc()
        if isinstance(result, Failed):
            log.warning("metrics.query_failed", rule=rule.key, reason=result.reason, detail=result.detail)
        return rule, at_ms, result


def register(worker: Worker) -> None:
    settings, rules = worker.settings, rules_of(worker)
    core = EvaluateMetrics(settings.cluster.name or "local")
    worker.stateful(NAME, TOPIC, core)
    if not settings.prometheus.url:
        if any(of_rules(rules.current.rules.values())):
            log.warning("metrics.no_prometheus", expected="EVENTSPHERE_PROMETHEUS__URL")
        return
    if why := wrong_url(settings.prometheus.url):
        raise Fatal("prometheus_url", f"EVENTSPHERE_PROMETHEUS__URL: {why}")

    async def evaluate() -> None:
        prometheus = Prometheus(settings.prometheus)
        try:
            await Evaluator(
                worker.keyed[NAME], core, rules, prometheus, worker.clock, settings.prometheus.at_once
            ).run()
        finally:
            await prometheus.close()

    worker.task(NAME, evaluate)
