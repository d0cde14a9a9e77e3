"""How far the watches are, kept in the compacted topic `state.kube-watch`.

Entries are written after the records they stand for were acked, at most a second later. After a crash a watch goes on
from its last entry: what it reads again gives records with the same ids, or is recognised and skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from schemas.base import Event, encode
from schemas.catalogue import KUBE_WATCH
from streams.record import Outgoing
from streams.settings import Kafka
from streams.sources.durable import Durable
from streams.sources.kube_records import EVENT_RESOURCE, OBJECTS, Known, Resource
from streams.views import View

MAX_COUNTED = 100_000
"""Events of a cluster whose count is remembered; the server keeps an Event for an hour."""
BATCH = 5000


class Entry(Event, frozen=True, kw_only=True):
    """`version`: of a watched resource, or of one Event; `count`: of that Event; `at_ms`: when the server was heard."""

    version: str
    count: int = 0
    at_ms: int = 0


class StoredObject(Event, frozen=True, kw_only=True):
    """Of a record of `kube.objects`: which object, as of when."""

    cluster: str
    kind: str
    name: str
    uid: str
    resource_version: str
    namespace: str = ""


class Loaded(NamedTuple):
    """What Kafka holds of all clusters."""

    entries: dict[str, Entry]
    objects: list[StoredObject]


async def load(kafka: Kafka) -> Loaded:
    """Return once both topics were read to their ends, however long Kafka is away."""
    entries = View(kafka, KUBE_WATCH.name, msgspec.json.Decoder(Entry).decode)
    objects = View(kafka, OBJECTS, msgspec.json.Decoder(StoredObject).decode)
    try:
        await entries.start()
        await objects.start()
        return Loaded(dict(entries.items()), list(objects.values()))
    finally:
        await entries.close()
        await objects.close()


class Checkpoint:
    """Of one cluster. `counts` may be ahead of what Kafka acked; `acked` and `moved` say what may be written."""

    def __init__(self, cluster: str, loaded: Mapping[str, Entry], durable: Durable, clock: Callable[[], int]) -> None:
        self._prefix = f"{cluster}/"
        self._events = f"{cluster}/{EVENT_RESOURCE.named}/"
        self._durable = durable
        self._clock = clock
        self.counts: dict[str, Entry] = {}
        """By the uid of the Event; the longest unchanged first."""
        self._versions: dict[str, Entry] = {}
        self._dirty: dict[str, Entry | None] = {}
        for key, entry in loaded.items():
            if key.startswith(self._events):
                self.counts[key.removeprefix(self._events)] = entry
            elif key.startswith(self._prefix):
                self._versions[key.removeprefix(self._prefix)] = entry

    def position(self, resource: Resource) -> Entry | None:
        return self._versions.get(resource.named)

    def moved(self, resource: Resource, version: str) -> None:
        """Everything of `resource` up to `version` is in Kafka."""
        entry = Entry(version=version, at_ms=self._clock())
        self._versions[resource.named] = entry
        self._dirty[self._prefix + resource.named] = entry

    def acked(self, counts: Mapping[str, Entry | None]) -> None:
        """The records of these Events are in Kafka (None: the Event is gone)."""
        for uid, entry in counts.items():
            self._dirty[self._events + uid] = entry

    async def flush(self) -> None:
        """Write what changed; versions last, so that a version never stands before the counts it goes with."""
        dirty, self._dirty = self._dirty, {}
        ordered = sorted(dirty.items(), key=lambda item: not item[0].startswith(self._events))
        records = [Outgoing(KUBE_WATCH.name, encode(entry) if entry else None, key.encode()) for key, entry in ordered]
        try:
            for start in range(0, len(records), BATCH):
                await self._durable.send(records[start : start + BATCH])
        except BaseException:
            self._dirty = dirty | self._dirty
            raise


def known_objects(loaded: Loaded, cluster: str, kind: str) -> dict[tuple[str, str], Known]:
    """By (namespace, name): the objects of one kind that Kafka has."""
    return {
        (o.namespace, o.name): Known(o.uid, o.resource_version)
        for o in loaded.objects
        if o.cluster == cluster and o.kind == kind
    }
