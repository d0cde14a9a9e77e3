"""The search index port: what agents write and the gateway reads. Adapters: `tantivy` (embedded) and `elasticsearch`.

A document is a Kafka record: its JSON value as it came, plus where it stands. Its id is a function of the record alone
(see `document_id`), so writing a batch again changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from streams.batch import Batch
from streams.settings import Settings
from streams.sinks.index.language import Node


class Kind(StrEnum):
    """Families of documents; each has an index (or several dated ones) of its own."""

    LOGS = "logs"
    EVENTS = "events"
    OBJECTS = "objects"
    GAPS = "gaps"
    AUDIT = "audit"
    NOTIFICATIONS = "notifications"
    OUTCOMES = "outcomes"


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to find. Filters are exact; several values of one field are alternatives; `text` is in the query language
    (`language.py`), `where` a tree of it that must hold as well. Times are ms, `end_ms` exclusive."""

    kind: Kind
    text: str = ""
    where: Node | None = None
    cluster: tuple[str, ...] = ()
    namespace: tuple[str, ...] = ()
    workload: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()
    container: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Other exact words of a document: an event's reason, an object's kind, a notification's id or receiver."""
    tenants: tuple[str, ...] = ()
    """Empty: all."""
    partition: int = -1
    offset: int = -1
    """With `partition`: the one record that stands there."""
    start_ms: int = 0
    end_ms: int = 0
    limit: int = 100
    cursor: str = ""
    oldest_first: bool = False
    count: bool = True
    """Whether the page tells the total of what matches; without, pages come faster."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    time_ms: int
    topic: str
    partition: int
    offset: int
    record: dict[str, Any]
    """The record as it was produced."""
    note: str = ""
    """Why not every field of it is searched: which one the index refused, and why. Mostly empty."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Hit]
    total: int
    """All that match; -1 when it was not asked for."""
    next: str = ""
    """Cursor of the next page, empty on the last."""


class Top(msgspec.Struct, frozen=True, kw_only=True):
    """The most frequent values of a field among the documents that match."""

    records: int
    """Documents that have the field."""
    values: list[tuple[str, int]]
    """(value, documents), most first."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One of the dated parts a kind is kept in: what is deleted as a whole."""

    name: str
    """Of the index (Elasticsearch), or `<kind>/<day>`."""
    kind: Kind
    dated: bool
    """False: of records whose times cannot be right."""
    from_ms: int
    to_ms: int
    """Times of its records, [from_ms, to_ms)."""
    documents: int
    nbytes: int
    """On disk, copies on other nodes not counted."""


class Index(Protocol):
    """Raises Retryable when the index is away, Invalid (with `indexes`, positions in the batch) for what it can never
    take; a query it cannot understand is Invalid("query")."""

    async def open(self) -> None:
        """Connect, make templates or folders. May be called again after a failure."""

    async def close(self) -> None: ...

    async def write(self, kind: Kind, batch: Batch) -> None:
        """Return when every record of the batch is durable in the index (tantivy: committed)."""

    async def search(self, query: Query) -> Page: ...

    async def histogram(self, query: Query, step_ms: int) -> dict[int, int]:
        """Matching documents in each interval of `step_ms`: its start (a multiple of `step_ms`) -> how many, if any."""

    async def top(self, query: Query, field: str, limit: int) -> Top:
        """The values of a field as the query language names it. Raises Invalid("field") for one without values."""

    async def containers(self, query: Query) -> int:
        """How many containers (namespace, pod and name) the matching log records are of."""

    async def get(self, kind: Kind, id: str) -> Hit | None: ...  # noqa: A002

    async def counts(self, kind: Kind, by: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
        """Documents per value tuple of `by` (of cluster, namespace); `()` -> {(): total}."""

    async def ping(self) -> None:
        """Raises Retryable when it could not be used now."""

    async def stored(self) -> list[Stored]:
        """The parts there are, oldest first."""

    async def places(self, stored: Stored) -> set[tuple[str, str]] | None:
        """(cluster, namespace) of the documents of a part; None when there are too many to tell."""

    async def remove(self, stored: Stored) -> None:
        """Delete a part, at once; that it is gone already is no error. Embedded: only in the writing process."""

    async def remove_part(self, stored: Stored, matching: Node) -> int:
        """Delete the documents of a part that match; returns how many. Elasticsearch builds without delete-by-query
        delete none."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def open_index(settings: Settings, *, writer: bool, clock: Callable[[], int] = now_ms) -> Index:
    """The adapter the settings ask for, showing nothing expired. One process only may open the embedded one with
    `writer`."""
    from streams.retention.kept import KeptIndex
    from streams.retention.policy import Policy

    policy = Policy(settings.retention, settings.index.tiers)
    within = _adapter(settings, writer=writer)
    return within if policy.forever else KeptIndex(within, policy, clock)


def _adapter(settings: Settings, *, writer: bool) -> Index:
    if settings.index.url:
        from streams.sinks.index.elasticsearch import ElasticsearchIndex

        return ElasticsearchIndex(settings.index)
    from streams.sinks.index.embedded import EmbeddedIndex

    return EmbeddedIndex(settings, writer=writer)
