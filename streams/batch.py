"""A `Batch`: consecutive records of one partition, the one event a Faust agent gets for all of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from streams.record import Headers, Record

if TYPE_CHECKING:
    from streams.accounts import Place, Report
    from streams.census import Outcome


class Message(Protocol):
    """What we use of `confluent_kafka.Message`: methods, called only where needed."""

    def __len__(self) -> int:
        """Bytes of its value."""

    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> Headers | None: ...


class Lease(Enum):
    WAITING = "waiting"
    HELD = "held"
    FINISHED = "finished"
    FORGOTTEN = "forgotten"
    """Its partition went elsewhere (or its topic was recreated): nobody waits for it any more."""


class Batch:
    """Records of one partition in offset order.

    `claim` gives it to exactly one taker: a batch that was put on the channel twice is worked on once.
    `finish` tells the source that every effect of it is durable; `release` gives it back unfinished.
    """

    __slots__ = (
        "_on_change",
        "at_end",
        "end_offset",
        "lease",
        "messages",
        "nbytes",
        "order",
        "outcome",
        "partition",
        "places",
        "puts",
        "report",
        "taker",
        "topic",
        "topic_id",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        messages: Sequence[Message],
        *,
        topic_id: str = "",
        nbytes: int = 0,
        order: int = 0,
        at_end: bool = False,
        on_change: Callable[[Batch], None] | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.messages = messages
        self.topic_id = topic_id
        """Kafka's id of the topic these offsets belong to: another one after the topic was recreated."""
        self.nbytes = nbytes
        self.order = order
        """Its place among all batches of its source, as they were read."""
        self.end_offset = messages[-1].offset() + 1
        self.at_end = at_end
        """Whether the partition had no further record when the batch was read."""
        self.lease = Lease.WAITING
        self.taker: object | None = None
        """Who took it off the channel last (the task), whether claimed or not."""
        self.puts = 0
        """How often it was given out; more than once: it had been dropped or released."""
        self.report: Report | None = None
        """What the handler says of records it did not store as they came (streams/accounts.py)."""
        self.outcome: Outcome | None = None
        """What became of its records, once it is finished, where its source keeps accounts."""
        self.places: Sequence[Place | None] | None = None
        """Whose its records are, once somebody has asked (streams/accounts.py)."""
        self._on_change = on_change

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def first_offset(self) -> int:
        return self.messages[0].offset()

    @property
    def wanted(self) -> bool:
        """False once finishing it means nothing: whoever works on it may stop."""
        return self.lease is Lease.WAITING or self.lease is Lease.HELD

    def extend(self, messages: Sequence[Message], *, nbytes: int, at_end: bool) -> None:
        """Append the records read next of its partition. Only while nobody was given it: `puts` is 0."""
        self.messages = _appended(self.messages, messages)
        self.nbytes += nbytes
        self.end_offset = messages[-1].offset() + 1
        self.at_end = at_end

    def claim(self) -> bool:
        """True for one caller; it then ends with `finish` or `release`."""
        if self.lease is not Lease.WAITING:
            return False
        self.lease = Lease.HELD
        return True

    def finish(self) -> None:
        if self.wanted:
            self._become(Lease.FINISHED)

    def release(self) -> None:
        """Give it back: it comes again."""
        if self.lease is Lease.HELD:
            self.taker = None
            self._become(Lease.WAITING)

    def forget(self) -> None:
        """What still happens to it changes nothing."""
        if self.wanted:
            self.lease = Lease.FORGOTTEN

    def _become(self, lease: Lease) -> None:
        self.lease = lease
        if self._on_change:
            self._on_change(self)

    def part(self, start: int, stop: int) -> Batch:
        """Records [start, stop) as a batch of its own that nobody waits for: how a failing batch is split."""
        at_end = self.at_end and stop == len(self.messages)
        out = Batch(self.topic, self.partition, self.messages[start:stop], topic_id=self.topic_id, at_end=at_end)
        out.places = self.places and self.places[start:stop]
        return out

    def without(self, indexes: Container[int]) -> Batch:
        """The records at other positions, in one batch (offsets have holes then, as those of compacted topics do)."""
        messages = [message for index, message in enumerate(self.messages) if index not in indexes]
        out = Batch(self.topic, self.partition, messages, topic_id=self.topic_id, at_end=self.at_end)
        out.places = self.places and [place for index, place in enumerate(self.places) if index not in indexes]
        return out

    def records(self) -> Iterator[Record]:
        """The records as `Record`s; for topics of low volume (about 1 us each)."""
        for message in self.messages:
            yield as_record(self.topic, self.partition, message)

    def __repr__(self) -> str:
        return f"Batch({self.topic}-{self.partition} {self.first_offset}..{self.end_offset - 1}, {self.lease.value})"


def _appended(messages: Sequence[Message], more: Sequence[Message]) -> list[Message]:
    """In place where it can be: a batch may grow by many small reads."""
    out = messages if isinstance(messages, list) else list(messages)
    out.extend(more)
    return out


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

    def __len__(self) -> int:
        return len(self._record.value or b"")

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


def with_value(topic: str, partition: int, message: Message, value: bytes) -> Message:
    """The same record with another value, of the same type as `message`: writers may ask all of a batch alike."""
    if isinstance(message, StoredMessage):
        return StoredMessage(as_record(topic, partition, message)._replace(value=value))
    return type(message)(  # type: ignore[call-arg]
        topic=topic,
        partition=partition,
        offset=message.offset(),
        key=message.key(),
        value=value,
        headers=message.headers(),
        timestamp=message.timestamp(),
    )


def batch_of(records: Sequence[Record], *, topic_id: str = "") -> Batch:
    """A batch of given records of one partition, for tests."""
    messages = [StoredMessage(record) for record in records]
    return Batch(records[0].topic, records[0].partition, messages, topic_id=topic_id)
