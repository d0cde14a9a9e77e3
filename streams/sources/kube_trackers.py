"""What a line or a list item means for what Kafka already has. Pure but for the tables they keep.

A tracker is told of items (`put`), deletions (`delete`) and what a complete list did not hold (`absent`), and answers
with records. What it already gave at that version or a later one, it does not give again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from streams.record import Outgoing
from streams.sources.kube_records import (
    EVENT_RESOURCE,
    Known,
    Resource,
    count_of,
    deletion,
    event,
    event_record,
    metadata,
    newer,
    object_,
    object_record,
    tombstone,
    uid_of,
    version_of,
)
from streams.sources.kube_state import MAX_COUNTED, Entry

Raw = Mapping[str, Any]


class Tracker(Protocol):
    resource: Resource
    history: bool
    """Whether what happened between two lists is lost: true of Events, not of objects, whose last state counts."""

    def identity(self, raw: Raw) -> Any:
        """What `absent` knows an item by."""

    def put(self, raw: Raw, *, replayed: bool) -> list[Outgoing]: ...
    def delete(self, raw: Raw) -> list[Outgoing]: ...
    def absent(self, seen: set[Any]) -> Iterable[Outgoing]: ...
    def pending(self) -> dict[str, Entry | None]:
        """Counts that go with the records given since the last call."""


class Events:
    """Events: each change of one is a record that stands for the occurrences since the last."""

    history = True
    resource = EVENT_RESOURCE

    def __init__(self, cluster: str, counts: dict[str, Entry], limit: int = MAX_COUNTED) -> None:
        self._cluster = cluster
        self._counts = counts
        self._limit = limit
        self._pending: dict[str, Entry | None] = {}

    def identity(self, raw: Raw) -> str:
        return uid_of(raw)

    def put(self, raw: Raw, *, replayed: bool) -> list[Outgoing]:
        uid, version = uid_of(raw), version_of(raw)
        known = self._counts.get(uid)
        if known is not None and not newer(version, known.version):
            return []
        record = event(raw, self._cluster, known.count if known else 0, replayed=replayed)
        self._counts.pop(uid, None)
        self._set(uid, Entry(version=version, count=count_of(raw)))
        if len(self._counts) > self._limit:
            self._forget(next(iter(self._counts)))
        return [event_record(record)]

    def delete(self, raw: Raw) -> list[Outgoing]:
        """The server forgets an Event after an hour: that is not something that happened in the cluster."""
        self._forget(uid_of(raw))
        return []

    def absent(self, seen: set[Any]) -> Iterable[Outgoing]:
        for uid in [uid for uid in self._counts if uid not in seen]:
            self._forget(uid)
        return []

    def pending(self) -> dict[str, Entry | None]:
        out, self._pending = self._pending, {}
        return out

    def _set(self, uid: str, entry: Entry) -> None:
        self._counts[uid] = self._pending[uid] = entry

    def _forget(self, uid: str) -> None:
        if self._counts.pop(uid, None) is not None:
            self._pending[uid] = None


class Objects:
    """Objects of one kind: each change is a record, a deletion a record and a tombstone."""

    history = False

    def __init__(
        self, cluster: str, resource: Resource, known: dict[tuple[str, str], Known], clock: Callable[[], int]
    ) -> None:
        self.resource = resource
        self._cluster = cluster
        self._known = known
        self._clock = clock

    def identity(self, raw: Raw) -> tuple[str, str]:
        meta = metadata(raw)
        return str(meta.get("namespace") or ""), str(meta.get("name") or "")

    def put(self, raw: Raw, *, replayed: bool) -> list[Outgoing]:
        who, now = self.identity(raw), Known(uid_of(raw), version_of(raw))
        known = self._known.get(who)
        if known is not None and not newer(now.version, known.version):
            return []
        out = []
        if known is not None and known.uid != now.uid:
            out.append(object_record(self._deletion({}, who, known, replayed=replayed)))
        change = "modified" if known is not None and known.uid == now.uid else "added"
        out.append(object_record(object_(raw, self._cluster, self.resource.kind, change, replayed=replayed)))
        self._known[who] = now
        return out

    def delete(self, raw: Raw) -> list[Outgoing]:
        who = self.identity(raw)
        known = self._known.get(who)
        if known is None or known.uid != uid_of(raw):
            return []  # told before the watch was resumed, or another object has the name by now
        return self._gone(raw, who, known, replayed=False)

    def absent(self, seen: set[Any]) -> Iterable[Outgoing]:
        for who in [who for who in self._known if who not in seen]:
            yield from self._gone({}, who, self._known[who], replayed=True)

    def pending(self) -> dict[str, Entry | None]:
        return {}

    def _gone(self, raw: Raw, who: tuple[str, str], known: Known, *, replayed: bool) -> list[Outgoing]:
        record = self._deletion(raw, who, known, replayed=replayed)
        del self._known[who]
        return [object_record(record), tombstone(record)]

    def _deletion(self, raw: Raw, who: tuple[str, str], known: Known, *, replayed: bool) -> Any:
        return deletion(raw, self._cluster, self.resource.kind, who[0], who[1], known, self._clock(), replayed=replayed)
