"""What each rule takes of a matcher, and which rules took too much. Pure: clock and CPU meter are given.

All conditions are one function, so a rule's share of the time is not seen as it goes. It is asked for only when all of
them together took more than one may: then each is evaluated by itself over a few records, under the meter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from schemas.alerts import Alert, fingerprint
from schemas.rule_document import Rule
from streams.rule_settings import RuleBudget
from streams.rules.matcher import Matcher

SAMPLE = 16
"""Records looked at to know what each condition takes."""
SAMPLE_MS = 1_000
"""At most so often, for each input."""
Key = tuple[str, str]
"""A rule's key and its hash: what it is called and what it says."""


class Reason(StrEnum):
    CPU = "cpu"
    MATCHES = "matches"
    GROUPS = "groups"
    ERRORS = "errors"


class Taken(NamedTuple):
    """What one part of a batch took. By number of the rule: `groups`, the window of each match; `errors`."""

    values: Sequence[bytes | None]
    cpu_s: float
    groups: Sequence[tuple[int, str]] = ()
    errors: Counter[int] = Counter()


class Quarantined(NamedTuple):
    rule: Rule
    reason: Reason
    detail: str
    since_ms: int
    until_ms: int


class _Window:
    """What the rules of one input took since `since_ms`."""

    def __init__(self, since_ms: int) -> None:
        self.since_ms = since_ms
        self.records = 0
        self.cpu_us: defaultdict[Key, float] = defaultdict(float)
        self.matches: Counter[Key] = Counter()
        self.groups: defaultdict[Key, set[str]] = defaultdict(set)
        self.errors: Counter[Key] = Counter()

    def forget(self, key: Key) -> None:
        """It begins anew when it comes back."""
        for counted in (self.cpu_us, self.matches, self.groups, self.errors):
            counted.pop(key, None)


class Budget:
    """`cpu_s()`: CPU seconds of this thread. `quarantined`: the rules put aside now."""

    def __init__(self, limits: RuleBudget, cpu_s: Callable[[], float]) -> None:
        self.quarantined: dict[Key, Quarantined] = {}
        self._limits = limits
        self._cpu_s = cpu_s
        self._windows: dict[str, _Window] = {}
        self._costs: dict[str, tuple[int, dict[Key, float]]] = {}

    def took(self, topic: str, matcher: Matcher, taken: Taken, now_ms: int) -> list[Quarantined]:
        """Count it; returns the rules that are put aside because of it."""
        window = self._windows.setdefault(topic, _Window(now_ms))
        keys = matcher.keys
        touched: dict[Key, Rule] = {}
        window.records += len(taken.values)
        for number, group in taken.groups:
            key = keys[number]
            touched[key] = matcher.rules[number]
            window.matches[key] += 1
            if len(groups := window.groups[key]) <= self._limits.groups:
                groups.add(group)
        for number, count in taken.errors.items():
            touched[keys[number]] = matcher.rules[number]
            window.errors[keys[number]] += count
        if taken.values and taken.cpu_s * 1e6 / len(taken.values) > self._limits.cpu_us:
            for key, cost_us in self._costs_of(topic, matcher, taken.values, now_ms).items():
                window.cpu_us[key] += cost_us * len(taken.values)
        if now_ms - window.since_ms >= self._limits.window_s * 1000:
            del self._windows[topic]
            touched = {
                key: rule
                for key, rule in zip(keys, matcher.rules, strict=True)
                if key in window.matches or key in window.cpu_us
            }
        over = [self._aside(rule, key, window, now_ms) for key, rule in touched.items()]
        return [each for each in over if each is not None]

    def back(self, hashes: dict[str, str], now_ms: int) -> list[Quarantined]:
        """Take back the rules whose time is over, that changed, or that are gone. `hashes`: of the rules there are."""
        over = [
            key
            for key, each in self.quarantined.items()
            if each.until_ms <= now_ms or hashes.get(key[0]) != key[1]
        ]  # fmt: skip
        return [self.quarantined.pop(key) for key in over]

    def _aside(self, rule: Rule, key: Key, window: _Window, now_ms: int) -> Quarantined | None:
        if key in self.quarantined:
            return None
        for reason, detail in self._over(key, window, now_ms):
            until_ms = now_ms + int(self._limits.quarantine_s * 1000)
            window.forget(key)
            found = self.quarantined[key] = Quarantined(rule, reason, detail, now_ms, until_ms)
            return found
        return None

    def _over(self, key: Key, window: _Window, now_ms: int) -> Iterable[tuple[Reason, str]]:
        """Rates are judged at the end of a window, counts at once."""
        limits = self._limits
        passed_s = (now_ms - window.since_ms) / 1000
        if window.errors[key] > limits.errors:
            yield Reason.ERRORS, f"could not be evaluated for {window.errors[key]} records"
        if key in window.groups and len(window.groups[key]) > limits.groups:
            yield Reason.GROUPS, f"its matches were of more than {limits.groups} groups within {limits.window_s:g} s"
        if passed_s < limits.window_s:
            return
        if (rate := window.matches[key] / passed_s) > limits.matches_per_s:
            yield Reason.MATCHES, f"matched {rate:.0f} times a second"
        if window.records and (cost_us := window.cpu_us[key] / window.records) > limits.cpu_us:
            yield Reason.CPU, f"took {cost_us:.0f} microseconds of CPU time a record"

    def _costs_of(self, topic: str, matcher: Matcher, values: Sequence[bytes | None], now_ms: int) -> dict[Key, float]:
        """Microseconds each rule takes for one record, as last looked at."""
        at_ms, costs = self._costs.get(topic, (0, {}))
        if now_ms - at_ms >= SAMPLE_MS or not costs:
            spread = max(1, len(values) // SAMPLE)
            some = [value for value in values[::spread] if value is not None]
            costs = {matcher.keys[number]: cost_s * 1e6 for number, cost_s in matcher.costs(some, self._cpu_s).items()}
            self._costs[topic] = now_ms, costs
        return costs


def alert(each: Quarantined, worker: str, cluster: str, *, back_ms: int = 0) -> Alert:
    """It fires until the rule comes back by itself; `back_ms`: it came back before."""
    labels = {
        "alertname": "RuleQuarantined",
        "severity": "warning",
        "rule": each.rule.key,
        "reason": each.reason.value,
        "worker": worker,
    }
    return Alert(
        labels=labels,
        annotations={
            "summary": f"Rule {each.rule.key} {each.detail}: it is put aside, and sees nothing until it is back",
            "description": "Other rules go on. It comes back when it is changed, or after a while.",
        },
        starts_at_ms=each.since_ms,
        ends_at_ms=back_ms or each.until_ms,
        observed_at_ms=back_ms or each.since_ms,
        tenant=each.rule.tenant,
        cluster=cluster,
        fingerprint=fingerprint(labels),
        source="rule-budget",
    )
