"""Records going out to Kafka and coming in, apart from any client library."""

from __future__ import annotations

from typing import NamedTuple

Headers = list[tuple[str, bytes]]
AHEAD_MS = 3_000_000
"""How far ahead of our clock a record's time may be to become Kafka's timestamp (brokers refuse an hour)."""


class Outgoing(NamedTuple):
    """A record to produce. `timestamp_ms` 0: the producer's clock; `partition` -1: by key (or spread without one)."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers | None = None
    timestamp_ms: int = 0
    partition: int = -1


class Bulk(NamedTuple):
    """Records of one topic that go to one partition, in order; `keys`, `values` and `times_ms` are as long as another.

    Bulks of the same `spread` go to the same partition (while their number stays); empty: where the least waits.
    """

    topic: str
    values: list[bytes]
    keys: list[bytes | None]
    times_ms: list[int]
    spread: str = ""


class Record(NamedTuple):
    """A record as consumed. `value` None: a tombstone; `timestamp_ms` is Kafka's: our sources set the record's time."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers | None = None

    @property
    def where(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"
