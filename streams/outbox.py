"""The outbox: which deliveries are to be made, were made, and when to try again. Pure: the agent's keyed state.

One entry a notification, with a delivery for each target of its receiver. A delivery leaves `pending` only with its
outcome, written with the same state change; sending itself is done elsewhere (streams/lanes.py), on what `due` says. A
delivered notification is remembered for a while, so that the same one read again is not sent again.

What a policy gives up for a digest is collected in an entry `late/...` for the target (streams/digests.py), which is
tried like any other.

A receiver `alertmanager` forgets alerts it does not hear of: what it took is kept as an entry `refresh/...` that comes
up every `REFRESH_MS` until the group resolves.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence

import msgspec

from schemas.base import UNREADABLE, digest, encode
from schemas.headers import cloud_headers
from schemas.notifications import Decision, Notification, Outcome, Result
from streams import digests
from streams.dead_letters import letter
from streams.errors import Failure, Invalid, Retryable
from streams.notify_settings import DEFAULT, NotifyPolicy
from streams.outbox_entry import Delivery, Due, Entry, Planned, Step
from streams.record import Outgoing, Record
from streams.sinks.channel import Away
from streams.state import State

__all__ = ["Delivery", "Due", "Entry", "Outbox", "Planned", "Step"]

TOPIC = "notifications"
OUTCOMES = "notifications.outcomes"
AGENT = "deliver-notifications"
AWAY_MS = (1_000, 2_000, 5_000, 15_000, 30_000)
REMEMBER_MS = 24 * 3_600_000
REMEMBER = 5_000
"""Delivered notifications remembered a partition."""
REFRESH_MS = 60_000
REFRESH = "refresh/"
REPLAY = "eventsphere.replay"
"""Header of our dead letters' originals: what has it and comes again was sent again on purpose."""


PolicyOf = Callable[[str, str], NotifyPolicy]
"""The policy for a channel and a receiver."""


class Outbox:
    version = 1
    entry = Entry

    def __init__(
        self,
        plan: Callable[[Notification], Sequence[Planned]],
        *,
        shadow: bool = False,
        policy: PolicyOf = lambda channel, receiver: DEFAULT,
    ) -> None:
        """`plan` raises Invalid when there is no such receiver."""
        self._plan = plan
        self._shadow = shadow
        self._policy = policy
        self._open: dict[int, tuple[weakref.ref[State[Entry]], set[str]]] = {}

    def decide(self, state: State[Entry], record: Record) -> Iterable[Outgoing]:
        notification = parse(record)
        if notification.decision is not Decision.SEND:
            return []
        known = state.get(notification.id)
        if known is not None:
            if is_replay(record) and record.offset > known.offset:
                state[notification.id] = _reopened(known, notification, record)
                self._opened(state, notification.id)
            return []
        planned = self._plan(notification)
        held = [p for p in planned if p.until_ms > record.timestamp_ms]
        deliveries = [Delivery(channel=p.channel, ref=p.ref, name=p.name) for p in planned if p not in held]
        entry = Entry(
            notification=notification,
            deliveries=deliveries,
            partition=record.partition,
            offset=record.offset,
            accepted_at_ms=record.timestamp_ms,
        )
        out: list[Outgoing] = []
        if self._shadow:
            entry = _replace(entry, deliveries=[_replace(each, step=Step.SHADOW) for each in deliveries])
            out = [_outcome(notification, each, Result.SHADOW, record.timestamp_ms) for each in entry.deliveries]
        else:
            out = [each for p in held for each in self._hold(state, p, entry, notification, record.timestamp_ms)]
        state[notification.id] = _closed(entry, record.timestamp_ms)
        self._opened(state, notification.id)
        return out

    def _hold(
        self, state: State[Entry], planned: Planned, entry: Entry, notification: Notification, now_ms: int
    ) -> list[Outgoing]:
        """Keep it for the digest of a target that wants to hear of it later."""
        delivery = Delivery(channel=planned.channel, ref=planned.ref, name=planned.name, next_at_ms=planned.until_ms)
        self._collect(state, Due(notification.id, delivery, notification), entry, now_ms, digests.HELD)
        return [_outcome(notification, delivery, Result.RETRY, now_ms, Invalid(digests.HELD, "kept for a digest"))]

    def tick(self, state: State[Entry], now_ms: int) -> Iterable[Outgoing]:
        """Give up what could not be delivered in time (a day); forget what was delivered long ago."""
        out = [each for key in self._open_keys(state) for each in self._expired(state, key, state[key], now_ms)]
        done = sorted((entry.done_at_ms, key) for key, entry in state.items() if entry.done_at_ms)
        surplus = len(done) - REMEMBER
        for index, (at, key) in enumerate(done):
            if index >= surplus and now_ms - at < REMEMBER_MS:
                break
            del state[key]
        return out

    def _expired(self, state: State[Entry], key: str, entry: Entry, now_ms: int) -> list[Outgoing]:
        notification = entry.notification
        if notification is None or key.startswith(REFRESH):
            return []
        out: list[Outgoing] = []
        for each in entry.deliveries:
            policy = self._policy(each.channel, notification.receiver)
            late = now_ms - entry.accepted_at_ms >= policy.give_up_after_s * 1000
            if each.step is not Step.PENDING or not each.attempts or not late:
                continue
            due = Due(key, each, notification)
            if policy.then == "digest" and not key.startswith(digests.KEY):
                failure = Invalid("expired", f"not delivered within {_span(policy)}: told in a digest later")
                out += self._failed(state, due, each, failure, now_ms)[:1]
                self._collect(state, due, entry, now_ms, digests.LATE)
            else:
                failure = Invalid("expired", f"not delivered within {_span(policy)}")
                out += self._failed(state, due, each, failure, now_ms)
        return out

    def _collect(self, state: State[Entry], due: Due, entry: Entry, now_ms: int, reason: str) -> None:
        key = digests.key_of(due, reason)
        state[key] = digests.longer(state.get(key), due, entry, now_ms, reason)
        self._opened(state, key)

    def due(
        self, state: State[Entry], now_ms: int, can: Callable[[Due], bool] = lambda _: True, limit: int = 256
    ) -> list[Due]:
        """Deliveries to be made now, longest waiting first; of one group to one target the oldest only: in order. What
        `can` not be made yet is passed over."""
        waiting: dict[tuple[str, str], Due] = {}
        for key in self._open_keys(state):
            entry = state[key]
            notification = entry.notification
            if notification is None:
                continue
            for delivery in entry.deliveries:
                if delivery.step is Step.PENDING:
                    place = (delivery.ref, key if key.startswith(REFRESH) else group_of(notification))
                    first = waiting.get(place)
                    if first is None or _order(notification) < _order(first.notification):
                        waiting[place] = Due(key, delivery, notification)
        ready = [each for each in waiting.values() if each.delivery.next_at_ms <= now_ms and can(each)]
        ready.sort(key=lambda each: (each.delivery.next_at_ms, *_order(each.notification)))
        return ready[:limit]

    def _open_keys(self, state: State[Entry]) -> list[str]:
        """Keys of entries with something pending: derived once from a state, then kept by whoever changes an entry."""
        known = self._open.get(state.partition)
        if known is None or known[0]() is not state:
            known = (weakref.ref(state), {key for key, entry in state.items() if entry.notification is not None})
            self._open[state.partition] = known
        keys = known[1]
        keys -= {key for key in keys if key not in state or state[key].notification is None}
        return sorted(keys)

    def _opened(self, state: State[Entry], key: str) -> None:
        known = self._open.get(state.partition)
        if known is not None and known[0]() is state:
            known[1].add(key)

    def settle(
        self,
        state: State[Entry],
        due: Due,
        failure: Failure | None,
        now_ms: int,
        *,
        wait_ms: int = 0,
        last: bool = False,
    ) -> list[Outgoing]:
        """Record what an attempt came to. `failure` None: taken over; `wait_ms`: not before, as the lane knows;
        `last`: a re-sending said that everything resolved, so no more follow.

        Returns the outcome and, for what is given up, the dead letter.
        """
        entry = state.get(due.key)
        if entry is None:
            return []
        current = next((d for d in entry.deliveries if d.ref == due.delivery.ref), None)
        if current is None or current.step is not Step.PENDING:
            return []
        if due.key.startswith(REFRESH):
            return self._refreshed(state, due, entry, failure, now_ms, last)
        tried = _replace(current, attempts=current.attempts + 1)
        if due.key.startswith(digests.KEY) and failure is None and entry.notification != due.notification:
            state[due.key] = digests.rest(entry, due, now_ms)
            return [_outcome(due.notification, tried, Result.SENT, now_ms)]
        if failure is None:
            _put(state, due.key, entry, _replace(tried, step=Step.SENT), now_ms)
            self._keep_fresh(state, due, entry, now_ms)
            return [_outcome(due.notification, tried, Result.SENT, now_ms)]
        if isinstance(failure, Invalid):
            return self._failed(state, due, tried, failure, now_ms)
        waits = self._policy(current.channel, due.notification.receiver).waits_s
        tried = _again(tried, due.key, failure, now_ms, wait_ms, waits)
        _put(state, due.key, entry, tried, now_ms)
        return [_outcome(due.notification, tried, Result.RETRY, now_ms, failure)]

    def _failed(self, state: State[Entry], due: Due, tried: Delivery, failure: Failure, now_ms: int) -> list[Outgoing]:
        entry = state[due.key]
        _put(state, due.key, entry, _replace(tried, step=Step.FAILED), now_ms)
        return [
            _outcome(due.notification, tried, Result.FAILED, now_ms, failure),
            letter(
                _record(entry, due.notification),
                agent=AGENT,
                reason=failure.reason,
                detail=failure.detail,
                attempt=tried.attempts,
            ),
        ]

    def _keep_fresh(self, state: State[Entry], due: Due, entry: Entry, now_ms: int) -> None:
        if due.delivery.channel != "alertmanager":
            return
        key = refresh_key(due.notification, due.delivery.ref)
        before = state.get(key)
        if before and before.notification and before.notification.flush > due.notification.flush:
            return
        if due.notification.status == "firing":
            fresh = _replace(due.delivery, step=Step.PENDING, attempts=0, refusals=0, next_at_ms=now_ms + REFRESH_MS)
            state[key] = _replace(entry, deliveries=[fresh], notification=due.notification, accepted_at_ms=now_ms)
            self._opened(state, key)
        elif before is not None:
            del state[key]

    def _refreshed(
        self, state: State[Entry], due: Due, entry: Entry, failure: Failure | None, now_ms: int, last: bool
    ) -> list[Outgoing]:
        """A re-sending leaves no outcome unless it is refused for good, and then no more is sent."""
        if entry.notification != due.notification:
            return []
        if isinstance(failure, Invalid):
            del state[due.key]
            return [_outcome(due.notification, due.delivery, Result.FAILED, now_ms, failure)]
        if failure is None and last:
            del state[due.key]
            return []
        wait = REFRESH_MS if failure is None else AWAY_MS[-1]
        _put(state, due.key, entry, _replace(due.delivery, next_at_ms=now_ms + wait), now_ms)
        return []


def parse(record: Record) -> Notification:
    """Raises Invalid("decode")."""
    try:
        return _decoder.decode(record.value or b"")
    except UNREADABLE as error:
        raise Invalid("decode", str(error)) from error


def is_replay(record: Record) -> bool:
    return any(name == REPLAY for name, _ in record.headers or ())


_decoder = msgspec.json.Decoder(Notification)
_replace = msgspec.structs.replace


def group_of(notification: Notification) -> str:
    return f"{notification.tenant}/{notification.receiver}/{notification.group_key}"


def refresh_key(notification: Notification, ref: str) -> str:
    return REFRESH + digest(group_of(notification), ref)


def _order(notification: Notification) -> tuple[int, int]:
    return (notification.decided_at_ms, notification.flush)


def _reopened(entry: Entry, notification: Notification, record: Record) -> Entry:
    """A dead letter was replayed: what had failed gets another chance."""
    if all(each.step is not Step.FAILED for each in entry.deliveries):
        return entry
    deliveries = [
        _replace(each, step=Step.PENDING, refusals=0, next_at_ms=0) if each.step is Step.FAILED else each
        for each in entry.deliveries
    ]
    return _replace(
        entry,
        deliveries=deliveries,
        notification=notification,
        offset=record.offset,
        accepted_at_ms=record.timestamp_ms,
        done_at_ms=0,
    )


def _span(policy: NotifyPolicy) -> str:
    hours = policy.give_up_after_s / 3600
    return f"{hours:g} h" if hours >= 1 else f"{policy.give_up_after_s:g} s"


def _closed(entry: Entry, now_ms: int) -> Entry:
    if any(each.step is Step.PENDING for each in entry.deliveries):
        return entry
    return _replace(entry, notification=None, done_at_ms=max(now_ms, 1))


def _put(state: State[Entry], key: str, entry: Entry, delivery: Delivery, now_ms: int) -> None:
    deliveries = [delivery if each.ref == delivery.ref else each for each in entry.deliveries]
    state[key] = _closed(_replace(entry, deliveries=deliveries), now_ms)


def _again(
    delivery: Delivery, key: str, failure: Failure, now_ms: int, wait_ms: int, waits_s: Sequence[float]
) -> Delivery:
    """When to try again: a server that is away says nothing about the delivery, so that is not held against it."""
    asked = round(failure.after_s * 1000) if isinstance(failure, Retryable) else 0
    if isinstance(failure, Away):
        # Its turn comes after those that have not been tried yet: it may be what the server chokes on.
        pause = AWAY_MS[min(delivery.attempts - 1, len(AWAY_MS) - 1)]
        return _replace(delivery, next_at_ms=now_ms + max(pause, wait_ms, asked))
    wait = round(waits_s[min(delivery.refusals, len(waits_s) - 1)] * 1000)
    jittered = wait + round(wait * 0.2 * _fraction(key, delivery.ref, str(delivery.refusals)))
    return _replace(delivery, refusals=delivery.refusals + 1, next_at_ms=now_ms + max(jittered, wait_ms, asked))


def _fraction(*parts: str) -> float:
    """In [0, 1), from what it is for: spreads retries without a hidden source of randomness."""
    return int(digest(*parts)[:8], 16) / 0x1_0000_0000


def _outcome(
    notification: Notification, delivery: Delivery, result: Result, now_ms: int, failure: Failure | None = None
) -> Outgoing:
    outcome = Outcome(
        notification=notification.id,
        tenant=notification.tenant,
        receiver=notification.receiver,
        channel=delivery.channel,
        target=delivery.name,
        attempt=delivery.attempts,
        result=result,
        reason=str(failure)[:500] if failure else "",
        at_ms=now_ms,
        retry_at_ms=delivery.next_at_ms if result is Result.RETRY else 0,
        cluster=notification.cluster,
    )
    headers = cloud_headers(
        topic=OUTCOMES,
        id=digest(notification.id, delivery.ref, str(delivery.attempts), result),
        type="notification.outcome",
        source=f"eventsphere/{AGENT}",
        time_ms=now_ms,
        subject=notification.id,
    )
    return Outgoing(OUTCOMES, encode(outcome), notification.id.encode(), headers, now_ms)


def _record(entry: Entry, notification: Notification) -> Record:
    key = group_of(notification).encode()
    value = encode(notification)
    return Record(TOPIC, entry.partition, entry.offset, key, value, entry.accepted_at_ms, [(REPLAY, b"1")])
