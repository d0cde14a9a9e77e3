"""Trying rules before they are enabled: checked, their tests run, and played over the records that are there. Shared by
the API, the console and the command line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from console.timeline import Span, picture
from gateway.backtest import Bounds, Result, backtest
from gateway.principal import Principal
from gateway.records import shown as record_shown
from schemas.alerts import NO_TENANT
from schemas.base import rfc3339
from schemas.rule_document import Rule, RuleTest
from schemas.tables import RULE_BYTES
from streams.errors import Invalid, Retryable
from streams.record import Record
from streams.rules.cases import START_MS, Episode, compared, episodes_of, records_of
from streams.rules.document import parse_document, parse_rule
from streams.rules.rehearsal import CALM, DAY_MS, ROUGH, rehearsed
from streams.rules.ruleset import RuleSet
from streams.rules.stored import parsed, within
from streams.settings import Kafka

T = TypeVar("T")

FILE = "text"
AT_ONCE = 2
"""Trials of a gateway that run at the same time."""
TESTS_S = 10.0
PREVIEW = Bounds(records=200_000, seconds=10.0, matches=50_000)
BACKTEST = Bounds(records=2_000_000, seconds=50.0, matches=200_000)
SCOPES = {"logs": "logs:read", "kube.events": "events:read", "kube.objects": "events:read", "kube.audit": "audit:read"}
"""Who may see records of an input; of any other: who may read its topic."""


class Draft(NamedTuple):
    """`rules` as they would be evaluated, `written` as their tests mean them."""

    rules: list[Rule]
    written: list[Rule]
    errors: list[str]


def drafted(text: str, tenant: str) -> Draft:
    """The rules of a text (one by itself, or a rule file) as rules of `tenant`, and what is wrong with them."""
    if len(text.encode()) > RULE_BYTES:
        return Draft([], [], [f"{FILE}:1: longer than {RULE_BYTES >> 10} KiB"])
    one, errors = parse_rule(text, FILE)
    written = [one] if one is not None else []
    if one is None and len(found := parse_document(text, FILE)[0]) > 1:
        written, errors = found, []
    if tenant == NO_TENANT or errors:
        return Draft(written, written, errors)
    if len(written) == 1:
        rule, errors = parsed(text, FILE, tenant)
        return Draft([rule] if rule is not None else [], written, errors)
    errors = [f"{FILE}:{r.line}: tenant: yours is {tenant}" for r in written if r.tenant not in (NO_TENANT, tenant)]
    return Draft([within(rule, tenant) for rule in written], written, errors)


def failures(rule: Rule, case: RuleTest, perturb: int = 0, seed: int = 0) -> list[str]:
    """What is not as a test says; also when its records are spread, repeated and read again, `perturb` times."""
    alone, records = RuleSet([rule]), records_of(rule, case)
    until_ms = max((record.timestamp_ms for record in records), default=START_MS) + 8 * DAY_MS
    wrong = compared(case, episodes_of(rehearsed(alone, records, until_ms, seed, CALM)))
    for turn in range(seed, seed + perturb if not wrong else seed):
        wrong = compared(case, episodes_of(rehearsed(alone, records, until_ms, turn, ROUGH)))
        if wrong:
            return [f"perturbed with seed {turn}: {line}" for line in wrong]
    return wrong


class Ran(NamedTuple):
    rule: str
    name: str
    line: int
    failures: list[str]


def run_tests(rules: Iterable[Rule], perturb: int) -> list[Ran]:
    """Every test of the rules. Raises Invalid when they take too long."""
    out, ends = [], time.monotonic() + TESTS_S
    for rule in rules:
        for case in rule.tests:
            wrong: list[str] = []
            for seed in range(max(1, perturb)):
                if time.monotonic() > ends:
                    raise Invalid("tests", f"the tests take more than {TESTS_S:.0f} s: fewer records, or less perturb")
                wrong = wrong or failures(rule, case, min(1, perturb), seed)
            out.append(Ran(rule.name, case.name, case.line, wrong))
    return out


class Trials:
    """Plays rules over the topics, a few at a time."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._running = 0

    async def play(self, rules: list[Rule], since_ms: int, until_ms: int, bounds: Bounds) -> Result:
        """Raises Retryable("busy") when too many are under way, or Kafka is away; Invalid for rules over metrics."""
        if any(rule.query for rule in rules):
            raise Invalid("metrics", "rules over metrics cannot be played: their past is Prometheus's")
        return await self.run(lambda: backtest(self._kafka, RuleSet(rules), since_ms, until_ms, bounds=bounds))

    async def run(self, work: Callable[[], T]) -> T:
        if self._running >= AT_ONCE:
            raise Retryable("busy", f"{AT_ONCE} trials are under way already", 2.0)
        self._running += 1
        try:
            return await asyncio.to_thread(work)
        finally:
            self._running -= 1


def shown_rule(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "input": rule.input,
        "type": rule.type.value,
        "level": rule.level.value,
        "severity": rule.severity,
        "enabled": rule.enabled,
        "mode": rule.mode.value,
        "tests": len(rule.tests),
        "line": rule.line,
    }


def shown_episode(each: Episode) -> dict[str, Any]:
    return {
        "alert": each.name,
        "labels": each.labels,
        "annotations": each.annotations,
        "begins": rfc3339(each.from_ms),
        "ends": rfc3339(each.until_ms) if each.until_ms else "",
        "lasts_s": round((each.until_ms - each.from_ms) / 1000, 3) if each.until_ms else None,
        "records": each.records,
    }


def shown(result: Result, limit: int) -> dict[str, Any]:
    return {
        "from": rfc3339(result.from_ms),
        "until": rfc3339(result.until_ms),
        "read": result.read,
        "matched": result.matched,
        "total": len(result.episodes),
        "alerts": [shown_episode(each) for each in result.episodes[-limit:]],
    }


def examples(
    result: Result, who: Principal, count: int, shape: Callable[[Record], Record | None] | None
) -> list[dict[str, Any]]:
    """The newest records that matched, as the index would have them, of the topics the caller may read."""
    out: list[dict[str, Any]] = []
    for record in reversed(result.records):
        if len(out) >= count:
            break
        if not who.may(SCOPES.get(record.topic, f"topics:{record.topic}:read")):
            continue
        as_indexed = record if shape is None else shape(record)
        if as_indexed is not None:
            out.append(record_shown(as_indexed))
    return out


def timeline(episodes: Iterable[Episode], from_ms: int, until_ms: int, *, alone: bool = False) -> str:
    """The picture of what fired when."""
    return picture([_span(each) for each in episodes], from_ms, until_ms, alone=alone)


def _span(each: Episode) -> Span:
    group = ", ".join(f"{k}={v}" for k, v in each.labels.items() if k not in ("alertname", "severity"))
    named = " ".join(v for k, v in each.labels.items() if k in ("namespace", "workload", "pod", "container", "node"))
    return Span(f"{each.name} {named}".strip(), each.from_ms, each.until_ms, each.labels.get("severity", ""), group)
