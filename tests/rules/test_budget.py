"""A rule that takes too much is put aside; the others go on, and it comes back."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence

import msgspec
import orjson

from schemas.alerts import Alert
from schemas.rule_document import Level, Rule
from schemas.rules import Match
from streams.batch import batch_of
from streams.owners import Owners
from streams.record import Record
from streams.rule_settings import RuleBudget
from streams.rules.budget import Budget, Quarantined, Reason, Taken, alert
from streams.rules.guard import Guard
from streams.rules.inputs import INPUTS
from streams.rules.matcher import Matcher
from streams.rules.matching import matches

LIMITS = RuleBudget(window_s=10, cpu_us=20, matches_per_s=50, groups=30, errors=5, quarantine_s=60)
SLOW = r"[a-z]\w.{400}Q"
"""RE2 gives up the automaton of this one, and goes through a long line step by step."""


def rule(name: str, where: str, level: Level = Level.CLUSTER) -> Rule:
    return Rule(name=name, input="logs", where=where, level=level)


FINE, LOUD = rule("fine", 'log.contains("needle")'), rule("loud", "has(log)", Level.POD)
EXPENSIVE = rule("expensive", f'log.matches("{SLOW}")'.replace("\\", "\\\\"))


def record(number: int, words: int = 1) -> bytes:
    text = " ".join(f"word{(number + n) % 7}" for n in range(words))
    return orjson.dumps(
        {"log": f"{text} needle" if number % 10 == 0 else text, "kubernetes": {"pod_name": f"p{number}"}}
    )


def spent(
    budget: Budget, matcher: Matcher, values: Sequence[bytes], now_ms: int, cpu_s: Callable[[], float]
) -> list[Quarantined]:
    batch = batch_of([Record("logs", 0, n, None, value, 1) for n, value in enumerate(values)])
    began = cpu_s()
    found = matches(matcher, batch, cluster="c", owned=Owners({}), now_ms=now_ms)
    return budget.took("logs", matcher, Taken(values, cpu_s() - began, found.groups, found.errors), now_ms)


def test_an_expensive_rule_is_found_among_others() -> None:
    matcher = Matcher(INPUTS["logs"], [FINE, EXPENSIVE, rule("size", "size(log) > 1000000")])
    budget = Budget(LIMITS, time.thread_time)
    values = [record(n, words=400) for n in range(60)]
    assert spent(budget, matcher, values, 0, time.thread_time) == []
    (found,) = spent(budget, matcher, values, 10_000, time.thread_time)
    assert (found.rule.name, found.reason, found.until_ms) == ("expensive", Reason.CPU, 70_000)
    assert "microseconds" in found.detail
    assert list(budget.quarantined) == [(EXPENSIVE.key, EXPENSIVE.hash)]


def test_the_meter_is_asked_for_each_rule_only_when_all_together_took_much() -> None:
    matcher = Matcher(INPUTS["logs"], [FINE, LOUD])
    ticks = itertools.count()
    budget = Budget(RuleBudget(), lambda: next(ticks) * 1e-9)
    for now_ms in range(0, 60_000, 1000):
        assert budget.took("logs", matcher, Taken([record(1)] * 100, 1e-3), now_ms) == []
    assert next(ticks) == 0
    budget.took("logs", matcher, Taken([record(1)] * 100, 1.0), 60_000)
    assert next(ticks) > 1


def test_matches_are_judged_by_the_second_and_groups_and_errors_at_once() -> None:
    matcher = Matcher(INPUTS["logs"], [FINE, LOUD])
    same, other = [(0, "a")] * 501, [(1, f"g{n}") for n in range(31)]
    budget = Budget(LIMITS, lambda: 0.0)
    assert budget.took("logs", matcher, Taken([], 0, same), 0) == []
    (found,) = budget.took("logs", matcher, Taken([], 0), 10_000)
    assert (found.rule, found.reason, found.detail) == (FINE, Reason.MATCHES, "matched 50 times a second")
    (found,) = budget.took("logs", matcher, Taken([], 0, other), 11_000)
    assert (found.rule, found.reason) == (LOUD, Reason.GROUPS)
    matcher = Matcher(INPUTS["logs"], [EXPENSIVE])

    def broken(_record: object) -> list[int]:
        raise ArithmeticError

    matcher._partial, matcher._always, matcher._singles[0] = None, broken, broken
    assert spent(budget, matcher, [record(1)] * 5, 12_000, lambda: 0.0) == []
    (found,) = spent(budget, matcher, [record(1)], 13_000, lambda: 0.0)
    assert (found.rule, found.reason) == (EXPENSIVE, Reason.ERRORS)


def test_it_comes_back_after_a_while_or_changed() -> None:
    budget = Budget(LIMITS, lambda: 0.0)
    matcher = Matcher(INPUTS["logs"], [LOUD])
    hashes = {LOUD.key: LOUD.hash}

    def aside(now_ms: int) -> None:
        assert budget.took("logs", matcher, Taken([], 0, [(0, f"g{n}") for n in range(31)]), now_ms)

    aside(1000)
    assert budget.back(hashes, 60_999) == []
    assert [each.rule for each in budget.back(hashes, 61_000)] == [LOUD]
    aside(100_000)
    assert [each.rule for each in budget.back({LOUD.key: "other"}, 100_001)] == [LOUD]
    aside(200_000)
    assert [each.rule for each in budget.back({}, 200_001)] == [LOUD]
    assert budget.quarantined == {}


def test_it_begins_anew_when_it_comes_back_within_the_window() -> None:
    budget = Budget(LIMITS.model_copy(update={"quarantine_s": 1.0}), lambda: 0.0)
    matcher = Matcher(INPUTS["logs"], [LOUD])
    assert budget.took("logs", matcher, Taken([], 0, [(0, f"g{n}") for n in range(31)]), 0)
    assert budget.back({LOUD.key: LOUD.hash}, 1000)
    assert budget.took("logs", matcher, Taken([], 0, [(0, "one more")]), 1001) == []


def test_its_alert_ends_by_itself_when_it_comes_back() -> None:
    each = Quarantined(LOUD, Reason.GROUPS, "had many groups", 1000, 61_000)
    found = alert(each, "w1", "c")
    assert (found.starts_at_ms, found.ends_at_ms, found.observed_at_ms, found.tenant) == (
        1000,
        61_000,
        1000,
        LOUD.tenant,
    )
    assert found.labels["rule"] == "loud"
    back = alert(each, "w1", "c", back_ms=5000)
    assert (back.fingerprint, back.ends_at_ms) == (found.fingerprint, 5000)


def test_the_others_go_on_and_alerts_say_what_happened() -> None:
    guard = Guard(LIMITS, "w1", "c", lambda: 0.0)
    matcher = Matcher(INPUTS["logs"], [FINE, LOUD])
    records_ = [Record("logs", 0, n, None, record(n), 1) for n in range(40)]

    def looked(now_ms: int) -> tuple[list[str], list[Alert]]:
        current = asyncio.run(guard.without("logs", matcher))
        assert current is not None
        found, told = guard.matches(current, batch_of(records_), Owners({}), now_ms)
        rules = {msgspec.json.decode(each.value or b"", type=Match).rule for each in found.matches}
        return sorted(rules), [msgspec.json.decode(each.value or b"", type=Alert) for each in told]

    rules, (told,) = looked(1000)
    assert rules == ["fine", "loud"]
    assert told.labels == {
        "alertname": "RuleQuarantined", "severity": "warning", "rule": "loud", "reason": "groups", "worker": "w1",
    }  # fmt: skip
    assert looked(2000) == (["fine"], [])
    hashes = {FINE.key: FINE.hash, LOUD.key: LOUD.hash}
    assert guard.back(hashes, 3000) == []
    (back,) = guard.back(hashes, 61_000)
    assert msgspec.json.decode(back.value or b"", type=Alert).ends_at_ms == 61_000
    assert looked(62_000)[0] == ["fine", "loud"]


def test_where_no_rule_is_left_nothing_is_looked_at() -> None:
    guard = Guard(LIMITS, "w1", "c", lambda: 0.0)
    matcher = Matcher(INPUTS["logs"], [LOUD])
    batch = batch_of([Record("logs", 0, n, None, record(n), 1) for n in range(40)])
    assert len(guard.matches(matcher, batch, Owners({}), 1000)[1]) == 1
    assert asyncio.run(guard.without("logs", matcher)) is None
