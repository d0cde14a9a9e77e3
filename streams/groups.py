"""When a group of alerts is notified. Pure: Alertmanager's dispatcher and deduplication, over values.

A group waits `group_wait` for company, then is looked at every `group_interval`; what is sent and why is decided by
`needs` against what was last told. Sources: alertmanager 0.25 dispatch/dispatch.go, notify/notify.go (DedupStage).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection

import msgspec

from schemas.alerting import Reason
from schemas.alerts import AlertState
from schemas.base import Event
from schemas.notifications import Timing

EMPTY_MS = 30_000
"""A group that ran empty keeps its rhythm that long, then it starts anew with `group_wait`."""
TOLD_MS = 120 * 3_600_000
"""What was told is forgotten after this, or after twice `repeat_interval` when that is sooner, at the next sweep."""
SWEEP_MS = 15 * 60_000
"""How often Alertmanager sweeps: until then it counts what it was told."""
TOMBSTONE_MS = 3_600_000
"""How long the last `seq` of an alert that left its group is remembered: older records of it may be read again."""


class Told(Event, frozen=True, kw_only=True):
    """What the receiver was last told of the group: fingerprints, and when."""

    firing: list[str] = []
    resolved: list[str] = []
    at_ms: int
    repeats: int = 0
    """How often it was told again since something changed."""


class Group(Event, frozen=True, kw_only=True):
    """A group's state. `flush` numbers its decisions and never repeats: it starts at the time the group was made."""

    tenant: str
    receiver: str
    group_key: str
    group_labels: dict[str, str]
    timing: Timing
    members: list[str] = []
    """Fingerprints, sorted."""
    next_ms: int = 0
    """When it is looked at next; 0: it is closed until an alert comes."""
    flushed: bool = False
    flush: int
    told: Told | None = None
    shadow: Told | None = None
    """What it would have been told in shadow since: its receiver heard nothing of that."""
    thread: str = ""
    muted: dict[str, str] = {}
    """Fingerprint -> why it was left out, as last recorded."""
    emptied_ms: int = 0
    touched_ms: int = 0


class Member(Event, frozen=True, kw_only=True):
    """One alert of a group, newest state. `left_ms` not 0: it left the group then, its `seq` is still remembered."""

    alert: AlertState
    left_ms: int = 0


class Entry(Event, frozen=True, kw_only=True):
    """Keyed state: a group under its key, or a member under `<group's key> LF <fingerprint>`."""

    group: Group | None = None
    member: Member | None = None


def member_key(group: str, print_: str) -> str:
    return f"{group}\n{print_}"


def due_ms(entry: Entry) -> int:
    if entry.member is not None:
        return entry.member.left_ms and entry.member.left_ms + TOMBSTONE_MS
    group = entry.group
    if group is None:
        return 0
    if not group.next_ms:
        return group.touched_ms + told_ms(group.timing)
    return group.next_ms if group.members else group.emptied_ms + EMPTY_MS


def told_ms(timing: Timing) -> int:
    """How long it counts what was told."""
    return min(TOLD_MS, 2 * timing.repeat_interval_ms) + SWEEP_MS


def joined(group: Group, alert: AlertState, received_ms: int) -> Group:
    """The group with an alert in it, its timer set when it had none."""
    members, place = group.members, bisect_left(group.members, alert.fingerprint)
    if members[place : place + 1] != [alert.fingerprint]:
        members = [*members[:place], alert.fingerprint, *members[place:]]
    next_ms, flushed = group.next_ms, group.flushed
    interval = group.timing.group_interval_ms
    if not next_ms and (period := group.timing.digest_ms):
        next_ms, flushed = (received_ms // period + 1) * period, True
    elif not next_ms:
        next_ms, flushed = received_ms + group.timing.group_wait_ms, False
    elif not group.members and next_ms < received_ms:
        next_ms += -(-(received_ms - next_ms) // interval) * interval  # beats passed over while it was empty
    if not flushed and alert.starts_at_ms + group.timing.group_wait_ms < received_ms:
        next_ms = min(next_ms, received_ms)  # it waited long enough elsewhere
    return msgspec.structs.replace(
        group, members=members, next_ms=next_ms, flushed=flushed, emptied_ms=0, touched_ms=received_ms
    )


def older(known: AlertState, alert: AlertState) -> bool:
    """Whether `alert` says nothing that `known` does not: a record read again."""
    return alert.seq <= known.seq


def needs(
    told: Told | None,
    firing: Collection[str],
    resolved: Collection[str],
    *,
    timing: Timing,
    send_resolved: bool,
    now_ms: int,
) -> str:
    """Why the receiver is to be told now (`Reason`), or an empty text: Alertmanager's `needsUpdate`."""
    if told is None:
        return Reason.FIRST if firing else ""
    if not set(firing) <= set(told.firing):
        return Reason.NEW_ALERTS if told.firing else Reason.FIRST
    if not firing:
        return Reason.ALL_RESOLVED if told.firing else ""
    if send_resolved and not set(resolved) <= set(told.resolved):
        return Reason.SOME_RESOLVED
    return Reason.REPEAT if told.at_ms < now_ms - timing.repeat_interval_ms else ""


def told(group: Group, *, shadow: bool) -> Told | None:
    """What counts as told: live only what was really said, in shadow what was decided in it too."""
    return (group.shadow or group.told) if shadow else group.told


def telling(group: Group, now: Told, *, shadow: bool) -> Group:
    """The group that is told `now`. In shadow what was really said is only cut down to what has fired since: were it to
    fire anew, it is new to the receiver."""
    if not shadow:
        return msgspec.structs.replace(group, told=now, shadow=None)
    said = group.told
    if said is not None:
        said = msgspec.structs.replace(said, firing=[print_ for print_ in said.firing if print_ in set(now.firing)])
    return msgspec.structs.replace(group, told=said, shadow=now)


def after_flush(group: Group, now_ms: int) -> Group:
    """The group with its next timer: in rhythm, unless a whole beat was missed."""
    interval = group.timing.group_interval_ms
    next_ms = group.next_ms + interval
    if next_ms <= now_ms:
        next_ms = now_ms + interval
    emptied_ms = 0 if group.members else now_ms
    return msgspec.structs.replace(group, next_ms=next_ms, flushed=True, emptied_ms=emptied_ms, touched_ms=now_ms)


def closed(group: Group, now_ms: int) -> Group:
    """The group without a timer. What it told and its numbers are kept for as long as they count."""
    return msgspec.structs.replace(group, next_ms=0, flushed=False, muted={}, emptied_ms=0, touched_ms=now_ms)


def is_over(group: Group, now_ms: int) -> bool:
    """Whether it can be forgotten."""
    return not group.next_ms and now_ms >= group.touched_ms + told_ms(group.timing)
