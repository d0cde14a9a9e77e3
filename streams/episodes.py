"""The life of one alert: pending, firing, resolved. Pure: times come from the observations and from the caller.

Observations are ordered by `observed_at_ms`; an older one than the newest seen says nothing any more. What the clock
does to an alert (its `for` is over, its `endsAt` passed) is applied up to the time of an observation before the
observation itself, so that reading late gives the same states as reading at once.

Meaning follows Alertmanager: an observation whose `endsAt` has passed resolves; one without, or with one to come, fires
until then; the later of two `endsAt` counts; the same `startsAt` observed again after a resolve is the same episode
going on, another `startsAt` a new one. Not Alertmanager's: `for`, which rules other than Prometheus's need.
"""

from __future__ import annotations

import msgspec

from schemas.alerts import Alert, AlertState, Evidence, Status, Transition, episode_id
from schemas.base import Event

EVIDENCE = 20
"""Records remembered as evidence: the first ones and the newest."""
EVIDENCE_FIRST = 5
EXCERPT = 1000
REMARKS = 20
HISTORY = 30
"""Remarks and changes of state remembered: the newest ones."""
SOFT_MS = 60_000
"""Annotations that change all the time (values in them) are published at most this often."""
KEEP_MS = 24 * 3_600_000
"""How long a resolved alert is kept: for lists, and to know a late duplicate."""
REPEATED_MS = 10 * 60_000
"""A hook's sender may repeat that an alert fires after it said that it resolved (a pair, each with its own queue)."""

_replace = msgspec.structs.replace


class Entry(Event, frozen=True, kw_only=True):
    """What is known of one alert."""

    alert: AlertState
    """`seq` is that of the last change; the first is 1."""
    observed_at_ms: int
    fires_at_ms: int = 0
    """While pending: when its `for` is over."""
    expires_at_ms: int = 0
    """Firing or pending until then unless observed again; 0: until said otherwise."""
    explicit: bool = False
    """Resolved by an observation, not by time."""
    visible: bool = False
    """Whether `alerts.state` holds it: what only ever was pending, or came resolved, does not stay."""
    published_at_ms: int = 0
    changed: bool = False
    """Something small (annotations, evidence) was not published yet."""


Change = AlertState | None
"""A state to publish; None: take it away."""
_WITHOUT = {"no_data": Status.NO_DATA, "error": Status.ERROR}
_ON = frozenset({Status.FIRING, Status.NO_DATA, Status.ERROR})
"""It is neither over nor still to begin."""


def _state(alert: Alert) -> Status:
    """What an observation that is not pending says."""
    return _WITHOUT.get(alert.without, Status.FIRING)


def due_ms(entry: Entry) -> int:
    """When time alone changes the entry."""
    if entry.alert.state is Status.RESOLVED:
        return entry.alert.updated_at_ms + KEEP_MS
    times = [entry.expires_at_ms]
    if entry.alert.state is Status.PENDING:
        times.append(entry.fires_at_ms)
    return min((each for each in times if each), default=0)


def observe(entry: Entry | None, alert: Alert, itself: Evidence | None = None) -> tuple[Entry, list[Change]]:
    """Apply one observation. `itself`: where it stands, the evidence of an episode whose observations bring none."""
    changes: list[Change] = []
    if entry is not None:
        if alert.observed_at_ms < entry.observed_at_ms:
            return entry, []
        entry, changes = advance(entry, alert.observed_at_ms)
        entry = _replace(entry, observed_at_ms=alert.observed_at_ms)
    if 0 < alert.ends_at_ms <= alert.observed_at_ms:
        entry, more = _resolve(entry, alert)
    elif entry is None:
        entry, more = _start(None, alert, itself)
    elif entry.alert.state is Status.RESOLVED:
        entry, more = (entry, []) if _is_repeat(entry, alert) else _start(entry, alert, itself)
    else:
        entry, more = _refresh(entry, alert)
    return entry, changes + more


def acknowledge(entry: Entry, alert: Alert) -> tuple[Entry, list[Change]]:
    """Write down who took it on. What is over by then, or is another episode, is not touched."""
    if alert.acknowledged is None:
        return entry, []
    entry, changes = advance(entry, alert.acknowledged.at_ms)
    old = entry.alert
    told = alert.acknowledged if alert.acknowledged.by else None
    if old.state is Status.RESOLVED or old.starts_at_ms != alert.starts_at_ms or old.acknowledged == told:
        return entry, changes
    entry = _replace(entry, alert=_replace(old, acknowledged=told))
    if not entry.visible:
        return entry, changes
    entry, more = _publish(entry, max(alert.acknowledged.at_ms, old.updated_at_ms))
    return entry, changes + more


def remark(entry: Entry, alert: Alert) -> tuple[Entry, list[Change]]:
    """Write down what somebody said of it, whatever its state. What nobody was shown is not remarked on."""
    said = alert.remark
    if said is None or not entry.visible:
        return entry, []
    entry, changes = advance(entry, said.at_ms)
    old = entry.alert
    new = _replace(
        old,
        remarks=[*old.remarks, said][-REMARKS:] if said.text and said not in old.remarks else old.remarks,
        assignee=old.assignee if said.assignee is None else said.assignee,
    )
    if new == old:
        return entry, changes
    entry, more = _publish(_replace(entry, alert=new), max(said.at_ms, old.updated_at_ms))
    return entry, changes + more


def advance(entry: Entry, now_ms: int) -> tuple[Entry, list[Change]]:
    """Let time pass up to `now_ms`: a pending alert fires, one that was not observed again resolves."""
    changes: list[Change] = []
    if entry.alert.state is Status.PENDING:
        ends = entry.expires_at_ms
        if entry.fires_at_ms <= now_ms and not 0 < ends <= entry.fires_at_ms:
            entry, changes = _publish(entry, entry.fires_at_ms, state=Status.FIRING)
        elif 0 < ends <= now_ms:
            return _drop(entry, ends)
    if entry.alert.state in _ON and 0 < entry.expires_at_ms <= now_ms:
        ends = entry.expires_at_ms
        entry, more = _publish(entry, ends, state=Status.RESOLVED, ends_at_ms=ends)
        return entry, changes + more
    return entry, changes


def is_over(entry: Entry, now_ms: int) -> bool:
    """Whether it can be forgotten."""
    return entry.alert.state is Status.RESOLVED and now_ms >= entry.alert.updated_at_ms + KEEP_MS


def _is_repeat(entry: Entry, alert: Alert) -> bool:
    return (
        alert.source.startswith("alertmanager/")
        and entry.explicit
        and alert.starts_at_ms <= entry.alert.starts_at_ms
        and alert.observed_at_ms < entry.alert.updated_at_ms + REPEATED_MS
    )


def _start(entry: Entry | None, alert: Alert, itself: Evidence | None = None) -> tuple[Entry, list[Change]]:
    """A new episode, or the last one going on when `startsAt` is the same and it had fired."""
    goes_on = entry is not None and entry.visible and alert.starts_at_ms == entry.alert.starts_at_ms
    pending = alert.for_ms > 0 and not goes_on
    old = entry.alert if entry is not None else None
    evidence = alert.evidence or ([itself] if itself else [])
    state = AlertState(
        tenant=alert.tenant,
        fingerprint=alert.fingerprint,
        episode=episode_id(alert.tenant, alert.fingerprint, alert.starts_at_ms),
        state=Status.PENDING if pending else _state(alert),
        labels=alert.labels,
        annotations=alert.annotations,
        starts_at_ms=alert.starts_at_ms,
        updated_at_ms=alert.observed_at_ms,
        seq=old.seq if old else 0,
        generator_url=alert.generator_url,
        cluster=alert.cluster,
        source=alert.source,
        acknowledged=old.acknowledged if old and goes_on else None,
        assignee=old.assignee if old and goes_on else "",
        remarks=old.remarks if old else [],
        history=old.history if old else [],
        evidence=_evidence(old.evidence if old and goes_on else [], evidence),
    )
    fresh = Entry(
        alert=state,
        observed_at_ms=alert.observed_at_ms,
        fires_at_ms=alert.starts_at_ms + alert.for_ms if pending else 0,
        expires_at_ms=alert.ends_at_ms,
        visible=entry is not None and entry.visible,
    )
    if pending and fresh.fires_at_ms <= alert.observed_at_ms:
        return advance(fresh, alert.observed_at_ms)
    return _publish(fresh, alert.observed_at_ms)


def _refresh(entry: Entry, alert: Alert) -> tuple[Entry, list[Change]]:
    """The same episode observed again. Small changes are published now and then, the others at once."""
    old = entry.alert
    new = _replace(
        old,
        annotations=alert.annotations,
        generator_url=alert.generator_url or old.generator_url,
        evidence=_evidence(old.evidence, alert.evidence),
    )
    both = entry.expires_at_ms and alert.ends_at_ms
    entry = _replace(
        entry,
        alert=new,
        expires_at_ms=max(entry.expires_at_ms, alert.ends_at_ms) if both else alert.ends_at_ms,
        changed=entry.changed or new != old,
    )
    if (new.state is Status.PENDING and alert.for_ms == 0) or (new.state in _ON and new.state is not _state(alert)):
        return _publish(entry, alert.observed_at_ms, state=_state(alert))
    if entry.changed and alert.observed_at_ms - entry.published_at_ms >= SOFT_MS:
        return _publish(entry, alert.observed_at_ms)
    return entry, []


def _resolve(entry: Entry | None, alert: Alert) -> tuple[Entry, list[Change]]:
    if entry is None:
        entry, _ = _start(None, alert)
        return _drop(_replace(entry, visible=False, alert=_replace(entry.alert, seq=0)), alert.observed_at_ms)
    old = entry.alert
    if alert.ends_at_ms < old.starts_at_ms and alert.starts_at_ms < old.starts_at_ms:
        return entry, []  # an episode before this one
    if old.state is Status.PENDING:
        return _drop(entry, alert.observed_at_ms)
    if old.state in _ON:
        entry = _replace(entry, alert=_replace(old, annotations=alert.annotations or old.annotations), explicit=True)
        return _publish(entry, alert.observed_at_ms, state=Status.RESOLVED, ends_at_ms=alert.ends_at_ms)
    return entry, []


def _drop(entry: Entry, now_ms: int) -> tuple[Entry, list[Change]]:
    """What never fired ends without a word: nobody was told of it."""
    alert = _replace(entry.alert, state=Status.RESOLVED, updated_at_ms=now_ms, ends_at_ms=now_ms)
    return _replace(entry, alert=alert, visible=False, explicit=True), [None] if entry.visible else []


def _publish(
    entry: Entry, now_ms: int, *, state: Status | None = None, ends_at_ms: int = 0
) -> tuple[Entry, list[Change]]:
    old = entry.alert
    state = state or old.state
    history = old.history
    if not history or (history[-1].state, history[-1].starts_at_ms) != (state, old.starts_at_ms):
        history = [*history, Transition(state=state, at_ms=now_ms, starts_at_ms=old.starts_at_ms)][-HISTORY:]
    alert = _replace(old, state=state, ends_at_ms=ends_at_ms, updated_at_ms=now_ms, seq=old.seq + 1, history=history)
    return _replace(entry, alert=alert, visible=True, published_at_ms=now_ms, changed=False), [alert]


def _evidence(old: list[Evidence], new: list[Evidence]) -> list[Evidence]:
    """Each record once, in the order they came; of many the first and the newest."""
    if not new:
        return old
    merged = {(each.topic, each.partition, each.offset): each for each in old}
    for each in new:
        cut = _replace(each, excerpt=each.excerpt[:EXCERPT]) if len(each.excerpt) > EXCERPT else each
        merged.setdefault((each.topic, each.partition, each.offset), cut)
    out = list(merged.values())
    return out if len(out) <= EVIDENCE else out[:EVIDENCE_FIRST] + out[EVIDENCE_FIRST - EVIDENCE :]
