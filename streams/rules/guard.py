"""Rules that take too much are left out of matching, and an alert says so (streams/rules/budget.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from streams.batch import Batch
from streams.metrics import QUARANTINES, RULE_ERRORS, RULES_ASIDE
from streams.record import Outgoing
from streams.rule_settings import RuleBudget
from streams.rules.alert import outgoing
from streams.rules.budget import Budget, Key, Quarantined, Taken, alert
from streams.rules.matcher import Matcher
from streams.rules.matching import Found, matches
from streams.rules.subject import Owned

log = structlog.get_logger(__name__)


class Guard:
    """Of one worker, called `worker`. What its functions return besides is to be sent."""

    def __init__(
        self, limits: RuleBudget, worker: str, cluster: str, cpu_s: Callable[[], float] = time.thread_time
    ) -> None:
        self._budget = Budget(limits, cpu_s)
        self._worker = worker
        self._cluster = cluster
        self._cpu_s = cpu_s
        self._left: dict[str, tuple[Matcher, frozenset[Key], Matcher | None]] = {}
        """By topic: the matcher that was asked for, what is put aside of it, and the matcher of the others."""

    def back(self, hashes: dict[str, str], now_ms: int) -> list[Outgoing]:
        """Look which rules may go on; `hashes`: of all rules there are."""
        found = self._budget.back(hashes, now_ms)
        for each in found:
            log.info("rules.back", rule=each.rule.key, reason=each.reason.value)
        RULES_ASIDE.set(len(self._budget.quarantined))
        return self._alerts(found, now_ms)

    async def without(self, topic: str, matcher: Matcher) -> Matcher | None:
        """The matcher of the rules that are not put aside; None: all are."""
        if not self._budget.quarantined:
            return matcher
        aside = frozenset(key for key in matcher.keys if key in self._budget.quarantined)
        if not aside:
            return matcher
        known = self._left.get(topic)
        if known is None or known[0] is not matcher or known[1] != aside:
            rules = [rule for rule, key in zip(matcher.rules, matcher.keys, strict=True) if key not in aside]
            made = await asyncio.to_thread(Matcher, matcher.source, rules) if rules else None
            known = self._left[topic] = matcher, aside, made
        return known[2]

    def matches(self, matcher: Matcher, batch: Batch, owned: Owned, now_ms: int) -> tuple[Found, list[Outgoing]]:
        began = self._cpu_s()
        found = matches(matcher, batch, cluster=self._cluster, owned=owned, now_ms=now_ms)
        values = [message.value() for message in batch.messages]
        taken = Taken(values, self._cpu_s() - began, found.groups, found.errors)
        over = self._budget.took(batch.topic, matcher, taken, now_ms)
        if found.errors:
            RULE_ERRORS.inc(found.errors.total())
        for each in over:
            QUARANTINES.labels(each.reason.value).inc()
            log.error("rules.quarantined", rule=each.rule.key, reason=each.reason.value, detail=each.detail)
        RULES_ASIDE.set(len(self._budget.quarantined))
        return found, self._alerts(over)

    def _alerts(self, some: Iterable[Quarantined], back_ms: int = 0) -> list[Outgoing]:
        return [outgoing(alert(each, self._worker, self._cluster, back_ms=back_ms)) for each in some]
