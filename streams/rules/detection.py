"""What a window does with a match, and with time, by the type of its rule. Pure.

Three kinds: counting (streams/rules/window.py), moments (moments.py, then counted as `any` is) and measures
(measured.py).
"""

from __future__ import annotations

from msgspec.structs import replace

from schemas.rule_document import Detection, Rule
from streams.rules import measured, moments
from streams.rules import window as counting
from streams.rules.window import Change, Hit, Window

LONG_MS = 7 * 86_400_000
"""How long the value before a change is remembered, where the rule names no time."""


def apply(window: Window, rule: Rule, hit: Hit, floor_ms: int) -> tuple[Window, list[Change]]:
    """Count one match. `floor_ms`: no match from before it is on its way."""
    known = counting.told(window, hit)
    if known is None:
        return window, []
    if measured.is_measured(rule):
        return measured.apply(known, rule, hit, floor_ms)
    if known.first_ms == 0:
        known = replace(known, first_ms=hit.time_ms)
    known, come = moments.has_come(known, rule, hit)
    if come:
        return counting.apply(known, rule, hit, floor_ms)
    evidence = counting.with_evidence(known, hit, min(hit.time_ms, floor_ms) - memory_ms(rule))
    known = replace(known, evidence=evidence, last_ms=max(known.last_ms, hit.time_ms))
    return counting.settle(known, rule, hit.time_ms)


def settle(window: Window, rule: Rule, horizon_ms: int) -> tuple[Window, list[Change]]:
    """Time has passed up to `horizon_ms`."""
    if measured.is_measured(rule):
        return measured.settle(window, rule, horizon_ms)
    return counting.settle(window, rule, horizon_ms)


def due_ms(window: Window, rule: Rule) -> int | None:
    """The event time after which something may happen without a match; None: nothing will."""
    if measured.is_measured(rule):
        return measured.due_ms(window, rule)
    return window.episode.below_ms + counting.measure(rule)[2] if window.episode else None


def memory_ms(rule: Rule) -> int:
    """How far back a match still matters."""
    if measured.is_measured(rule):
        return measured.memory_ms(rule)
    if rule.type is Detection.CHANGE:
        return rule.within_ms or LONG_MS
    return max(rule.within_ms, counting.measure(rule)[1])
