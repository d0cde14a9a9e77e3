"""`alerts` -> `alerts.state`: what each alert is now, from everything observed of it.

Key: tenant/fingerprint, in both. Guarantee: each change of state is published at least once, in order, with a `seq`
that grows by one; refreshes change nothing and publish nothing. The same observations give the same states however
often they are read, and however late. Resolved alerts stay for a day, then they are taken away (a tombstone).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from schemas.alerts import FUTURE_MS, Alert, AlertState, Evidence, alert_key, fingerprint, wrong_times
from schemas.base import UNREADABLE, digest, encode
from schemas.headers import cloud_headers
from streams import episodes
from streams.due import Due
from streams.episodes import Change, Entry
from streams.errors import Invalid
from streams.record import Outgoing, Record
from streams.state import State

if TYPE_CHECKING:
    from streams.worker import Worker

NAME = "keep-alert-state"
TOPIC = "alerts.state"
_decoder = msgspec.json.Decoder(Alert)


class KeepAlertState:
    version = 1
    entry = Entry

    def __init__(self, cluster: str = "") -> None:
        """`cluster`: of observations that do not name theirs."""
        self._cluster = cluster
        self._due: Due[Entry] = Due(episodes.due_ms)

    def decide(self, state: State[Entry], record: Record) -> Iterable[Outgoing]:
        """Raises Invalid for what is no alert."""
        alert = parse(record)
        if not alert.cluster:
            alert = msgspec.structs.replace(alert, cluster=self._cluster)
        key = alert_key(alert.tenant, alert.fingerprint)
        known = state.get(key)
        if alert.acknowledged is None and alert.remark is None:
            entry, changes = episodes.observe(known, alert, _itself(record, alert))
        elif known is None:
            return []
        else:
            entry, changes = (episodes.remark if alert.remark else episodes.acknowledge)(known, alert)
        self._due.put(state, key, entry)
        return [outgoing(key, change, alert.observed_at_ms) for change in changes]

    def tick(self, state: State[Entry], now_ms: int) -> Iterator[Outgoing]:
        for key, entry in self._due.pop(state, now_ms):
            if episodes.is_over(entry, now_ms):
                del state[key]
                changes: list[Change] = [None] if entry.visible else []
            else:
                entry, changes = episodes.advance(entry, now_ms)
                self._due.put(state, key, entry)
            yield from (outgoing(key, change, now_ms) for change in changes)


def _itself(record: Record, alert: Alert) -> Evidence:
    """The observation as evidence: all there is to show of an alert that somebody else decided on."""
    return Evidence(topic=record.topic, partition=record.partition, offset=record.offset, time_ms=alert.observed_at_ms)


def parse(record: Record) -> Alert:
    """Raises Invalid: `decode`, `no_labels`, `wrong_fingerprint`, `wrong_key`, `wrong_time`, `from_the_future`."""
    try:
        alert = _decoder.decode(record.value or b"")
    except UNREADABLE as error:
        raise Invalid("decode", str(error)) from error
    if not alert.labels:
        raise Invalid("no_labels", "an alert needs at least one label")
    if alert.fingerprint != fingerprint(alert.labels):
        raise Invalid("wrong_fingerprint", f"{alert.fingerprint!r} is not that of its labels")
    key = alert_key(alert.tenant, alert.fingerprint)
    if record.key != key.encode():
        raise Invalid("wrong_key", f"expected {key!r}")
    if wrong := wrong_times(alert):
        raise Invalid("wrong_time", wrong)
    if 0 < record.timestamp_ms < alert.observed_at_ms - FUTURE_MS:
        raise Invalid("from_the_future", "observed_at_ms: is more than an hour after the record was written")
    return alert


def outgoing(key: str, change: Change, now_ms: int) -> Outgoing:
    if change is None:
        return Outgoing(TOPIC, None, key.encode())
    return Outgoing(TOPIC, encode(change), key.encode(), _headers(key, change))


def _headers(key: str, alert: AlertState) -> list[tuple[str, bytes]]:
    return cloud_headers(
        topic=TOPIC,
        id=digest(key, alert.episode, str(alert.seq)),
        type=f"alert.{alert.state.value}",
        source=f"eventsphere/{NAME}",
        time_ms=alert.updated_at_ms,
        subject=key,
    )


def register(worker: Worker) -> None:
    worker.stateful(NAME, "alerts", KeepAlertState(worker.settings.cluster.name or "local"))
