"""What is decided beyond an alertmanager.yml: where digests and escalations lead, who is left in peace, when it is said
again. Pure. The document: streams/policy_file.py.

Digests and escalations are groups of their own, so that their timers, numbers and ids are as safe as any group's: a
digest's is told at the end of its period, an escalation's waits for `after`, and leaves out what somebody took on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from schemas.alerting import AlertingConfig, InhibitRule
from schemas.alerts import AlertState, Matcher, Status
from schemas.base import rfc3339
from schemas.notifications import Timing
from schemas.policies import DigestPolicy, Policies, RepeatPolicy
from streams import time_intervals
from streams.groups import Group
from streams.matching import matches
from streams.routing import Destination, destinations

DIGEST = "digest/"
ESCALATION = "escalation/"
"""How their group keys begin; those of routes begin with a brace."""
NEVER_MS = 1 << 52
_replace = msgspec.structs.replace


def led(config: AlertingConfig, labels: Mapping[str, str]) -> list[Destination]:
    """Each receiver and group an alert of `labels` goes to, by the routes and by the policies."""
    plain = destinations(config.route, labels)
    policies = config.policies
    if not (policies.digest or policies.escalate):
        return plain
    out: dict[tuple[str, str], Destination] = {}
    for each in [*(_collected(policies, each, labels) for each in plain), *_escalated(policies, plain, labels)]:
        out.setdefault((each.route.receiver, each.group_key), each)
    return list(out.values())


def _collected(policies: Policies, to: Destination, labels: Mapping[str, str]) -> Destination:
    for policy in policies.digest:
        if (not policy.receivers or to.route.receiver in policy.receivers) and matches(policy.matchers, labels):
            return _digest(policy, to)
    return to


def _digest(policy: DigestPolicy, to: Destination) -> Destination:
    every = policy.every_ms
    timing = Timing(group_wait_ms=every, group_interval_ms=every, repeat_interval_ms=every, digest_ms=every)
    return Destination(_replace(to.route, timing=timing), {}, f"{DIGEST}{policy.name}")


def _escalated(policies: Policies, plain: Iterable[Destination], labels: Mapping[str, str]) -> Iterable[Destination]:
    for policy in policies.escalate:
        if matches(policy.matchers, labels):
            for each in plain:
                timing = _replace(each.route.timing, group_wait_ms=policy.after_ms, repeat_interval_ms=policy.repeat_ms)
                route = _replace(
                    each.route, receiver=policy.to, timing=timing, mute_time_intervals=[], active_time_intervals=[]
                )
                yield Destination(route, each.group_labels, f"{ESCALATION}{policy.name}:{each.group_key}")


def is_escalation(group_key: str) -> bool:
    return group_key.startswith(ESCALATION)


def taken_on(alert: AlertState, now_ms: int) -> bool:
    """Somebody works on it: it need not be said again."""
    told = alert.acknowledged
    return told is not None and (not told.until_ms or now_ms < told.until_ms)


def snoozed(alert: AlertState, now_ms: int) -> str:
    """Why nothing is said of an alert that fires, or an empty text."""
    told = alert.acknowledged
    if told is None or not told.snoozed or alert.state is Status.RESOLVED or not taken_on(alert, now_ms):
        return ""
    return f"snoozed by {told.by} until {rfc3339(told.until_ms) if told.until_ms else 'it resolves'}"


def withheld(
    config: AlertingConfig, receiver: str, group_key: str, alert: AlertState, now_ms: int, *, known: bool
) -> str:
    """Why this receiver does not hear of an alert now, or an empty text. `known`: it was told that it fires."""
    if is_escalation(group_key) and not known and taken_on(alert, now_ms) and alert.acknowledged:
        return f"acknowledged by {alert.acknowledged.by}: not escalated"
    for hours in config.policies.quiet_hours:
        through = receiver not in hours.receivers or (bool(hours.but) and matches(hours.but, alert.labels))
        if not through and time_intervals.within(hours.spans, now_ms):
            return f"quiet hours {hours.name}"
    return ""


class Repeat(NamedTuple):
    """`policy`: whether one decides; else it is the route's own `repeat_interval`."""

    wait_ms: int
    policy: bool


def repeat(policies: Policies, alerts: Iterable[AlertState], group: Group, repeats: int) -> Repeat:
    """How long a group of these alerts waits until it is told again, having been so `repeats` times already.

    Escalations and digests have a time of their own.
    """
    waits = []
    decided = False
    timing = group.timing
    own = group.group_key.startswith((ESCALATION, DIGEST))
    for alert in alerts if policies.repeat and not own else ():
        policy = next((each for each in policies.repeat if matches(each.matchers, alert.labels)), None)
        decided |= policy is not None
        waits.append(_wait_ms(policy, repeats) if policy else timing.repeat_interval_ms)
    return Repeat(min(waits, default=timing.repeat_interval_ms), decided)


def _wait_ms(policy: RepeatPolicy, repeats: int) -> int:
    if not policy.every_ms or (policy.times and repeats >= policy.times):
        return NEVER_MS
    longest = policy.max_ms or NEVER_MS
    wait = policy.every_ms
    for _ in range(repeats if policy.factor > 1 else 0):
        wait *= policy.factor
        if wait >= longest:
            return longest
    return min(wait, longest)


WORKLOADS = ("workload", "deployment", "statefulset", "daemonset")


def by_level(source: list[Matcher]) -> list[InhibitRule]:
    """An alert of a node or a workload that `source` takes mutes those of the pods on it or of it."""

    def given(name: str) -> Matcher:
        return Matcher(name=name, value="", is_equal=False)

    none = Matcher(name="pod", value="")
    return [
        InhibitRule(source=[*source, given(name), none], target=[given("pod"), given(name)], equal=[*place, name])
        for name, place in (("node", ["cluster"]), *((name, ["cluster", "namespace"]) for name in WORKLOADS))
    ]
