"""`rules.matches` -> `alerts`: counts the matches of each rule and group in event time, and observes their alerts.

Key: hash(rule, group) in, tenant/fingerprint out. Guarantee: the same source records give the same alerts whatever the
number of partitions and workers and the order partitions are read in; a match that comes again changes nothing. Time
passes only by what matchers say of their partitions (streams/rules/clock.py), never by the clock here.

A match from before that time is late. It is still counted, in its own place in time: it can begin an alert, but not
move the beginning of one that was already observed, and not make another one inside it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from schemas.base import Event
from schemas.rule_document import Rule
from schemas.rules import Match, Progress
from streams.errors import Invalid
from streams.metrics import MATCHES_DROPPED, MATCHES_LATE
from streams.record import Outgoing, Record
from streams.rules import window as windows
from streams.rules.alert import observation, outgoing
from streams.rules.clock import Clock, heard
from streams.rules.held import rules_of
from streams.rules.matching import window_id
from streams.rules.ruleset import RuleSet
from streams.rules.waiting import Waiting
from streams.rules.window import Change, Hit, Window
from streams.state import State

if TYPE_CHECKING:
    from streams.worker import Worker

NAME = "evaluate-windows"
CLOCK = "clock"
SETTLE_MS = 1_000
"""How long a late match waits for others that are late with it in other partitions."""
FORGET_MS = 600_000
"""How long an empty window remembers which records it has seen."""
MAX_GROUPS = 10_000
"""Windows of one rule in one partition."""
MAX_WAITING = 100_000
"""Matches of one partition that wait for their time; beyond it they are counted without waiting."""
_decoder = msgspec.json.Decoder(Match | Progress)


class Entry(Event, frozen=True, kw_only=True):
    """One entry of the state: the clock, a window (`w/<id>`), or a match that waits (`m/<id>/...`)."""

    clock: Clock | None = None
    window: Window | None = None
    hit: Hit | None = None


class _Derived(NamedTuple):
    """What is derived from one partition's state under one rule set; made anew when either is another object."""

    state: weakref.ref[State[Entry]]
    rules: RuleSet
    waiting: Waiting


class EvaluateWindows:
    """`lateness_ms`: of rules that do not name theirs."""

    version = 1
    entry = Entry

    def __init__(self, rules: Callable[[], RuleSet], lateness_ms: int) -> None:
        self._rules = rules
        self._lateness_ms = lateness_ms
        self._derived: dict[int, _Derived] = {}

    def decide(self, state: State[Entry], record: Record) -> Iterable[Outgoing]:
        """Raises Invalid("decode") for what is neither a match nor progress."""
        try:
            message = _decoder.decode(record.value or b"")
        except msgspec.DecodeError as error:
            raise Invalid("decode", str(error)) from error
        out: list[Outgoing] = []
        step = _Step(self, state, self._current(state, out), out)
        if isinstance(message, Match):
            step.match(message)
        else:
            step.progress(message)
        return out

    def tick(self, state: State[Entry], now_ms: int) -> Iterable[Outgoing]:
        """Rules that changed or went end their alerts; otherwise nothing happens by the clock."""
        out: list[Outgoing] = []
        self._current(state, out)
        return out

    def lateness(self, rule: Rule) -> int:
        return rule.lateness_ms if rule.lateness_ms >= 0 else self._lateness_ms

    def _current(self, state: State[Entry], out: list[Outgoing]) -> _Derived:
        rules = self._rules()
        known = self._derived.get(state.partition)
        if known is None or known.state() is not state or known.rules is not rules:
            known = _Derived(weakref.ref(state), rules, Waiting())
            _Step(self, state, known, out).derive()
            self._derived[state.partition] = known
        return known


class _Step:
    """One call of the core on one partition."""

    def __init__(self, core: EvaluateWindows, state: State[Entry], derived: _Derived, out: list[Outgoing]) -> None:
        self._core = core
        self._state = state
        self._rules = derived.rules
        self._waiting = derived.waiting
        self._out = out
        self._clock = self._read_clock()

    def _read_clock(self) -> Clock:
        entry = self._state.get(CLOCK)
        return (entry.clock if entry else None) or Clock()

    def _window(self, id_: str) -> Window | None:
        entry = self._state.get(f"w/{id_}")
        return entry.window if entry else None

    def _rule(self, window: Window) -> Rule | None:
        return self._rules.rules[window.rule] if self._rules.hashes.get(window.rule) == window.rule_hash else None

    def derive(self) -> None:
        """Read what waits from the entries. Windows of rules that are gone or changed end, if all rules are known."""
        gone: list[tuple[str, Window]] = []
        for key, entry in self._state.items():
            if entry.window is not None:
                self._waiting.groups[entry.window.rule] += 1
                if self._rule(entry.window) is None:
                    gone.append((key[2:], entry.window))
                self._watch(key[2:], entry.window)
                self._waiting.forget_at(key[2:], entry.window.touched_ms + FORGET_MS)
        for key, entry in self._state.items():
            id_ = key.split("/", 2)[1] if entry.hit is not None else ""
            window = self._window(id_)
            if entry.hit is not None and window is not None:
                rule = self._rule(window)
                self._waiting.add(id_, entry.hit, self._core.lateness(rule) if rule else 0)
        for id_, window in gone if self._rules.complete else ():
            self._retire(id_, window)

    # a match

    def match(self, match: Match) -> None:
        rule = self._rules.rules.get(match.rule)
        if rule is None or self._rules.hashes[match.rule] != match.rule_hash:
            MATCHES_DROPPED.labels("unknown_rule").inc()
            return
        id_ = window_id(match.rule, match.group)
        window = self._window(id_)
        if window is not None and window.rule_hash != match.rule_hash:
            self._retire(id_, window)
            window = None
        if window is None:
            if self._waiting.groups[match.rule] >= MAX_GROUPS:
                MATCHES_DROPPED.labels("too_many_groups").inc()
                return
            window = Window(rule=match.rule, rule_hash=match.rule_hash, group=match.group)
            self._waiting.groups[match.rule] += 1
            self._waiting.forget_at(id_, match.seen_ms + FORGET_MS)
        self._enqueue(id_, window, rule, match)

    def _enqueue(self, id_: str, window: Window, rule: Rule, match: Match) -> None:
        partition = f"{match.topic}/{match.partition}/"
        if match.offset <= window.seen.get(partition + match.topic_id, -1):
            MATCHES_DROPPED.labels("repeated").inc()
            return
        seen = {name: offset for name, offset in window.seen.items() if not name.startswith(partition)}
        seen[partition + match.topic_id] = match.offset
        window = replace(window, seen=seen, touched_ms=max(window.touched_ms, match.seen_ms))
        lateness = self._core.lateness(rule)
        hit = Hit(
            time_ms=match.time_ms,
            topic=match.topic,
            partition=match.partition,
            offset=match.offset,
            weight=match.weight,
            seen_ms=match.seen_ms,
            late=match.time_ms < self._clock.live_ms - lateness,
            labels=match.labels,
        )
        if hit.late:
            MATCHES_LATE.inc()
        self._state[f"w/{id_}"] = Entry(window=window)
        self._state[_hit_key(id_, hit)] = Entry(hit=hit)
        self._waiting.add(id_, hit, lateness)
        self._watch(id_, window)
        if self._waiting.count > MAX_WAITING:
            MATCHES_DROPPED.labels("not_waited_for").inc()
            self._evaluate(id_, lambda _: True)

    # time

    def progress(self, progress: Progress) -> None:
        clock = heard(self._clock, progress)
        if clock == self._clock:
            return
        self._clock = clock
        self._state[CLOCK] = Entry(clock=clock)
        if not clock.live_ms:
            return
        for id_ in sorted(self._waiting.pop_due(clock.live_ms) | self._waiting.late):
            self._evaluate(id_, None)
        for id_ in sorted(self._waiting.pop_forgettable(clock.heard_ms)):
            self._forget(id_)

    def _evaluate(self, id_: str, ready: Callable[[Hit], bool] | None) -> None:
        """Count the matches whose time has come, and let the window's alert end when it is over."""
        window = self._window(id_)
        rule = self._rule(window) if window else None
        if window is None or rule is None:
            return
        lateness = self._core.lateness(rule)
        live = self._clock.live_ms - lateness
        back = min(live, self._clock.back_ms - lateness) if self._clock.heard_ms else 0

        def by_time(hit: Hit) -> bool:
            if hit.late:
                return hit.time_ms < back and hit.seen_ms + SETTLE_MS <= self._clock.heard_ms
            return hit.time_ms < live

        changes: list[Change] = []
        before = window
        for hit in self._waiting.take(id_, ready or by_time):
            window, more = windows.apply(window, rule, hit, back)
            changes += more
            del self._state[_hit_key(id_, hit)]
        horizon = back if window.episode and window.episode.late else live
        queue = self._waiting.queues.get(id_)
        if queue:
            horizon = min(horizon, queue[0].time_ms)
        window, more = windows.settle(window, rule, horizon)
        for change in changes + more:
            self._out.append(outgoing(observation(rule, window, change)))
        if window is not before:
            self._state[f"w/{id_}"] = Entry(window=window)
        self._waiting.late.discard(id_)
        self._watch(id_, window)
        for hit in queue or ():
            if hit.late:
                self._waiting.late.add(id_)
            else:
                self._waiting.due(id_, hit.time_ms + lateness)
                break

    def _watch(self, id_: str, window: Window) -> None:
        """See to it that the window is looked at when something may happen to it."""
        rule = self._rule(window)
        if rule is None:
            return
        if window.episode and window.episode.late:
            self._waiting.late.add(id_)
        elif window.episode:
            ends = window.episode.below_ms + windows.measure(rule)[2]
            self._waiting.due(id_, ends + self._core.lateness(rule))

    # ends

    def _forget(self, id_: str) -> None:
        window = self._window(id_)
        rule = self._rule(window) if window else None
        if window is None or rule is None:
            return
        quiet_at = max(window.touched_ms + FORGET_MS, window.last_ms + windows.measure(rule)[1])
        if window.episode or id_ in self._waiting.queues:
            quiet_at = self._clock.heard_ms + FORGET_MS
        if quiet_at < self._clock.heard_ms:
            self._drop(id_, window)
        else:
            self._waiting.forget_at(id_, quiet_at)

    def _retire(self, id_: str, window: Window) -> None:
        """The rule is gone, or is another now: its alert ends, its matches mean nothing any more."""
        at_ms = max(self._clock.live_ms, window.last_ms)
        ended, changes = windows.end(window, at_ms)
        self._out.extend(outgoing(observation(None, ended, change)) for change in changes)
        self._drop(id_, window)

    def _drop(self, id_: str, window: Window) -> None:
        for hit in self._waiting.drop(id_, window):
            self._state.pop(_hit_key(id_, hit), None)
        del self._state[f"w/{id_}"]


def _hit_key(id_: str, hit: Hit) -> str:
    return f"m/{id_}/{hit.time_ms}/{hit.topic}/{hit.partition}/{hit.offset}"


def register(worker: Worker) -> None:
    rules = rules_of(worker)
    lateness_ms = int(worker.settings.worker.window_lateness_s * 1000)
    worker.stateful(NAME, "rules.matches", EvaluateWindows(lambda: rules.current, lateness_ms))
