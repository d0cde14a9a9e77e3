"""Alerts of windows that are measured (streams/rules/measures.py): they fire while the measure is what the rule says.

The measure is looked at, in event time, after the matches of each moment and whenever it may change by itself, so an
alert also begins or ends without a match. Late matches are put in order among themselves; one from before the measure
was looked at counts from then on. Pure.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from schemas.rule_document import Detection, Rule, Windowing, Without
from streams.rules.measures import MEASURES, Measure, counted, severity_of
from streams.rules.window import REFRESH_MS, Change, Episode, Hit, Window, end, labels_of, with_evidence

HOLDS = 0
"""`Episode.below_ms` while the condition holds."""


def is_measured(rule: Rule) -> bool:
    if rule.type is Detection.SEQUENCE:
        return bool(rule.unless)
    return rule.type in MEASURES and (rule.type is not Detection.FREQUENCY or rule.window is not Windowing.SLIDING)


def apply(window: Window, rule: Rule, hit: Hit, floor_ms: int) -> tuple[Window, list[Change]]:
    """Count one match; the measure is looked at once time has passed it."""
    measure = MEASURES[rule.type]
    window, changes = settle(window, rule, hit.time_ms)
    cut = min(hit.time_ms, floor_ms) - memory_ms(rule)
    if rule.window is Windowing.SESSION and hit.time_ms >= window.last_ms + rule.gap_ms:
        window = replace(window, points=[], terms={})
    window = replace(
        window,
        evidence=with_evidence(window, hit, cut),
        first_ms=window.first_ms or hit.time_ms,
        last_ms=max(window.last_ms, hit.time_ms),
        late=hit.late,
        values=hit.labels if hit.time_ms >= window.last_ms else window.values,
    )
    window = measure.add(window, rule, hit)
    if window.episode is not None:
        window = replace(window, episode=replace(window.episode, total=window.episode.total + hit.weight))
    return replace(window, ask_ms=max(window.at_ms, hit.time_ms)), changes


def settle(window: Window, rule: Rule, horizon_ms: int) -> tuple[Window, list[Change]]:
    """Look at the measure whenever it changed before `horizon_ms`; end an alert that is over by then."""
    measure = MEASURES[rule.type]
    changes: list[Change] = []
    for at_ms in _times(window, rule, measure):
        if at_ms >= horizon_ms:
            break
        window, more = _look(window, rule, measure, at_ms)
        changes += more
    window, more = _ended(window, rule, horizon_ms)
    return window, changes + more


def due_ms(window: Window, rule: Rule) -> int | None:
    """When something may happen without a match."""
    times = _times(window, rule, MEASURES[rule.type])[:1]
    if window.episode is not None and window.episode.below_ms != HOLDS:
        times.append(window.episode.below_ms + rule.keep_firing_for_ms)
    return min(times, default=None)


def memory_ms(rule: Rule) -> int:
    """How far back a match matters."""
    if rule.type is Detection.SPIKE:
        return 2 * rule.within_ms
    return max(rule.within_ms + rule.hop_ms, rule.forget_ms)


def _times(window: Window, rule: Rule, measure: Measure) -> list[int]:
    """When the measure is to be looked at, as far as is known now; never before there was a match."""
    if not window.first_ms:
        return []
    if rule.hop_ms:
        return _ends(window, rule)
    times = set(measure.expiries(window, rule, window.at_ms))
    if rule.window is Windowing.SESSION:
        times.add(window.last_ms + rule.gap_ms)
    if rule.on_no_data is not Without.OK:
        times |= {window.last_ms + rule.within_ms, window.last_ms + rule.forget_ms}
    if window.ask_ms:
        times.add(window.ask_ms)
    return sorted(at_ms for at_ms in times if at_ms > window.at_ms or at_ms == window.ask_ms)


def _ends(window: Window, rule: Rule) -> list[int]:
    """Of windows that tumble or hop: each that has something in it, the first that has not, and the first after the
    group is given up."""
    hop_ms = rule.hop_ms
    after_ms = max(window.at_ms, window.first_ms - 1)
    times = set(range((after_ms // hop_ms + 1) * hop_ms, window.last_ms + rule.within_ms + hop_ms, hop_ms))
    if rule.on_no_data is not Without.OK:
        times.add(-(-(window.last_ms + rule.forget_ms) // hop_ms) * hop_ms)
    return sorted(at_ms for at_ms in times if at_ms > after_ms)


def _said(window: Window, rule: Rule, measure: Measure, at_ms: int) -> tuple[float | None, str]:
    """The value if there is to be an alert of it; and what it says when there is nothing to measure."""
    over = rule.window is Windowing.SESSION and at_ms >= window.last_ms + rule.gap_ms
    value = None if over else measure.holds(window, rule, at_ms)
    if value is not None or rule.on_no_data is Without.OK or at_ms >= window.last_ms + rule.forget_ms:
        return value, ""
    oldest = at_ms - rule.within_ms
    if any(point.time_ms > oldest for point in window.points) or any(t > oldest for t in window.terms.values()):
        return value, ""
    if rule.on_no_data is Without.KEEP:
        kept = window.episode is not None and window.episode.below_ms == HOLDS
        return (_KEPT if kept else None), ""
    return 0.0, Without.NO_DATA.value if rule.on_no_data is Without.NO_DATA else ""


_KEPT = math.inf
"""In place of a value: as it was."""


def _look(window: Window, rule: Rule, measure: Measure, at_ms: int) -> tuple[Window, list[Change]]:
    window, changes = _ended(window, rule, at_ms)
    value, without = _said(window, rule, measure, at_ms)
    window = replace(window, at_ms=at_ms, ask_ms=0)
    episode = window.episode
    if value is None:
        if episode is not None and episode.below_ms == HOLDS:
            window = replace(window, episode=replace(episode, below_ms=at_ms))
        return window, changes
    if value == _KEPT:
        return window, changes
    severity = (severity_of(rule, value) if rule.severities and not without else None) or rule.severity
    if episode is not None and (episode.alert_labels["severity"], episode.without) != (severity, without):
        window, more = end(window, at_ms)
        changes += more
        episode = None
    values = window.values | {"value": shown(value)} | _counts(window, rule, at_ms)
    if episode is None:
        episode = Episode(
            starts_at_ms=at_ms,
            below_ms=HOLDS,
            sent_ms=at_ms,
            total=sum(point.matches for point in window.points) or 1,
            alert_labels=labels_of(rule, window.group) | {"severity": severity},
            tenant=rule.tenant,
            values=values,
            without=without,
        )
        changes.append(Change(episode=episode, at_ms=at_ms, evidence=window.evidence))
    else:
        episode = replace(episode, below_ms=HOLDS, values=values)
        if at_ms >= episode.sent_ms + REFRESH_MS:
            episode = replace(episode, sent_ms=at_ms)
            changes.append(Change(episode=episode, at_ms=at_ms, evidence=window.evidence))
    return replace(window, episode=episode), changes


def _counts(window: Window, rule: Rule, at_ms: int) -> dict[str, str]:
    return {name: shown(count) for name, count in counted(window, rule, at_ms).items()} if rule.counts else {}


def _ended(window: Window, rule: Rule, horizon_ms: int) -> tuple[Window, list[Change]]:
    episode = window.episode
    if episode is None or episode.below_ms == HOLDS:
        return window, []
    ends_ms = episode.below_ms + rule.keep_firing_for_ms
    return end(window, ends_ms) if ends_ms < horizon_ms else (window, [])


def shown(value: float) -> str:
    """Without what nobody reads: 3, 0.25, 1234567."""
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
