"""A `Batch`: consecutive records of one partition, the one event a Faust agent gets for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Protocol

from streams.record import Headers, Record


class Message(Protocol):
    """What we use of `confluent_kafka.Message`: methods, called only where needed."""

    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> Headers | None: ...


class Lease(Enum):
    WAITING = "waiting"
    HELD = "held"
    FINISHED = "finished"


class Batch:
    """Records of one partition in offset order.

    `claim` gives it to exactly one taker: a batch that was put on the channel twice is worked on once.
    `finish` tells the source that every effect of it is durable; `release` gives it back unfinished.
    """

    __slots__ = ("topic", "partition", "messages", "nbytes", "end_offset", "lease", "at_end", "_on_finish", "_on_release")

    def __init__(
        self,
        topic: str,
        partition: int,
        messages: Sequence[Message],
        *,
        nbytes: int = 0,
        at_end: bool = False,
        on_finish: Callable[[Batch], None] | None = None,
        on_release: Callable[[Batch], None] | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.messages = messages
        self.nbytes = nbytes
        self.end_offset = messages[-1].offset() + 1
        self.at_end = at_end
        """Whether the partition had no further record when the batch was read."""
        self.lease = Lease.WAITING
        self._on_finish = on_finish
        self._on_release = on_release

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def first_offset(self) -> int:
        return self.messages[0].offset()

    def claim(self) -> bool:
        if self.lease is not Lease.WAITING:
            return False
        self.lease = Lease.HELD
        return True

    def finish(self) -> None:
        if self.lease is not Lease.FINISHED:
            self.lease = Lease.FINISHED
            if self._on_finish:
                self._on_finish(self)

    def release(self) -> None:
        if self.lease is Lease.HELD:
            self.lease = Lease.WAITING
            if self._on_release:
                self._on_release(self)

    def part(self, start: int, stop: int) -> Batch:
        """Records [start, stop) as a batch of its own that nobody waits for: how a failing batch is split."""
        return Batch(self.topic, self.partition, self.messages[start:stop], at_end=self.at_end)

    def records(self) -> Iterator[Record]:
        """The records as `Record`s; for topics of low volume (about 1 us each)."""
        for message in self.messages:
            yield as_record(self.topic, self.partition, message)

    def __repr__(self) -> str:
        return f"Batch({self.topic}-{self.partition} {self.first_offset}..{self.end_offset - 1}, {self.lease.value})"


def as_record(topic: str, partition: int, message: Message) -> Record:
    return Record(
        topic,
        partition,
        message.offset(),
        message.key(),
        message.value(),
        message.timestamp()[1],
        message.headers(),
    )


class StoredMessage:
    """A message made from a `Record`, for pure tests and for replays."""

    __slots__ = ("_record",)

    def __init__(self, record: Record) -> None:
        self._record = record

    def offset(self) -> int:
        return self._record.offset

    def key(self) -> bytes | None:
        return self._record.key

    def value(self) -> bytes | None:
        return self._record.value

    def timestamp(self) -> tuple[int, int]:
        return (1, self._record.timestamp_ms)

    def headers(self) -> Headers | None:
        return self._record.headers


def batch_of(records: Sequence[Record]) -> Batch:
    """A batch of given records of one partition, for tests."""
    return Batch(records[0].topic, records[0].partition, [StoredMessage(record) for record in records])
