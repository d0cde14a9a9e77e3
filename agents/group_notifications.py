"""`alerts.routes` -> `notifications`: what is told to whom, when, and why not.

Key: tenant/receiver/group key, in both. Guarantee: a decision is in the checkpointed state before it is published, with
an id made of its number in the group; after a crash the same decisions come again under the same ids, none is lost and
none is made twice. Timing and deduplication are Alertmanager's (streams/groups.py). Alerts that are silenced or
inhibited are left out; the decision to leave them out is itself a record, once for each reason. In shadow mode
(`EVENTSPHERE_NOTIFY__MODE=shadow`) decisions say `shadow` instead of `send`, nothing is sent and there are no outcomes;
back in live mode what fires and was told in shadow alone is told at the group's next look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

import msgspec

from schemas.alerting import AlertingConfig
from schemas.alerts import AlertState, Silence, Status
from schemas.base import UNREADABLE, encode
from schemas.headers import cloud_headers
from schemas.notifications import Decision, Notification, Routed, group_record_key
from streams import groups, muting
from streams.alerting import LiveConfig
from streams.decisions import Look
from streams.due import Due
from streams.errors import Invalid
from streams.groups import Entry, Group, Member, member_key
from streams.muting import Inhibitor
from streams.record import Outgoing, Record
from streams.silences import Reading
from streams.state import State
from streams.views import View

if TYPE_CHECKING:
    from schemas.platform import Control
    from streams.worker import Worker

NAME = "group-notifications"
TOPIC = "notifications"
_decoder = msgspec.json.Decoder(Routed)
_replace = msgspec.structs.replace


class Surroundings(Protocol):
    """Everything a decision depends on besides the group itself."""

    def ready(self) -> bool:
        """Whether silences and firing alerts are known completely: without them nothing may be decided."""

    def config(self) -> AlertingConfig: ...

    def silences(self) -> Iterable[Silence]: ...

    def firing(self) -> Iterable[AlertState]: ...


class GroupNotifications:
    version = 1
    entry = Entry

    def __init__(self, around: Surroundings, *, shadow: bool = False, cluster: str = "") -> None:
        self._around = around
        self._cluster = cluster
        self._send = Decision.SHADOW if shadow else Decision.SEND
        self._due: Due[Entry] = Due(groups.due_ms)

    def decide(self, state: State[Entry], record: Record) -> Iterable[Outgoing]:
        """Take an alert into its group. Nothing is decided here: that is up to the group's timer."""
        routed = parse(record)
        key = group_record_key(routed.tenant, routed.receiver, routed.group_key)
        group = _group(state, key)
        received = record.timestamp_ms or routed.alert.updated_at_ms
        if group is None:
            group = _new_group(routed, received)
        known = state.get(member_key(key, routed.alert.fingerprint))
        if known is not None and known.member is not None and groups.older(known.member.alert, routed.alert):
            return []
        self._due.put(state, member_key(key, routed.alert.fingerprint), Entry(member=Member(alert=routed.alert)))
        group = groups.joined(_replace(group, timing=routed.timing), routed.alert, received)
        self._due.put(state, key, Entry(group=group))
        return []

    def tick(self, state: State[Entry], now_ms: int) -> Iterator[Outgoing]:
        if not self._around.ready() or not 0 < self._due.next_ms(state) <= now_ms:
            return
        config = self._around.config()
        inhibitor = Inhibitor(config.inhibit_rules, self._around.firing() if config.inhibit_rules else ())
        silences = muting.active(self._around.silences(), now_ms)
        look = Look(config, silences, inhibitor, now_ms, self._send, self._cluster)
        for key, entry in self._due.pop(state, now_ms):
            group = entry.group
            if group is None or groups.is_over(group, now_ms):
                del state[key]
            elif not group.members:
                self._due.put(state, key, Entry(group=groups.closed(group, now_ms)))
            else:
                yield from self._flush(state, key, group, look)

    def _flush(self, state: State[Entry], key: str, group: Group, look: Look) -> Iterator[Outgoing]:
        alerts = [alert for print_ in group.members if (alert := _member(state, key, print_)) is not None]
        here = [alert for alert in alerts if look.belongs(alert, group)]
        group, decisions = look.decide(group, here)
        stays = {alert.fingerprint for alert in here if alert.state is not Status.RESOLVED}
        belonging = {alert.fingerprint for alert in here}
        for alert in alerts:
            if alert.fingerprint not in belonging:
                del state[member_key(key, alert.fingerprint)]  # it may be led here again, as it is
            elif alert.fingerprint not in stays:
                left = Entry(member=Member(alert=_slim(alert), left_ms=look.now_ms))
                self._due.put(state, member_key(key, alert.fingerprint), left)
        group = groups.after_flush(_replace(group, members=sorted(stays)), look.now_ms)
        self._due.put(state, key, Entry(group=group))
        return (outgoing(key, each) for each in decisions)


def parse(record: Record) -> Routed:
    """Raises Invalid: `decode`, `wrong_key`, `wrong_interval`."""
    try:
        routed = _decoder.decode(record.value or b"")
    except UNREADABLE as error:
        raise Invalid("decode", str(error)) from error
    key = group_record_key(routed.tenant, routed.receiver, routed.group_key)
    if record.key != key.encode():
        raise Invalid("wrong_key", f"expected {key[:200]!r}")
    if routed.timing.group_interval_ms <= 0 or routed.timing.repeat_interval_ms <= 0:
        raise Invalid("wrong_interval", "group_interval and repeat_interval are more than 0")
    return routed


def outgoing(key: str, notification: Notification) -> Outgoing:
    headers = cloud_headers(
        topic=TOPIC,
        id=notification.id,
        type=f"notification.{notification.decision.value}",
        source=f"eventsphere/{NAME}",
        time_ms=notification.decided_at_ms,
        subject=key,
    )
    return Outgoing(TOPIC, encode(notification), key.encode(), headers)


def _new_group(routed: Routed, received_ms: int) -> Group:
    return Group(
        tenant=routed.tenant,
        receiver=routed.receiver,
        group_key=routed.group_key,
        group_labels=routed.group_labels,
        timing=routed.timing,
        flush=received_ms,
    )


def _group(state: State[Entry], key: str) -> Group | None:
    entry = state.get(key)
    return entry.group if entry is not None else None


def _member(state: State[Entry], key: str, print_: str) -> AlertState | None:
    entry = state.get(member_key(key, print_))
    return entry.member.alert if entry is not None and entry.member is not None else None


def _slim(alert: AlertState) -> AlertState:
    """What is remembered of an alert that left: its numbers."""
    return _replace(alert, labels={}, annotations={}, evidence=[])


class _Around:
    """The surroundings of a worker: its views of silences and states, and the configuration."""

    def __init__(self, worker: Worker) -> None:
        self._silences: View[Silence] = worker.view("silences", Reading())
        self._states: View[AlertState] = worker.view("alerts.state", msgspec.json.Decoder(AlertState).decode)
        self.live = LiveConfig(worker.settings)

    def ready(self) -> bool:
        return self._silences.ready and self._states.ready

    def config(self) -> AlertingConfig:
        return self.live.current

    def silences(self) -> Iterable[Silence]:
        return self._silences.values()

    def firing(self) -> Iterable[AlertState]:
        return self._states.values()


def register(worker: Worker) -> None:
    around = _Around(worker)

    async def on_control(message: Control) -> None:
        await around.live.on_control(message)

    worker.on_control(on_control)
    settings = worker.settings
    shadow = settings.notify.mode == "shadow"
    core = GroupNotifications(around, shadow=shadow, cluster=settings.cluster.name or "local")
    worker.stateful(NAME, "alerts.routes", core)
