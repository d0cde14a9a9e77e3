"""A librdkafka consumer group as the batch source needs it: everything here runs in the source's one consumer thread.

Committed offsets carry the topic's id as their metadata. Kafka forgets the offsets of a deleted topic, but a consumer
still at work on the old one's records commits them onto the new one; the id tells that such an offset means nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.account import Note, parse
from streams.kafka import client
from streams.settings import Settings
from streams.topic_ids import TopicIds

log = structlog.get_logger(__name__)

TP = tuple[str, int]

SESSION_TIMEOUT_MS = 10_000
POLL_S = 0.1
"""Longest wait for a first record; also how long commands (commit, pause) may wait."""
ANSWER_S = 0.01
"""How long a source that just became full waits for the answer to its commit: often that is all it needs."""
LINGER_S = 0.01
"""How long a turn waits for more once it has a record."""
RETRY_S = 0.2
TOO_LONG = "OFFSET_METADATA_TOO_LARGE"
REVOKE_S = 60.0
PREFETCH_KIB = 16 << 10
FETCH_BYTES = 8 << 20


class Start(NamedTuple):
    """Where reading of a partition begins. `offset` -1: at its beginning."""

    offset: int
    topic_id: str
    note: Note | None = None
    """What the account committed with it says."""


Commit = tuple[int, str]
"""An offset and its metadata: the id of the topic it belongs to, and perhaps a note (account.py)."""


class Owner(Protocol):
    """What the group tells the source, in the consumer thread and in the order it happens."""

    def partitions_assigned(self, starts: dict[TP, Start]) -> None: ...

    def partitions_revoked(self, partitions: Sequence[TP], *, lost: bool) -> Future[dict[TP, Commit]]:
        """Resolves to what to commit before they are given up."""

    def offsets_committed(self, offsets: dict[TP, int]) -> None: ...


class Group:
    def __init__(self, settings: Settings, name: str, topics: Sequence[str], ids: TopicIds, owner: Owner) -> None:
        self._topics = list(topics)
        self._ids = ids
        self._owner = owner
        self._mine: set[TP] = set()
        self._full = False
        self._committing = False
        self._notes = True
        """Whether notes are committed: not once the broker said that they are too long for it."""
        self.closing = False
        self._consumer = Consumer(
            client(settings.kafka)
            | {
                "group.id": f"eventsphere.{name}",
                "client.id": f"eventsphere.{name}.{settings.worker.name}",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                "heartbeat.interval.ms": 1000,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "enable.partition.eof": True,
                "fetch.queue.backoff.ms": 5,
                "fetch.max.bytes": FETCH_BYTES,
                "queued.max.messages.kbytes": PREFETCH_KIB,
                "topic.metadata.refresh.interval.ms": 5000,
                "on_commit": self._on_commit,
            }
        )

    @property
    def committing(self) -> bool:
        """Whether a commit is under way: another would not be sent."""
        return self._committing

    def subscribe(self) -> None:
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def turn(self, limit: int, commits: dict[TP, Commit]) -> list[Message]:
        """One round: commit, then up to `limit` records (0: none, but the group is kept alive), errors among them."""
        begins = limit == 0 and not self._full
        self._pause(full=limit == 0)
        if commits and not self._committing:
            self._commit(commits)
        first = self._consumer.poll(ANSWER_S if begins and self._committing else POLL_S)
        if first is None:
            return []
        messages: list[Message] = [first]
        asks = int(self._committing and limit > 1)
        if limit > 1 + asks:
            messages += self._consumer.consume(limit - 1 - asks, LINGER_S)
        if asks and (last := self._consumer.poll(0)) is not None:
            # What was polled for is the answer to the commit (it came meanwhile, and would wait for the next turn):
            # with it the next turn commits again, and records finished but not committed hold nothing up.
            messages.append(last)
        return messages

    def rewind(self, partitions: Iterable[TP]) -> None:
        """Read these from their beginning."""
        for topic, partition in self._mine.intersection(partitions):
            self._consumer.seek(TopicPartition(topic, partition, OFFSET_BEGINNING))

    def first_offset(self, partition: TP) -> int:
        """The oldest offset the broker still has, -1 when it does not say."""
        try:
            return int(self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=5)[0])
        except KafkaException as error:
            log.warning("source.offsets_unknown", topic=partition[0], partition=partition[1], error=str(error))
            return -1

    def high(self, partition: TP) -> int:
        """End of the partition as of the last fetch, -1 when unknown. Does not block: callable from any thread."""
        return int(self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1])

    def close(self) -> None:
        """Give up all partitions (committing what is finished) and leave the group."""
        self.closing = True
        self._consumer.close()

    def _pause(self, *, full: bool) -> None:
        """Nothing is fetched for a source that is full: paused, never re-assigned, so that nothing is read twice."""
        if full == self._full:
            return
        self._full = full
        partitions = [TopicPartition(*tp) for tp in self._mine]
        if partitions:
            (self._consumer.pause if full else self._consumer.resume)(partitions)

    def _commit(self, commits: dict[TP, Commit]) -> None:
        """One commit is under way at a time, so that a late one never takes a partition's offset back."""
        try:
            self._consumer.commit(offsets=self._offsets(commits), asynchronous=True)
            self._committing = True
        except KafkaException as error:
            log.warning("source.commit_failed", error=str(error))

    def _offsets(self, commits: dict[TP, Commit]) -> list[TopicPartition]:
        return [
            TopicPartition(*tp, offset, metadata if self._notes else metadata.partition(" ")[0])
            for tp, (offset, metadata) in commits.items()
        ]

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        self._committing = False
        if TOO_LONG in {each.name() for each in (error, *(p.error for p in partitions)) if each is not None}:
            log.error("source.notes_too_long", hint="the brokers take less than 4096 bytes: no accounts")
            self._notes = False
        if error is not None:
            # A rebalance refuses commits while it goes on; what is finished is committed after it.
            usual = error.name() in ("ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS", "_ASSIGNMENT_LOST", "_WAIT_COORD")
            (log.info if usual else log.warning)("source.commit_failed", error=str(error))
        else:
            done = {(p.topic, p.partition): p.offset for p in partitions if p.error is None}
            self._owner.offsets_committed(done)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        starts = self._starts(partitions)
        new = [TopicPartition(*tp, s.offset if s.offset >= 0 else OFFSET_BEGINNING) for tp, s in starts.items()]
        consumer.incremental_assign(new)
        self._mine |= starts.keys()
        if new and self._full:
            consumer.pause(new)
        self._owner.partitions_assigned(starts)

    def _starts(self, partitions: list[TopicPartition]) -> dict[TP, Start]:
        """Committed offsets, where they belong to the topic that has the name today. Waits until the broker says."""
        while not self.closing and partitions:
            try:
                ids = self._ids.ask({p.topic for p in partitions})
                committed = self._consumer.committed(partitions, timeout=10)
            except KafkaException as error:
                log.warning("source.offsets_unknown", error=str(error))
                time.sleep(RETRY_S)
                continue
            if all(p.error is None for p in committed) and all(p.topic in ids for p in partitions):
                return {(p.topic, p.partition): _start(p, ids[p.topic]) for p in committed}
            time.sleep(RETRY_S)
        return {(p.topic, p.partition): Start(p.offset, "") for p in partitions}

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        commits = self._give_up(partitions, lost=False)
        if commits:
            try:
                consumer.commit(offsets=self._offsets(commits), asynchronous=False)
            except KafkaException as error:
                log.warning("source.last_commit_failed", partitions=sorted(commits), error=str(error))
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Somebody else may own them by now: nothing is committed."""
        self._give_up(partitions, lost=True)
        consumer.incremental_unassign(partitions)

    def _give_up(self, partitions: list[TopicPartition], *, lost: bool) -> dict[TP, Commit]:
        gone = [(p.topic, p.partition) for p in partitions]
        self._mine.difference_update(gone)
        try:
            return self._owner.partitions_revoked(gone, lost=lost).result(REVOKE_S)
        except TimeoutError:
            log.error("source.revoke_timed_out", partitions=gone)
            return {}


def _start(committed: Any, topic_id: str) -> Start:
    """A committed offset without metadata is trusted: another tool (a reset of the group) may have set it."""
    if committed.offset < 0:
        return Start(-1, topic_id)
    metadata, note = parse(committed.metadata or "")
    if metadata and metadata != topic_id:
        log.warning(
            "source.topic_recreated", topic=committed.topic, partition=committed.partition, offset=committed.offset
        )
        return Start(-1, topic_id)
    return Start(committed.offset, topic_id, note)
