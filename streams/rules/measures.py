"""What windows of a time are measured by: counts, different values, aggregates. Pure.

A measure keeps what it needs in the window (`points`, `terms`), says what it is at a moment, and when it will be
another one without any match. Up to `MAX_POINTS` matches are kept as they are; beyond, those of one slot (`within` /
128) as one, so a measure may be up to a slot late; percentiles are of the newest `MAX_POINTS` matches.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from msgspec.structs import replace

from schemas.rule_document import Aggregate, Detection, Direction, Rule
from streams.rules.general import general
from streams.rules.moments import MAX_TERMS
from streams.rules.parser import parse
from streams.rules.window import Hit, Point, Window

MAX_POINTS = 256
SLOTS = 128


class Measure(NamedTuple):
    """`holds(window, rule, ms)`: the value at that time if the alert's condition is true of it, else None."""

    add: Callable[[Window, Rule, Hit], Window]
    holds: Callable[[Window, Rule, int], float | None]
    expiries: Callable[[Window, Rule, int], list[int]]
    """Times after the given one at which the value may change by itself; the first is the earliest."""


def within(rule: Rule, value: float | None) -> float | None:
    """The value if it is above or below what the rule says."""
    if value is None:
        return None
    if rule.above is not None and value > rule.above:
        return value
    return value if rule.below is not None and value < rule.below else None


def severity_of(rule: Rule, value: float) -> str | None:
    """The severity an alert with this value has; None: there is no alert."""
    for severity, bound in rule.severities:
        if (value > bound) if rule.above is not None else (value < bound):
            return severity
    if rule.severities or (rule.above is not None and not value > rule.above):
        return None
    return None if rule.below is not None and not value < rule.below else rule.severity


# Points


def _add_point(window: Window, rule: Rule, hit: Hit) -> Window:
    new = Point(hit.time_ms, hit.weight, hit.value * hit.weight, hit.value, hit.value)
    oldest = hit.time_ms - _span(rule)
    points = [point for point in window.points if point.time_ms > oldest]
    bisect.insort(points, new)
    if len(points) > MAX_POINTS:
        points = points[-MAX_POINTS:] if _is_percentile(rule) else _coalesced(points, max(1, _span(rule) // SLOTS))
    return replace(window, points=points)


def _coalesced(points: list[Point], slot_ms: int) -> list[Point]:
    out: list[Point] = []
    for point in points:
        if out and out[-1].time_ms // slot_ms == point.time_ms // slot_ms:
            last = out.pop()
            point = Point(
                max(last.time_ms, point.time_ms),
                last.matches + point.matches,
                last.total + point.total,
                min(last.least, point.least),
                max(last.most, point.most),
            )
        out.append(point)
    return out


def _span(rule: Rule) -> int:
    """How far back points are needed."""
    return 2 * rule.within_ms if rule.type is Detection.SPIKE else rule.within_ms


def _is_percentile(rule: Rule) -> bool:
    return rule.type is Detection.METRIC and rule.aggregate.startswith("p")


def _between(window: Window, after_ms: int, until_ms: int) -> list[Point]:
    return [point for point in window.points if after_ms < point.time_ms <= until_ms]


def _counted(points: list[Point]) -> int:
    return sum(point.matches for point in points)


def _point_expiries(window: Window, rule: Rule, now_ms: int) -> list[int]:
    spans = (rule.within_ms, 2 * rule.within_ms) if rule.type is Detection.SPIKE else (rule.within_ms,)
    return sorted(at for point in window.points for span in spans if (at := point.time_ms + span) > now_ms)


# Conditions on them


def _metric(window: Window, rule: Rule, now_ms: int) -> float | None:
    points = _between(window, now_ms - rule.within_ms, now_ms)
    return within(rule, aggregated(points, rule.aggregate)) if points else None


def aggregated(points: list[Point], how: Aggregate) -> float:
    """Of at least one point."""
    match how:
        case Aggregate.COUNT:
            return _counted(points)
        case Aggregate.SUM:
            return sum(point.total for point in points)
        case Aggregate.AVG:
            return sum(point.total for point in points) / _counted(points)
        case Aggregate.MIN:
            return min(point.least for point in points)
        case Aggregate.MAX:
            return max(point.most for point in points)
    ordered = sorted(point.most for point in points)
    return ordered[max(0, -(-len(ordered) * int(how[1:]) // 100) - 1)]  # the nearest rank


def _percentage(window: Window, rule: Rule, now_ms: int) -> float | None:
    points = _between(window, now_ms - rule.within_ms, now_ms)
    if not points or _counted(points) < rule.count:
        return None
    return within(rule, aggregated(points, Aggregate.AVG))


def _flatline(window: Window, rule: Rule, now_ms: int) -> float | None:
    if now_ms < window.first_ms + rule.within_ms or now_ms >= window.last_ms + rule.forget_ms:
        return None
    count = _counted(_between(window, now_ms - rule.within_ms, now_ms))
    return float(count) if count < rule.count else None


def _flatline_expiries(window: Window, rule: Rule, now_ms: int) -> list[int]:
    ends = window.first_ms + rule.within_ms, window.last_ms + rule.forget_ms
    return sorted([*_point_expiries(window, rule, now_ms), *(at for at in ends if at > now_ms)])


def _spike(window: Window, rule: Rule, now_ms: int) -> float | None:
    """How many times as many; nothing is a spike before there is a time to compare with."""
    middle = now_ms - rule.within_ms
    if window.first_ms > middle:
        return None
    now, before = (
        _counted(_between(window, middle, now_ms)),
        _counted(_between(window, middle - rule.within_ms, middle)),
    )
    ratio = now / before if before else float(now)
    if rule.direction is not Direction.DOWN and now >= rule.count and now >= rule.times * before:
        return ratio
    if rule.direction is not Direction.UP and before >= rule.count and now * rule.times <= before:
        return ratio
    return None


def _frequency(window: Window, rule: Rule, now_ms: int) -> float | None:
    """Of windows that do not slide."""
    count = _counted(_between(window, now_ms - rule.within_ms, now_ms))
    return float(count) if count >= rule.count else None


# Several counts


def _add_counts(window: Window, rule: Rule, hit: Hit) -> Window:
    """Points of all of them: `least` and `most` are which."""
    oldest = hit.time_ms - rule.within_ms
    points = [point for point in window.points if point.time_ms > oldest]
    for step in hit.steps:
        bisect.insort(points, Point(hit.time_ms, hit.weight, 0.0, float(step), float(step)))
    if len(points) > MAX_POINTS * len(rule.counts):
        slot_ms = max(1, rule.within_ms // SLOTS)
        points = sorted(
            point
            for step in range(len(rule.counts))
            for point in _coalesced([each for each in points if each.least == step], slot_ms)
        )
    return replace(window, points=points)


def counted(window: Window, rule: Rule, now_ms: int) -> dict[str, float]:
    """How often each of the rule's counts was met."""
    out = dict.fromkeys(rule.counts, 0.0)
    for point in _between(window, now_ms - rule.within_ms, now_ms):
        out[rule.counts[int(point.least)]] += point.matches
    return out


def _expression(window: Window, rule: Rule, now_ms: int) -> float | None:
    counts = counted(window, rule, now_ms)
    if not any(counts.values()):
        return None
    return next(iter(counts.values())) if _read(rule.expression)(counts) is True else None


@lru_cache(maxsize=1024)
def _read(expression: str) -> Callable[[dict[str, float]], object]:
    return general(parse(expression))


# Different values


def _add_term(window: Window, rule: Rule, hit: Hit) -> Window:
    oldest = hit.time_ms - rule.within_ms
    terms = {term: at for term, at in window.terms.items() if at > oldest}
    terms[hit.term] = max(hit.time_ms, terms.get(hit.term, 0))
    if len(terms) > MAX_TERMS:
        del terms[min(terms, key=lambda term: (terms[term], term))]
    return replace(window, terms=terms)


def _cardinality(window: Window, rule: Rule, now_ms: int) -> float | None:
    oldest = now_ms - rule.within_ms
    if rule.below is not None and now_ms < window.first_ms + rule.within_ms:
        return None  # there may have been more before the first was seen
    count = sum(oldest < at <= now_ms for at in window.terms.values())
    return within(rule, float(count)) if count else None


def _term_expiries(window: Window, rule: Rule, now_ms: int) -> list[int]:
    ends = [at + rule.within_ms for at in window.terms.values()]
    return sorted(at for at in (*ends, window.first_ms + rule.within_ms) if at > now_ms)


# A sequence that is not completed


def _add_step(window: Window, rule: Rule, hit: Hit) -> Window:
    """`terms`: for each step when the newest chain that got so far began; `unless` breaks all chains."""
    terms = {step: began for step, began in window.terms.items() if hit.time_ms - began <= rule.within_ms}
    for step in sorted(hit.steps, reverse=True):
        if step == len(rule.steps):
            terms.clear()
            break
        began_ms = hit.time_ms if step == 0 else terms.get(step - 1)
        if began_ms is not None and 0 <= hit.time_ms - began_ms <= rule.within_ms:
            terms.setdefault(step, began_ms)
    return replace(window, terms=terms)


def _missing(window: Window, rule: Rule, now_ms: int) -> float | None:
    """It is for a moment that it did not come in time; how long the alert fires is the rule's to say."""
    began_ms = window.terms.get(len(rule.steps) - 1)
    return 1.0 if began_ms is not None and now_ms == began_ms + rule.within_ms else None


def _step_expiries(window: Window, rule: Rule, now_ms: int) -> list[int]:
    began_ms = window.terms.get(len(rule.steps) - 1)
    if began_ms is None:
        return []
    late_ms = began_ms + rule.within_ms
    return [at for at in (late_ms, late_ms + 1) if at > now_ms]


MEASURES: dict[Detection, Measure] = {
    Detection.METRIC: Measure(_add_point, _metric, _point_expiries),
    Detection.PERCENTAGE_MATCH: Measure(_add_point, _percentage, _point_expiries),
    Detection.FLATLINE: Measure(_add_point, _flatline, _flatline_expiries),
    Detection.SPIKE: Measure(_add_point, _spike, _point_expiries),
    Detection.CARDINALITY: Measure(_add_term, _cardinality, _term_expiries),
    Detection.SEQUENCE: Measure(_add_step, _missing, _step_expiries),
    Detection.FREQUENCY: Measure(_add_point, _frequency, _point_expiries),
    Detection.EXPRESSION: Measure(_add_counts, _expression, _point_expiries),
}
"""SEQUENCE: of rules with `unless`; FREQUENCY: in windows that do not slide."""
