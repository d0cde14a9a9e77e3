"""One window: the matches of one group of one rule, and the alert they make. Pure functions over immutable windows.

Counting is a fold over matches in the order (event time, topic, partition, offset). A moment (`any`, say) is the same
as one match within `keep_firing_for`. Bounded: up to a count of `MAX_KEPT` / 2 the newest `MAX_KEPT` matches are kept,
which is exact; for higher counts those of one slot (`within` * 2 / `MAX_KEPT`) as one with the time of the newest,
which is less than a slot off.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from schemas.alerts import Evidence
from schemas.base import Event
from schemas.rule_document import MOMENTARY, Rule

MAX_KEPT = 256
MAX_EVIDENCE = 20
MAX_EXCERPT = 200
MAX_RECENT = 256
"""Records a window remembers, to know one that is told again at another offset."""
REFRESH_MS = 30_000
"""How often (in event time) a firing alert with new matches is observed again."""


class Hit(Event, frozen=True, kw_only=True, gc=False):
    """A match on its way into its window."""

    time_ms: int
    topic: str
    partition: int
    offset: int
    record: int = 0
    weight: int = 1
    value: float = 0.0
    term: int = 0
    steps: list[int] = []
    seen_ms: int = 0
    late: bool = False
    labels: dict[str, str] = {}

    @property
    def order(self) -> tuple[int, str, int, int]:
        return self.time_ms, self.topic, self.partition, self.offset


class Episode(Event, frozen=True, kw_only=True, gc=False):
    """The alert of a window from when it began to when it ends."""

    starts_at_ms: int
    below_ms: int
    """When there are too few matches again, unless more come."""
    sent_ms: int = 0
    total: int = 0
    late: bool = False
    """Made by matches that were late: others may still be on their way, so its end waits for them."""
    alert_labels: dict[str, str]
    tenant: str
    values: dict[str, str] = {}
    """Of the newest match, for templates."""
    without: str = ""
    """`no_data`: there is nothing to measure, and that is all it says."""


class Point(NamedTuple):
    """Some matches at one time, with the sum, the least and the greatest of their values."""

    time_ms: int
    matches: int
    total: float
    least: float
    most: float


class Window(Event, frozen=True, kw_only=True, gc=False):
    """There may be a hundred thousand of them: nothing in it can refer back to it, so collectors leave it alone."""

    rule: str
    rule_hash: str
    group: dict[str, str]
    seen: dict[str, int] = {}
    """Source partition -> highest offset applied: what is not beyond it is a repeat."""
    kept: list[tuple[int, int]] = []
    """(event time, weight), ascending."""
    points: list[Point] = []
    """What a measure counts (streams/rules/measures.py), ascending."""
    terms: dict[int, int] = {}
    """What moments (streams/rules/moments.py) and measures remember, with event times."""
    first_ms: int = 0
    """Event time of the first match."""
    at_ms: int = 0
    """Event time up to which a measure was looked at."""
    ask_ms: int = 0
    """When it is to be looked at next because of a match: once no other match of the same time can come."""
    late: bool = False
    """The newest match was late: others may be on their way, so a measure waits for the time they go by."""
    values: dict[str, str] = {}
    """Of the newest match, for templates of alerts that no match begins."""
    recent: list[int] = []
    """`Match.record` of the newest records counted."""
    evidence: list[Evidence] = []
    last_ms: int = 0
    """Event time of the newest match."""
    touched_ms: int = 0
    """When a match last came, by the clock."""
    episode: Episode | None = None
    ended: tuple[int, int] = (0, 0)
    """Begin and end of the episode before: nothing late makes another one within it."""


class Change(Event, frozen=True, kw_only=True):
    """What became of the alert: it fires (`ends_at_ms` 0), or it ended."""

    episode: Episode
    at_ms: int
    ends_at_ms: int = 0
    evidence: list[Evidence] = []


def labels_of(rule: Rule, group: dict[str, str]) -> dict[str, str]:
    """The alert's labels; what the group does not have is left out."""
    known = {name: value for name, value in group.items() if value}
    return rule.labels | known | {"alertname": rule.name, "severity": rule.severity}


def measure(rule: Rule) -> tuple[int, int, int]:
    """(count, within, keep firing for) in ms."""
    if rule.type in MOMENTARY:
        return 1, max(1, rule.keep_firing_for_ms), 0
    return rule.count, rule.within_ms, rule.keep_firing_for_ms


def apply(window: Window, rule: Rule, hit: Hit, floor_ms: int) -> tuple[Window, list[Change]]:
    """Count one match. `floor_ms`: no match from before it is on its way, so what only such need can be forgotten."""
    count, within, _ = measure(rule)
    late = hit.late and bool(window.kept) and hit.time_ms < window.kept[-1][0]
    window, changes = settle(window, rule, hit.time_ms)
    cut = min(hit.time_ms, floor_ms) - within
    kept = _inserted([pair for pair in window.kept if pair[0] > cut], (hit.time_ms, hit.weight), _slot(count, within))
    window = replace(
        window, kept=kept, evidence=with_evidence(window, hit, cut), last_ms=max(window.last_ms, hit.time_ms)
    )
    if window.episode is None:
        window, more = _open(window, rule, hit, late)
    else:
        window, more = _refresh(window, window.episode, rule, hit, late)
    return window, changes + more


def told(window: Window, hit: Hit) -> Window | None:
    """The window that remembers the record of `hit`; None when it was counted already: a source that was killed tells
    some records again."""
    if not hit.record:
        return window
    if hit.record in window.recent:
        return None
    return replace(window, recent=[*window.recent[1 - MAX_RECENT :], hit.record])


def settle(window: Window, rule: Rule, horizon_ms: int) -> tuple[Window, list[Change]]:
    """End the alert when it was over before `horizon_ms`."""
    episode = window.episode
    if episode is None:
        return window, []
    ends = episode.below_ms + measure(rule)[2]
    return end(window, ends) if ends < horizon_ms else (window, [])


def end(window: Window, at_ms: int) -> tuple[Window, list[Change]]:
    episode = window.episode
    if episode is None:
        return window, []
    at_ms = max(at_ms, episode.starts_at_ms)
    change = Change(episode=episode, at_ms=at_ms, ends_at_ms=at_ms, evidence=window.evidence)
    return replace(window, episode=None, ended=(episode.starts_at_ms, at_ms)), [change]


def _open(window: Window, rule: Rule, hit: Hit, late: bool) -> tuple[Window, list[Change]]:
    """Begin an episode when the match, or one after it that is late no more, reaches the count."""
    count, within, keep = measure(rule)
    kept = window.kept
    for index in range(bisect.bisect_left(kept, hit.time_ms, key=_time), len(kept)):
        time = kept[index][0]
        if time >= hit.time_ms + within:
            break
        below = _below(kept, index, count, within)
        if below and not window.ended[0] <= time <= window.ended[1]:
            if late:
                below = _below_at_last(kept, index, below, count, within, keep)
            total = sum(weight for t, weight in kept[: index + 1] if t > time - within)
            episode = Episode(
                starts_at_ms=time,
                below_ms=below,
                sent_ms=time,
                total=total,
                late=hit.late,
                alert_labels=labels_of(rule, window.group),
                tenant=rule.tenant,
                values=hit.labels,
            )
            change = Change(episode=episode, at_ms=time, evidence=window.evidence)
            return replace(window, episode=episode), [change]
    return window, []


def _refresh(window: Window, episode: Episode, rule: Rule, hit: Hit, late: bool) -> tuple[Window, list[Change]]:
    count, within, keep = measure(rule)
    kept = window.kept
    if hit.time_ms <= episode.starts_at_ms - within:
        return window, []  # of a time before this episode
    if late:
        first = bisect.bisect_left(kept, episode.starts_at_ms, key=_time)
        below = _below_at_last(kept, first - 1, episode.below_ms, count, within, keep)
    else:
        below = _below(kept, len(kept) - 1, count, within) or episode.below_ms
    episode = replace(
        episode,
        below_ms=max(below, episode.below_ms),
        total=episode.total + hit.weight,
        values=episode.values if late else hit.labels,
    )
    changes = []
    if hit.time_ms >= episode.sent_ms + REFRESH_MS:
        episode = replace(episode, sent_ms=hit.time_ms)
        changes = [Change(episode=episode, at_ms=hit.time_ms, evidence=window.evidence)]
    return replace(window, episode=episode), changes


def _below(kept: Sequence[tuple[int, int]], index: int, count: int, within: int) -> int:
    """When the matches up to the one at `index` are fewer than `count` again; 0 when they are too few at its time."""
    oldest = kept[index][0] - within
    total = 0
    while index >= 0 and kept[index][0] > oldest:
        total += kept[index][1]
        if total >= count:
            return kept[index][0] + within
        index -= 1
    return 0


def _below_at_last(kept: Sequence[tuple[int, int]], index: int, below: int, count: int, within: int, keep: int) -> int:
    """The same after all matches from `index` on that follow without a gap."""
    for i in range(index + 1, len(kept)):
        if below + keep < kept[i][0]:
            break
        below = max(below, _below(kept, i, count, within))
    return below


def _slot(count: int, within: int) -> int:
    """Within how many ms matches are kept as one; 0: each by itself."""
    return 0 if count <= MAX_KEPT // 2 else max(1, within * 2 // MAX_KEPT)


def _inserted(kept: list[tuple[int, int]], pair: tuple[int, int], slot: int) -> list[tuple[int, int]]:
    time, weight = pair
    if slot:
        for index in range(len(kept) - 1, -1, -1):
            if kept[index][0] // slot == time // slot:
                kept[index] = max(kept[index][0], time), kept[index][1] + weight
                return kept
            if kept[index][0] < time:
                break
    bisect.insort(kept, pair, key=_time)
    return kept[-MAX_KEPT:]


def _time(pair: tuple[int, int]) -> int:
    return pair[0]


def with_evidence(window: Window, hit: Hit, cut_ms: int) -> list[Evidence]:
    """The records that speak for the alert: all of the window or the episode, the newest of them."""
    if window.episode is not None:
        cut_ms = 0
    new = Evidence(
        topic=hit.topic,
        partition=hit.partition,
        offset=hit.offset,
        time_ms=hit.time_ms,
        excerpt=hit.labels.get("message", "")[:MAX_EXCERPT],
    )
    out = [each for each in window.evidence if each.time_ms > cut_ms]
    out.append(new)
    if len(out) > 1 and out[-2].time_ms >= new.time_ms:
        out.sort(key=lambda each: (each.time_ms, each.topic, each.partition, each.offset))
    return out[-MAX_EVIDENCE:]
