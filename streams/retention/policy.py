"""How long a record is kept: by kind, cluster and namespace; the first rule that matches decides. Pure.

A record whose time cannot be right (see `streams/sinks/index/ids.py`) never expires: nobody knows how old it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import inf

import msgspec

from streams.settings import Retention, Tier
from streams.sinks.index.ids import DAY_MS, NEWEST_MS, OLDEST_MS
from streams.sinks.index.language import During, Is, Like, Node, Not, all_of, any_of
from streams.sinks.index.language_pattern import wildcard
from streams.sinks.index.port import Kind

ROUND_MS = 60_000
"""What is shown ends on whole minutes, so that engines can remember the filter."""


class Rule(msgspec.Struct, frozen=True):
    """`cluster` and `namespace`: globs, in which `*` stands for any characters; a lone `*` matches records without."""

    cluster: str
    namespace: str
    days: float
    """`inf`: for ever."""

    def matches(self, clusters: Iterable[str], namespaces: Iterable[str]) -> bool:
        return _fits(self.cluster, clusters) and _fits(self.namespace, namespaces)


class Policy:
    """What the settings say, by kind: the rules, then the days of the index's tiers (logs), then the default."""

    def __init__(self, settings: Retention, tiers: Sequence[Tier] = ()) -> None:
        of_tiers = [
            Rule("*", namespace, tier.days)
            for tier in tiers
            if tier.days and not tier.tenants
            for namespace in tier.namespaces or ["*"]
        ]
        last = Rule("*", "*", settings.default_days or inf)
        self._rules: dict[Kind, tuple[Rule, ...]] = {
            kind: (
                *(
                    Rule(rule.cluster, rule.namespace, rule.days or inf)
                    for rule in settings.rules
                    if not rule.kinds or kind.value in rule.kinds
                ),
                *(of_tiers if kind is Kind.LOGS else ()),
                last,
            )
            for kind in Kind
        }

    @property
    def forever(self) -> bool:
        """Whether nothing ever expires."""
        return all(rule.days == inf for rules in self._rules.values() for rule in rules)

    def rules(self, kind: Kind) -> tuple[Rule, ...]:
        """In order; the last matches everything."""
        return self._rules[kind]

    def days(self, kind: Kind, clusters: Iterable[str], namespaces: Iterable[str]) -> float:
        """Days a record of these clusters and namespaces is kept."""
        clusters, namespaces = tuple(clusters), tuple(namespaces)
        return next(rule.days for rule in self._rules[kind] if rule.matches(clusters, namespaces))

    def expired(
        self, kind: Kind, clusters: Iterable[str], namespaces: Iterable[str], time_ms: int, now_ms: int
    ) -> bool:
        return OLDEST_MS <= time_ms < self._before(self.days(kind, clusters, namespaces), now_ms)

    def newest_expired_ms(self, kind: Kind, now_ms: int) -> int:
        """No record of this time or later has expired, whosever it is."""
        return max(self._before(rule.days, now_ms) for rule in self._rules[kind])

    def gone(self, kind: Kind, now_ms: int) -> Node | None:
        """The condition of what has expired; None when nothing can have."""
        out: list[Node | None] = []
        earlier: list[Node] = []
        for rule in self._rules[kind]:
            place = all_of(_like("cluster", rule.cluster), _like("namespace", rule.namespace))
            before = self._before(rule.days, now_ms)
            if before > OLDEST_MS:
                out.append(all_of(During(OLDEST_MS, before), place, *(Not(each) for each in earlier)))
            if place is None:
                break  # it matches everything: no rule after it applies
            earlier.append(place)
        return any_of(*out)

    def shown(self, kind: Kind, now_ms: int, start_ms: int = 0) -> Node | None:
        """The condition of what may be shown of the time from `start_ms` on; None when all of that may."""
        if max(start_ms, OLDEST_MS) >= self.newest_expired_ms(kind, now_ms) and start_ms < NEWEST_MS:
            return None
        gone = self.gone(kind, now_ms)
        return Not(gone) if gone is not None else None

    def _before(self, days: float, now_ms: int) -> int:
        """Records from before this time have expired; 0: none has."""
        if days == inf:
            return 0
        return max(0, (now_ms - round(days * DAY_MS)) // ROUND_MS * ROUND_MS)


def _fits(glob: str, values: Iterable[str]) -> bool:
    if glob == "*":
        return True
    pattern = re.compile(".*".join(map(re.escape, glob.split("*"))), re.DOTALL)
    return any(pattern.fullmatch(value) for value in values)


def _like(field: str, glob: str) -> Node | None:
    if glob == "*":
        return None
    return Like(field, wildcard(glob)) if "*" in glob else Is(field, (glob,))
