"""Kafka as keyed state sees it, in memory: a log per partition that may fail, be cut off at any record, and compact."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from schemas.catalogue import DLQ_SUFFIX
from streams.batch import Batch, batch_of
from streams.errors import Failure, Invalid, Retryable
from streams.record import Headers, Outgoing, Record
from streams.state import State
from streams.state_log import Followed

STATE = "state.count"
OUT = "counted"
INPUT = "numbers"
Kept = tuple[bytes | None, bytes | None, Headers | None]


class Killed(BaseException):
    """kill -9: nothing catches it."""


class Bus:
    """All that is stored; outlives the processes that write it."""

    def __init__(self) -> None:
        self.state: defaultdict[int, list[Kept]] = defaultdict(list)
        self.outputs: list[Outgoing] = []
        self.followed: list[Followed] = []

    def append(self, record: Outgoing) -> None:
        if record.topic != STATE:
            self.outputs.append(record)
            return
        kept = (record.key, record.value, record.headers)
        self.state[record.partition].append(kept)
        for followed in self.followed:
            if followed.partition == record.partition:
                feed(followed, kept)

    def compact(self) -> None:
        for partition, log in self.state.items():
            last = {key: index for index, (key, _value, _headers) in enumerate(log)}
            self.state[partition] = [kept for index, kept in enumerate(log) if last[kept[0]] == index]

    @property
    def sent(self) -> list[bytes]:
        """Values of outputs in order, repeats left out, dead letters apart."""
        return list(dict.fromkeys(o.value or b"" for o in self.outputs if not o.topic.endswith(DLQ_SUFFIX)))

    @property
    def ticks(self) -> list[bytes]:
        """Key and last record of what ticks decided, repeats left out: one that is there twice was decided twice."""
        return [value.rpartition(b" at ")[0] for value in self.sent if value.startswith(b"tick")]

    @property
    def dead(self) -> set[bytes]:
        return {o.value or b"" for o in self.outputs if o.topic.endswith(DLQ_SUFFIX)}


class Process:
    """One process's producer and reader. `dies_after` records were stored it is killed; of what one `send` was given
    each partition keeps a prefix, then. `fails`: how likely a send stores only some records and is Retryable.
    `limits`: bytes of a record, by topic."""

    def __init__(
        self,
        bus: Bus,
        rng: random.Random,
        *,
        dies_after: int = 1 << 60,
        fails: float = 0.0,
        slow: bool = False,
        limits: dict[str, int] | None = None,
        end: int = 0,
    ) -> None:
        self._bus = bus
        self._rng = rng
        self._left = dies_after
        self.fails = fails
        self._slow = slow
        self.limits = limits or {}
        self.end = end
        self._followed: list[Followed] = []

    async def send(self, records: Sequence[Outgoing]) -> None:
        queues = defaultdict(list)
        for record in records:
            queues[record.topic, record.partition].append(record)
        too_large = {i: "too large" for i, record in enumerate(records) if self._too_large(record)}
        fails = self._rng.random() < self.fails
        while queues:
            if self._slow:
                for _ in range(200 if self._rng.random() < 0.05 else self._rng.randrange(3)):
                    await asyncio.sleep(0)
            where = self._rng.choice(sorted(queues))
            if self._left == 0:
                raise Killed
            if fails and self._rng.random() < 0.3:
                raise Retryable("bus_away")
            record = queues[where].pop(0)
            if not queues[where]:
                del queues[where]
            if not self._too_large(record):
                self._bus.append(record)
                self._left -= 1
        await asyncio.sleep(0)
        if too_large:
            raise Invalid("too_large", indexes=too_large)

    def _too_large(self, record: Outgoing) -> bool:
        return len(record.value or b"") > self.limits.get(record.topic, 1 << 60)

    def start(self) -> None:
        pass

    def close(self) -> None:
        for followed in list(self._followed):
            self.unfollow(followed)

    def follow(self, followed: Followed) -> None:
        for kept in self._bus.state[followed.partition]:
            feed(followed, kept)
        followed.at_end = True
        self._bus.followed.append(followed)
        self._followed.append(followed)
        followed.changed()

    def ends(self, partitions: Sequence[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, self.end)

    def unfollow(self, followed: Followed) -> None:
        for each in (self._bus.followed, self._followed):
            if followed in each:
                each.remove(followed)


def feed(followed: Followed, kept: Kept) -> None:
    key, value, headers = kept
    try:
        followed.reader.add(key, value, lambda: headers)
    except Failure as failure:
        followed.failure = failure
    followed.changed()


class Count(msgspec.Struct, frozen=True):
    seen: int = 0
    told: int = -1
    last: int = 0
    text: str = ""


class Counter:
    """Counts records by key; `bad` ones are refused after the state was touched. A tick tells of odd counts."""

    version = 1
    entry = Count

    def decide(self, state: State[Count], record: Record) -> Iterator[Outgoing]:
        key = (record.key or b"").decode()
        count = state.get(key, Count())
        seen = count.seen + 1
        value = record.value or b""
        state[key] = Count(seen, count.told, record.offset, value.decode() if value.startswith(b"text") else count.text)
        if value.startswith(b"bad"):
            raise Invalid("bad")
        if value.startswith(b"bug"):
            raise RuntimeError("a fault of the core")
        if value == b"delete":
            del state[key]
        if value == b"silent":
            del state[key]
            state[key] = Count(seen, count.told, record.offset, count.text)
            return
        yield Outgoing(OUT, f"{key} {record.offset} {seen}".encode(), record.key, partition=0)

    def tick(self, state: State[Count], now_ms: int) -> Iterator[Outgoing]:
        for key, count in list(state.items()):
            if count.seen % 2 and count.told != count.last:
                state[key] = msgspec.structs.replace(count, told=count.last)
                yield Outgoing(OUT, f"tick {key} {count.last} at {now_ms}".encode(), key.encode(), partition=0)


def records(inputs: Sequence[tuple[str, bytes]], *, start: int = 0) -> list[Record]:
    return [Record(INPUT, 0, start + i, key.encode(), value, 1000 + i) for i, (key, value) in enumerate(inputs)]


def batches(all_: Sequence[Record], rng: random.Random, start: int, topic_id: str = "t1") -> Iterator[Batch]:
    while start < len(all_):
        size = rng.randint(1, 5)
        yield batch_of(all_[start : start + size], topic_id=topic_id)
        start += size
