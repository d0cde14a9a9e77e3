"""What keeps an alert from being notified: silences, and inhibition by other alerts. Pure.

Sources: alertmanager 0.25 silence/silence.go, inhibit/inhibit.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from schemas.alerting import InhibitRule
from schemas.alerts import INTERNAL, NO_TENANT, AlertState, Silence, Status
from streams.matching import check, matches, matches_value


class Phase(StrEnum):
    ACTIVE = "active"
    PENDING = "pending"
    EXPIRED = "expired"


def phase(silence: Silence, now_ms: int) -> Phase:
    if now_ms >= silence.ends_at_ms:
        return Phase.EXPIRED
    return Phase.ACTIVE if now_ms >= silence.starts_at_ms else Phase.PENDING


def wrong_matchers(silence: Silence) -> str:
    """Why its matchers can say nothing, or an empty text. Without any it would cover everything: that is none."""
    if not silence.matchers:
        return "at least one matcher required"
    for index, matcher in enumerate(silence.matchers):
        try:
            check(matcher)
        except ValueError as error:
            return f"invalid label matcher {index}: {error}"
    if all(matches_value(matcher, "") for matcher in silence.matchers):
        return "at least one matcher must not match the empty string"
    return ""


def wrong_silence(silence: Silence) -> str:
    """Why Alertmanager would not take it, or an empty text."""
    if wrong := wrong_matchers(silence):
        return wrong
    return "start time must be before end time" if silence.ends_at_ms <= silence.starts_at_ms else ""


def silenced_by(alert: AlertState, active: Iterable[Silence]) -> list[str]:
    """Sorted ids of those silences (of `active`) that cover `alert`. A tenant's silence covers its own alerts only."""
    if alert.tenant == INTERNAL:
        return []
    return sorted(
        silence.id
        for silence in active
        if silence.tenant in ("", NO_TENANT, alert.tenant) and matches(silence.matchers, alert.labels)
    )


def active(silences: Iterable[Silence], now_ms: int) -> list[Silence]:
    """Those that hold now. What cannot hold is left out: the topic is open to other producers."""
    return [each for each in silences if phase(each, now_ms) is Phase.ACTIVE and not wrong_matchers(each)]


class Inhibitor:
    """Inhibit rules over the alerts that fire now. Build one for each look: it holds no time.

    Alerts inhibit within their tenant. An alert that matches both sides of a rule is not inhibited by another that
    does, so it never inhibits itself.
    """

    def __init__(self, rules: Sequence[InhibitRule], firing: Iterable[AlertState]) -> None:
        self._rules = rules
        self._sources: list[dict[tuple[str, ...], list[AlertState]]] = [{} for _ in rules]
        for alert in firing if rules else ():
            if alert.state is Status.FIRING:
                for rule, sources in zip(rules, self._sources, strict=True):
                    if matches(rule.source, alert.labels):
                        sources.setdefault(_equal(rule, alert), []).append(alert)

    def inhibited_by(self, alert: AlertState) -> list[str]:
        """Fingerprints of alerts that inhibit `alert`, one a rule, sorted."""
        out = set()
        for rule, sources in zip(self._rules, self._sources, strict=True):
            if matches(rule.target, alert.labels):
                two_sided = matches(rule.source, alert.labels)
                for source in sources.get(_equal(rule, alert), ()):
                    if not (two_sided and matches(rule.target, source.labels)):
                        out.add(source.fingerprint)
                        break
        return sorted(out)


def _equal(rule: InhibitRule, alert: AlertState) -> tuple[str, ...]:
    labels: Mapping[str, str] = alert.labels
    return (alert.tenant, *(labels.get(name, "") for name in rule.equal))
