"""The windows of one partition of `rules.matches`: matches wait for their time, are counted, and alerts come out.

Lives beside one `State` under one rule set, and is made anew from the entries when either is another object. The clocks
are kept in the state only while there is a window: an idle platform writes nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from sys import intern
from typing import Any

from msgspec.structs import replace

from schemas.alerts import Alert
from schemas.base import Event
from schemas.rule_document import SHADOW, Rule
from schemas.rules import Match, Progress
from streams.metrics import MATCHES_DROPPED, MATCHES_LATE
from streams.record import Outgoing
from streams.rules import detection
from streams.rules import window as windows
from streams.rules.alert import SHADOW_TOPIC, observation, outgoing
from streams.rules.clock import UNHEARD, Clock, heard, together
from streams.rules.matching import window_id
from streams.rules.ruleset import RuleSet
from streams.rules.waiting import Waiting
from streams.rules.window import Change, Hit, Window
from streams.state import State

CLOCKS = "clocks"
SETTLE_MS = 1_000
"""How long a late match waits for others that are late with it in other partitions."""
FORGET_MS = 600_000
"""How long an empty window remembers which records it has seen."""
MAX_GROUPS = 10_000
"""Windows of one rule in one partition."""
MAX_WAITING = 100_000
"""Matches of one partition that wait for their time; beyond it they are counted without waiting."""


class Entry(Event, frozen=True, kw_only=True, gc=False):
    """One entry of the state: the clocks, a window (`w/<id>`), or a match that waits (`m/<id>/...`)."""

    clocks: dict[str, Clock] | None = None
    """By input topic."""
    window: Window | None = None
    hit: Hit | None = None


class Evaluation:
    """`out` collects what is to be sent; whoever calls takes it. `lateness_ms`: of rules that do not name theirs."""

    def __init__(self, state: State[Entry], rules: RuleSet, lateness_ms: int) -> None:
        self._ref = weakref.ref(state)
        self.rules = rules
        self.out: list[Outgoing] = []
        self._lateness_ms = lateness_ms
        self._waiting = Waiting()
        self._several = {rule.clock for rule in rules.rules.values() if rule.inputs}
        entry = state.get(CLOCKS)
        self._clocks = (entry.clocks if entry else None) or {}
        self._derive()

    def is_of(self, state: State[Entry], rules: RuleSet) -> bool:
        return self._ref() is state and self.rules is rules

    @property
    def _state(self) -> State[Entry]:
        state = self._ref()
        if state is None:
            raise RuntimeError("the state of this evaluation is gone")
        return state

    def _window(self, id_: str) -> Window | None:
        entry = self._state.get(f"w/{id_}")
        return entry.window if entry else None

    def _rule(self, window: Window) -> Rule | None:
        return self.rules.rules[window.rule] if self.rules.hashes.get(window.rule) == window.rule_hash else None

    def _clock(self, name: str) -> Clock:
        """Of a topic, or of several that one rule looks at (`Rule.clock`)."""
        if name in self._clocks or "+" not in name:
            return self._clocks.get(name, UNHEARD)
        return together([self._clocks.get(topic, UNHEARD) for topic in name.split("+")])

    def _lateness(self, rule: Rule) -> int:
        return rule.lateness_ms if rule.lateness_ms >= 0 else self._lateness_ms

    def _derive(self) -> None:
        """Read what waits from the entries. Windows of rules that are gone or changed end, if all rules are known."""
        gone: list[tuple[str, Window]] = []
        hits: list[tuple[str, Hit]] = []
        for key, entry in self._state.items():
            if entry.hit is not None:
                hits.append((key.split("/", 2)[1], entry.hit))
            if entry.window is None:
                continue
            self._waiting.opened(key[2:], entry.window, entry.window.touched_ms + FORGET_MS)
            if self._rule(entry.window) is None:
                gone.append((key[2:], entry.window))
            self._watch(key[2:], entry.window)
        for id_, hit in hits:
            window = self._window(id_)
            rule = self._rule(window) if window else None
            self._waiting.add(id_, hit, rule.clock if rule else "", self._lateness(rule) if rule else 0)
        for id_, window in gone if self.rules.complete else ():
            self._retire(id_, window)

    def keep_clocks(self) -> None:
        """Once after each record: the clocks are part of the state while there are windows."""
        kept = self._state.get(CLOCKS)
        if self._waiting.windows and (kept is None or kept.clocks != self._clocks):
            self._state[CLOCKS] = Entry(clocks=self._clocks)

    # a match

    def match(self, match: Match) -> None:
        rule = self.rules.rules.get(match.rule)
        if rule is None or self.rules.hashes[match.rule] != match.rule_hash:
            MATCHES_DROPPED.labels("unknown_rule").inc()
            return
        id_ = window_id(match.rule, match.group)
        window = self._window(id_)
        if window is not None and window.rule_hash != match.rule_hash:
            self._retire(id_, window)
            window = None
        if window is None:
            if self._waiting.groups[match.rule] >= (rule.limit or MAX_GROUPS):
                MATCHES_DROPPED.labels("too_many_groups").inc()
                return
            hash_ = self.rules.hashes[match.rule]
            window = Window(rule=rule.key, rule_hash=hash_, group=_shared(match.group), **_EMPTY)
            self._waiting.opened(id_, window, match.seen_ms + FORGET_MS)
        self._enqueue(id_, window, rule, match)

    def _enqueue(self, id_: str, window: Window, rule: Rule, match: Match) -> None:
        partition = f"{match.topic}/{match.partition}/"
        if match.offset <= window.seen.get(partition + match.topic_id, -1):
            MATCHES_DROPPED.labels("repeated").inc()
            return
        seen = {name: offset for name, offset in window.seen.items() if not name.startswith(partition)}
        seen[intern(partition + match.topic_id)] = match.offset
        window = replace(window, seen=seen, touched_ms=max(window.touched_ms, match.seen_ms))
        lateness = self._lateness(rule)
        hit = Hit(
            time_ms=match.time_ms,
            topic=intern(match.topic),
            partition=match.partition,
            offset=match.offset,
            record=match.record,
            weight=match.weight,
            value=match.value,
            term=match.term,
            steps=match.steps,
            seen_ms=match.seen_ms,
            late=match.time_ms < self._clock(rule.clock).live_ms - lateness,
            labels=match.labels,
        )
        if hit.late:
            MATCHES_LATE.inc()
        self._state[f"w/{id_}"] = Entry(window=window)
        self._state[_hit_key(id_, hit)] = Entry(hit=hit)
        self._waiting.add(id_, hit, rule.clock, lateness)
        self._watch(id_, window)
        if self._waiting.count > MAX_WAITING:
            MATCHES_DROPPED.labels("not_waited_for").inc()
            self._evaluate(id_, lambda _: True)

    # time

    def progress(self, progress: Progress) -> None:
        self._clocks = heard(self._clocks, progress)
        looked_at = set(self._waiting.late)
        for name in {*self._clocks, *self._several}:
            looked_at |= self._waiting.pop_due(name, self._clock(name).live_ms)
        for id_ in sorted(looked_at):
            self._evaluate(id_, None)
        now_ms = min((clock.heard_ms for clock in self._clocks.values()), default=0)
        for id_ in sorted(self._waiting.pop_forgettable(now_ms)):
            self._forget(id_, now_ms)

    def _evaluate(self, id_: str, ready: Callable[[Hit], bool] | None) -> None:
        """Count the matches whose time has come, and let the window's alert end when it is over."""
        window = self._window(id_)
        rule = self._rule(window) if window else None
        if window is None or rule is None:
            return
        lateness = self._lateness(rule)
        clock = self._clock(rule.clock)
        live = clock.live_ms - lateness
        back = min(live, clock.back_ms - lateness)

        def by_time(hit: Hit) -> bool:
            if hit.late:
                return hit.time_ms < back and hit.seen_ms + SETTLE_MS <= clock.heard_ms
            return hit.time_ms < live

        changes: list[Change] = []
        before = window
        for hit in self._waiting.take(id_, ready or by_time):
            window, more = detection.apply(window, rule, hit, back)
            changes += more
            del self._state[_hit_key(id_, hit)]
        if window.late and back >= live:
            window = replace(window, late=False)
        horizon = back if is_late(window) else live
        queue = self._waiting.queues.get(id_)
        if queue:
            horizon = min(horizon, queue[0].time_ms)
        window, more = detection.settle(window, rule, horizon)
        for change in changes + more:
            self._say(observation(rule, window, change), window)
        if window is not before:
            self._state[f"w/{id_}"] = Entry(window=window)
        self._waiting.late.discard(id_)
        self._watch(id_, window)
        for hit in queue or ():
            if hit.late:
                self._waiting.late.add(id_)
            else:
                self._waiting.due(id_, rule.clock, hit.time_ms + lateness)
                break

    def _say(self, alert: Alert, window: Window) -> None:
        """The alert; a copy of it goes beside those of the same rule in shadow mode, to be compared."""
        self.out.append(outgoing(alert))
        if window.rule + SHADOW in self.rules.rules:
            self.out.append(outgoing(alert, SHADOW_TOPIC))

    def _watch(self, id_: str, window: Window) -> None:
        """See to it that the window is looked at when something may happen to it."""
        rule = self._rule(window)
        if rule is None:
            return
        if is_late(window):
            self._waiting.late.add(id_)
        elif (due_ms := detection.due_ms(window, rule)) is not None:
            self._waiting.due(id_, rule.clock, due_ms + self._lateness(rule))

    # ends

    def _forget(self, id_: str, now_ms: int) -> None:
        window = self._window(id_)
        rule = self._rule(window) if window else None
        if window is None or rule is None:
            return
        quiet_at = max(window.touched_ms + FORGET_MS, window.last_ms + detection.memory_ms(rule))
        if window.episode or id_ in self._waiting.queues:
            quiet_at = now_ms + FORGET_MS
        if quiet_at < now_ms:
            self._drop(id_, window)
        else:
            self._waiting.forget_at(id_, quiet_at)

    def _retire(self, id_: str, window: Window) -> None:
        """The rule is gone, or is another now: its alert ends, its matches mean nothing any more."""
        at_ms = max([window.last_ms, *(clock.live_ms for clock in self._clocks.values())])
        ended, changes = windows.end(window, at_ms)
        for change in changes:
            self._say(observation(None, ended, change), window)
        self._drop(id_, window)

    def _drop(self, id_: str, window: Window) -> None:
        for hit in self._waiting.drop(id_, window):
            self._state.pop(_hit_key(id_, hit), None)
        del self._state[f"w/{id_}"]


_EMPTY: dict[str, Any] = {"points": [], "terms": {}, "values": {}}
"""The same for all windows, which are replaced and never changed."""


def _shared(group: dict[str, str]) -> dict[str, str]:
    """With texts that other windows have too, once."""
    return {intern(name): intern(value) for name, value in group.items()}


def is_late(window: Window) -> bool:
    """Whether it goes by the time of late matches."""
    return window.late or (window.episode is not None and window.episode.late)


def _hit_key(id_: str, hit: Hit) -> str:
    return f"m/{id_}/{hit.time_ms}/{hit.topic}/{hit.partition}/{hit.offset}"
