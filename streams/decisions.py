"""What is decided when a group is looked at: whom to tell what, and whom not and why. Pure. When: streams/groups.py."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from schemas.alerting import AlertingConfig, Reason, Route
from schemas.alerts import AlertState, Silence, Status
from schemas.base import encode
from schemas.notifications import Decision, Notification, notification_id
from streams import groups, muting, policies, time_intervals
from streams.groups import Group, Told
from streams.muting import Inhibitor

MAX_ALERTS = 500
MAX_BYTES = 2 << 20
"""Bounds of one notification; what is left out is counted in `truncated`."""
OVER = "resolved before anybody was told"
_replace = msgspec.structs.replace


class Look:
    """One look at the groups that are due: what holds at this moment for all of them."""

    def __init__(
        self,
        config: AlertingConfig,
        silences: Sequence[Silence],
        inhibitor: Inhibitor,
        now_ms: int,
        send: Decision,
        cluster: str = "",
    ) -> None:
        """`send`: SEND, or SHADOW, in which nobody is told. `cluster`: the platform's own, for alerts of several."""
        self.config = config
        self.silences = silences
        self.inhibitor = inhibitor
        self.now_ms = now_ms
        self.send = send
        self._shadow = send is Decision.SHADOW
        self.cluster = cluster

    def belongs(self, alert: AlertState, group: Group) -> bool:
        """Whether the configuration still leads the alert into this group; after a change it may be another."""
        return self._route(alert, group) is not None

    def _route(self, alert: AlertState, group: Group) -> Route | None:
        """That by which the alert comes into this group."""
        for each in policies.led(self.config, alert.labels):
            if each.route.receiver == group.receiver and each.group_key == group.group_key:
                return each.route
        return None

    def decide(self, group: Group, alerts: Sequence[AlertState]) -> tuple[Group, list[Notification]]:
        decisions: list[Notification] = []
        muted = {each.fingerprint: why for each in alerts if (why := self._muted(each, group))}
        news: dict[tuple[Decision, str], list[AlertState]] = {}
        for each in alerts:
            why = muted.get(each.fingerprint)
            if why is not None and group.muted.get(each.fingerprint) != _text(why):
                news.setdefault(why, []).append(each)
        for (kind, reason), which in sorted(news.items()):
            group, decision = self._record(group, kind, reason, which)
            decisions.append(decision)
        group = _replace(group, muted={print_: _text(why) for print_, why in muted.items()})
        heard = [each for each in alerts if each.fingerprint not in muted]
        group, more = self._tell(group, heard) if heard else (group, [])
        return group, decisions + more

    def _muted(self, alert: AlertState, group: Group) -> tuple[Decision, str] | None:
        if by := self.inhibitor.inhibited_by(alert):
            return Decision.INHIBITED, "inhibited by " + ", ".join(by)
        if by := muting.silenced_by(alert, self.silences):
            return Decision.SILENCED, "silenced by " + ", ".join(by)
        if why := policies.snoozed(alert, self.now_ms):
            return Decision.SILENCED, why
        route = self._route(alert, group)
        if route and (why := time_intervals.muted(route, self.config.time_intervals, self.now_ms)):
            return Decision.MUTED, why
        told = groups.told(group, shadow=self._shadow)
        known = told is not None and alert.fingerprint in told.firing
        why = policies.withheld(self.config, group.receiver, group.group_key, alert, self.now_ms, known=known)
        return (Decision.MUTED, why) if why else None

    def _tell(self, group: Group, alerts: Sequence[AlertState]) -> tuple[Group, list[Notification]]:
        firing = [each.fingerprint for each in alerts if each.state is not Status.RESOLVED]
        resolved = [each.fingerprint for each in alerts if each.state is Status.RESOLVED]
        fires = [each for each in alerts if each.state is not Status.RESOLVED]
        taken_on = bool(firing) and all(policies.taken_on(each, self.now_ms) for each in fires)
        told = groups.told(group, shadow=self._shadow)
        repeat = policies.repeat(self.config.policies, fires or alerts, group, told.repeats if told else 0)
        lasts = taken_on or repeat.policy  # else it would be as new to them, though it is only rarely said again
        if told is not None and not lasts and self.now_ms - told.at_ms >= groups.told_ms(group.timing):
            told = None
        receiver = self.config.receiver(group.receiver)
        send_resolved = receiver is not None and receiver.send_resolved
        timing = _replace(group.timing, repeat_interval_ms=repeat.wait_ms)
        reason = groups.needs(told, firing, resolved, timing=timing, send_resolved=send_resolved, now_ms=self.now_ms)
        if group.timing.digest_ms:
            reason = Reason.DIGEST
        elif reason == Reason.FIRST and policies.is_escalation(group.group_key):
            reason = Reason.ESCALATED
        if not reason:
            known = {*told.firing, *told.resolved} if told else set()
            over = [each for each in alerts if each.state is Status.RESOLVED and each.fingerprint not in known]
            if not over:
                return group, []
            group, decision = self._record(group, Decision.DIGEST, OVER, over)
            return group, [decision]
        if reason == Reason.REPEAT and taken_on:
            return group, []
        new_thread = told is None or not told.firing
        repeats = told.repeats + 1 if told and reason == Reason.REPEAT else 0
        now = Told(firing=firing, resolved=resolved, at_ms=self.now_ms, repeats=repeats)
        group = groups.telling(group, now, shadow=self._shadow)
        if not firing and not send_resolved:
            return group, []  # nothing of the receiver wants to hear it: it is only written down
        return self._sent(group, reason, alerts, new_thread)

    def _sent(
        self, group: Group, reason: str, alerts: Sequence[AlertState], new_thread: bool
    ) -> tuple[Group, list[Notification]]:
        group, decision = self._record(group, self.send, reason, alerts)
        if new_thread:
            group = _replace(group, thread=decision.id)
        return group, [_replace(decision, thread=group.thread)]

    def _record(
        self, group: Group, decision: Decision, reason: str, alerts: Sequence[AlertState]
    ) -> tuple[Group, Notification]:
        """A decision, under the next number of the group."""
        group = _replace(group, flush=group.flush + 1)
        fires = any(each.state is not Status.RESOLVED for each in alerts)
        shown = _bounded(sorted(alerts, key=_order))
        return group, Notification(
            id=notification_id(group.tenant, group.receiver, group.group_key, group.flush),
            tenant=group.tenant,
            receiver=group.receiver,
            group_key=group.group_key,
            group_labels=group.group_labels,
            flush=group.flush,
            decision=decision,
            reason=reason,
            status="firing" if fires else "resolved",
            alerts=shown,
            truncated=len(alerts) - len(shown),
            thread=group.thread,
            decided_at_ms=self.now_ms,
            cluster=self._cluster(alerts),
        )

    def _cluster(self, alerts: Sequence[AlertState]) -> str:
        named = {each.cluster for each in alerts}
        return (named.pop() if len(named) == 1 else "") or self.cluster


def _text(why: tuple[Decision, str]) -> str:
    return f"{why[0].value}: {why[1]}"


def _order(alert: AlertState) -> tuple[bool, int, str]:
    """Firing ones first, then by age."""
    return (alert.state is Status.RESOLVED, alert.starts_at_ms, alert.fingerprint)


def _bounded(alerts: Sequence[AlertState]) -> list[AlertState]:
    out: list[AlertState] = []
    size = 0
    for alert in alerts[:MAX_ALERTS]:
        size += len(encode(alert))
        if size > MAX_BYTES and out:
            break
        out.append(alert)
    return out
