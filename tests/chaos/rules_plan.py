"""Rules of every type, records for them, and what must have become of these. Pure: a seed gives the same every time."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from schemas.alerts import Alert, AlertState, Status
from schemas.base import encode
from schemas.notifications import Decision, Notification

RULES = 50
INTERESTING = 0.1
"""Share of the records that some rule looks at."""
PODS = 2
TYPES = {
    "any": "level: pod, keep_firing_for: 3s",
    "frequency": "level: pod, count: 3, within: 6s",
    "change": "level: pod, type: change, field: v, keep_firing_for: 4s",
    "term": "level: pod, type: new_term, field: v, within: 1m, learn: 2s, keep_firing_for: 4s",
    "sequence": "level: pod, type: sequence, steps: [v == 1, v == 2], within: 9s, keep_firing_for: 4s",
    "unless": "level: pod, type: sequence, steps: [v == 1], unless: v == 2, within: 9s, keep_firing_for: 4s",
    "join": "level: pod, type: join, steps: [v == 1, v == 3], within: 9s, keep_firing_for: 4s",
    "cardinality": "level: pod, type: cardinality, field: v, above: 2, within: 9s",
    "metric": "level: pod, type: metric, field: v, above: 2, within: 9s",
    "percentage": "type: percentage_match, match: v == 1, above: 40, count: 2, within: 9s",
    "spike": "type: spike, times: 2, count: 2, within: 9s",
    "flatline": "level: pod, type: flatline, count: 2, within: 9s, forget: 30s",
    "blacklist": "type: blacklist, field: v, values: [3], keep_firing_for: 3s",
    "expression": "type: expression, counts: {a: v == 1, b: v == 3}, expression: a > b && a > 1, within: 9s",
    "tumbling": "level: pod, type: frequency, count: 2, within: 9s, window: tumbling",
    "hopping": "level: pod, type: metric, field: v, aggregate: sum, above: 3, within: 9s, window: hopping, hop: 3s",
    "session": "level: pod, type: cardinality, field: v, above: 1, within: 30s, window: session, gap: 2s",
    "severities": "type: metric, field: v, aggregate: sum, above: {warning: 2, critical: 6}, within: 9s",
    "whitelist": "type: whitelist, field: v, values: [0, 1, 2], keep_firing_for: 3s",
}


def _fields(kind: str, number: int) -> str:
    """Half of the alerts last long enough to be told of while they fire."""
    fields = TYPES[kind]
    if number < RULES // 2:
        return fields
    return re.sub(r", keep_firing_for: \w+", "", fields) + ", keep_firing_for: 25s"


DOCUMENT = "groups:\n- name: chaos\n  rules:\n" + "".join(
    f"  - {{alert: {kind}-{number}, input: logs, where: 'log.contains(\"topic {number} \")', {_fields(kind, number)}"
    "}\n"
    for number, kind in enumerate((list(TYPES) * RULES)[:RULES])
)

Episode = tuple[str, int, int]
"""Fingerprint, begin, end in ms; end 0: it fires still."""


def values(count: int, rng: random.Random) -> Iterator[bytes]:
    """The JSON of `count` log records."""
    for number in range(count):
        about = {"namespace_name": "chaos", "pod_name": f"p{rng.randrange(PODS)}"}
        told = rng.random() < INTERESTING
        log = f"topic {rng.randrange(RULES)} is worth a look" if told else f"nothing to see, number {number}"
        yield encode({"log": log, "v": rng.choice((0, 0, 1, 2, 3)), "cluster": "chaos", "kubernetes": about})


def of_alerts(alerts: Iterable[Alert]) -> set[Episode]:
    """Episodes by what was observed of them."""
    out: dict[tuple[str, int], int] = {}
    for alert in alerts:
        key = alert.fingerprint, alert.starts_at_ms
        out[key] = alert.ends_at_ms or out.get(key, 0)
    return {(*key, end) for key, end in out.items()}


class Verdict(NamedTuple):
    """`lost`, `strange`: episodes of the undisturbed run alone, and of the disturbed one alone; `crooked`: alerts whose
    states did not follow each other one by one; `untold`: alerts of whose last state no decision speaks (one that came
    and went between two flushes of its group changes nothing, to Alertmanager too); `missing`: notifications decided
    and not delivered; `doubles`: delivered more than once, each time counted; `unknown`: delivered, never decided."""

    kills: int
    episodes: int
    notifications: int
    lost: list[Episode]
    strange: list[Episode]
    crooked: list[str]
    untold: list[str]
    missing: list[str]
    unknown: list[str]
    doubles: int

    @property
    def good(self) -> bool:
        wrong = (self.lost, self.strange, self.crooked, self.untold, self.missing, self.unknown)
        return not any(wrong) and self.doubles <= self.kills and self.episodes > 0

    def __str__(self) -> str:
        told = (
            f"{'GOOD' if self.good else 'BAD'}: {self.kills} kills, {self.episodes:,} episodes, "
            f"{self.notifications:,} notifications, {self.doubles} of them twice"
        )
        for name in ("lost", "strange", "crooked", "untold", "missing", "unknown"):
            if found := getattr(self, name):
                told += f"; {len(found)} {name}: {found[:3]}"
        return told


def judge(
    wanted: set[Episode],
    states: Sequence[AlertState],
    decisions: Sequence[Notification],
    delivered: Sequence[str],
    kills: int,
) -> Verdict:
    """`states` and `decisions` in the order of their topics, repeats of the same bytes included; `delivered`: ids."""
    final = {(state.fingerprint, state.starts_at_ms): state for state in states}
    found = {
        (*key, state.ends_at_ms if state.state is Status.RESOLVED else 0)
        for key, state in final.items()
        if state.state is not Status.PENDING
    }
    by_id = {each.id: each for each in decisions}
    sent = {id_ for id_, each in by_id.items() if each.decision is Decision.SEND}
    came = Counter(delivered)
    return Verdict(
        kills,
        len(wanted),
        len(sent),
        sorted(wanted - found),
        sorted(found - wanted),
        _crooked(states),
        _untold(states, by_id.values()),
        sorted(sent - came.keys()),
        sorted(came.keys() - sent),
        sum(count - 1 for count in came.values()),
    )


def _untold(states: Sequence[AlertState], decisions: Iterable[Notification]) -> list[str]:
    last = {state.fingerprint: state for state in states if state.state is not Status.PENDING}
    told: dict[str, tuple[int, AlertState]] = {}
    for each in decisions:
        for alert in each.alerts:
            if each.decided_at_ms >= told.get(alert.fingerprint, (0, alert))[0]:
                told[alert.fingerprint] = each.decided_at_ms, alert
    return sorted(
        f"{print_} {state.labels.get('alertname')}"
        for print_, state in last.items()
        if print_ not in told or told[print_][1].state is not state.state
    )


def _crooked(states: Sequence[AlertState]) -> list[str]:
    """A number told twice must be the same state; and no number may be left out."""
    seen: defaultdict[str, dict[int, tuple[str, Status]]] = defaultdict(dict)
    out = set()
    for state in states:
        before = seen[state.fingerprint].setdefault(state.seq, (state.episode, state.state))
        if before != (state.episode, state.state):
            out.add(f"{state.fingerprint} has two states {state.seq}")
    for print_, numbers in seen.items():
        if sorted(numbers) != list(range(min(numbers), min(numbers) + len(numbers))):
            out.add(f"{print_} lacks a state")
    return sorted(out)
