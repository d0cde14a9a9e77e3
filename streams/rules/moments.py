"""Matches that make a moment only together with what was there before: a change, a new value, a sequence, a join.

Each is a fold over the matches of a group in event time that says of a match whether the moment has come; what follows
(the alert, how long it fires) is the same as for `any`. What is remembered is in `Window.terms`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from schemas.rule_document import Detection, Rule
from streams.rules.window import Hit, Window

MAX_TERMS = 1000
"""Values remembered of a group; beyond it the ones seen longest ago are forgotten."""

Terms = dict[int, int]


def has_come(window: Window, rule: Rule, hit: Hit) -> tuple[Window, bool]:
    """Whether `hit` is the moment, and the window that knows of it."""
    fold = _FOLDS.get(rule.type)
    if fold is None:
        return window, True
    terms, come = fold(dict(window.terms), rule, hit, window.first_ms)
    return replace(window, terms=terms), come


def _change(terms: Terms, rule: Rule, hit: Hit, _first_ms: int) -> tuple[Terms, bool]:
    """`terms`: the value of the match before, and when it was."""
    before, at_ms = next(iter(terms.items()), (hit.term, hit.time_ms))
    if hit.time_ms < at_ms:
        return terms, False  # late: a newer value is known
    recent = not rule.within_ms or hit.time_ms - at_ms <= rule.within_ms
    return {hit.term: hit.time_ms}, before != hit.term and recent


def _new_term(terms: Terms, rule: Rule, hit: Hit, first_ms: int) -> tuple[Terms, bool]:
    """`terms`: when each value was last seen."""
    seen_ms = terms.get(hit.term)
    new = seen_ms is None or hit.time_ms - seen_ms > rule.within_ms
    terms[hit.term] = max(hit.time_ms, seen_ms or 0)
    if len(terms) > MAX_TERMS:
        del terms[min(terms, key=lambda term: (terms[term], term))]
    return terms, new and hit.time_ms >= first_ms + rule.learn_ms


def _sequence(terms: Terms, rule: Rule, hit: Hit, _first_ms: int) -> tuple[Terms, bool]:
    """`terms`: for each step, when the newest chain that got so far began. The last step ends it."""
    last = len(rule.steps) - 1
    for step in sorted(hit.steps, reverse=True):
        began_ms = hit.time_ms if step == 0 else terms.get(step - 1)
        if began_ms is None or not 0 <= hit.time_ms - began_ms <= rule.within_ms:
            continue
        if step == last:
            return {}, True
        terms[step] = max(began_ms, terms.get(step, began_ms))
    return terms, False


def _join(terms: Terms, rule: Rule, hit: Hit, _first_ms: int) -> tuple[Terms, bool]:
    """`terms`: when each of the conditions was last met."""
    for step in hit.steps:
        terms[step] = max(hit.time_ms, terms.get(step, 0))
    if len(terms) < len(rule.steps) or max(terms.values()) - min(terms.values()) > rule.within_ms:
        return terms, False
    return {}, True


_FOLDS: dict[Detection, Callable[[Terms, Rule, Hit, int], tuple[Terms, bool]]] = {
    Detection.CHANGE: _change,
    Detection.NEW_TERM: _new_term,
    Detection.SEQUENCE: _sequence,
    Detection.JOIN: _join,
}
