"""What the Kafka cluster says of itself: where each partition begins and ends, and how far each consumer group is.

Asked at most once in `FRESH_S` whoever wants to know, by one thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from streams.account import Note, parse
from streams.errors import Retryable
from streams.kafka import client
from streams.settings import Kafka
from streams.topic_ids import TopicIds

OURS = "eventsphere."
"""Prefix of our agents' consumer groups: `eventsphere.<agent>`."""
CONTROL_GROUPS = "eventsphere.worker."
"""Groups by which workers hear control messages: of no agent, one a worker's start."""

EARLIEST: Any = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
FRESH_S = 2.0
TIMEOUT_S = 3.0
"""Of one request: less than who asks for readiness waits."""
FOREIGN_GROUPS = 20
"""Consumer groups of others that are looked at; more are left out."""


class Span(NamedTuple):
    """Offsets of one partition: the first still held, and the next to be written."""

    start: int
    end: int
    leader: int


class Snapshot(NamedTuple):
    at_s: float
    """When it was asked for (monotonic)."""
    topics: dict[str, list[Span]]
    """By topic and partition."""
    committed: dict[str, dict[str, dict[int, int]]]
    """group -> topic -> partition -> committed offset."""
    notes: dict[str, dict[str, dict[int, Note]]] = {}
    """The same -> what the group's account says there (streams/account.py)."""
    ids: dict[str, str] = {}
    """Kafka's ids of the topics."""

    @property
    def agents(self) -> list[str]:
        """Agents whose groups exist, by name."""
        return [group.removeprefix(OURS) for group in sorted(self.committed) if is_agent(group)]

    def produced(self, topic: str) -> int:
        """Records ever written to `topic`."""
        return sum(span.end for span in self.topics.get(topic, ()))

    def held(self, topic: str) -> int:
        """Upper bound of the records still there (compaction leaves holes)."""
        return sum(span.end - span.start for span in self.topics.get(topic, ()))

    def finished(self, group: str, topic: str) -> int:
        """Records of `topic` that `group` is done with; what retention removed before it came counts as done."""
        offsets = self.committed.get(group, {}).get(topic, {})
        spans = self.topics.get(topic, [])
        return sum(max(offsets.get(number, span.start), span.start) for number, span in enumerate(spans))

    def expired(self, group: str, topic: str) -> int:
        """Records retention removed before `group` came to them."""
        offsets = self.committed.get(group, {}).get(topic, {})
        return sum(max(0, s.start - offsets.get(n, 0)) for n, s in enumerate(self.topics.get(topic, [])))

    def lag(self, group: str, topic: str) -> int:
        return max(0, self.produced(topic) - self.finished(group, topic))

    def groups_of(self, topic: str) -> list[str]:
        return sorted(group for group, topics in self.committed.items() if topic in topics)


def is_agent(group: str) -> bool:
    """Whether a consumer group is one of our agents'."""
    return group.startswith(OURS) and not group.startswith(CONTROL_GROUPS)


class Cluster:
    """Raises Retryable("bus_away") when the cluster does not answer."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._looker: Looker | None = None
        self._thread = ThreadPoolExecutor(1, "cluster")
        self.known: Snapshot | None = None
        """What was seen last, however old."""
        self._asking: asyncio.Lock | None = None

    def close(self) -> None:
        looker, self._looker = self._looker, None
        if looker is not None:
            self._thread.submit(looker.close)
        self._thread.shutdown(wait=False)

    async def snapshot(self, max_age_s: float = FRESH_S) -> Snapshot:
        """Offsets and groups, at most `max_age_s` old; with 0 asked for after this call, with all who wait together."""
        since = time.monotonic() - max_age_s
        self._asking = self._asking or asyncio.Lock()
        async with self._asking:
            if self.known is None or self.known.at_s < since:
                self.known = await asyncio.get_running_loop().run_in_executor(self._thread, self._look)
            return self.known

    async def topic_id(self, topic: str) -> str:
        """Kafka's id of the topic; empty when it does not exist."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._topic_id, topic)

    def _topic_id(self, topic: str) -> str:
        try:
            return TopicIds(self._kafka).ask([topic]).get(topic, "")
        except KafkaException as error:
            raise Retryable("bus_away", str(error)) from error

    def _look(self) -> Snapshot:
        looker = self._looker = self._looker or Looker(self._kafka)
        try:
            return looker.look()
        except KafkaException as error:
            # A client that was asking when the broker died may time out for ever after: the next question gets another.
            self._looker = None
            looker.close()
            raise Retryable("bus_away", str(error)) from error


class Looker:
    """The clients that ask, in one thread. Each group is asked by a consumer of its name that never joins it: what the
    admin client answers about groups of a broker that is just starting has ended the process."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._admin = AdminClient(client(kafka))
        self._ids = TopicIds(kafka)
        self._consumers: dict[str, Consumer] = {}

    def look(self) -> Snapshot:
        """Ask the cluster now; blocking. Raises KafkaException."""
        began = time.monotonic()
        admin = self._admin
        metadata = admin.list_topics(timeout=TIMEOUT_S).topics
        leaders = {name: _leaders(topic) for name, topic in metadata.items() if not name.startswith("__")}
        led = [(name, number) for name, found in leaders.items() for number, leader in enumerate(found) if leader >= 0]
        starts, ends = _offsets(admin, led, EARLIEST), _offsets(admin, led, LATEST)
        topics = {
            name: [Span(starts.get((name, n), 0), ends.get((name, n), 0), leader) for n, leader in enumerate(found)]
            for name, found in leaders.items()
        }
        ids = self._ids.ask(leaders)
        committed: dict[str, dict[str, dict[int, int]]] = {}
        notes: dict[str, dict[str, dict[int, Note]]] = {}
        groups = self._groups()
        for gone in self._consumers.keys() - groups:
            self._consumers.pop(gone).close()
        for group in groups:
            for where in self._committed(group, led):
                topic_id, note = parse(where.metadata or "") if is_agent(group) else ("", None)
                if where.offset < 0 or (topic_id and topic_id != ids.get(where.topic, topic_id)):
                    continue  # committed for a topic that was deleted and made again
                committed.setdefault(group, {}).setdefault(where.topic, {})[where.partition] = where.offset
                if note is not None:
                    notes.setdefault(group, {}).setdefault(where.topic, {})[where.partition] = note
        return Snapshot(began, topics, committed, notes, ids)

    def close(self) -> None:
        for consumer in self._consumers.values():
            consumer.close()
        self._consumers.clear()

    def _groups(self) -> list[str]:
        """Groups to look at: our agents', and some of others."""
        listed = self._admin.list_consumer_groups(request_timeout=TIMEOUT_S).result()
        names = sorted(group.group_id for group in listed.valid)
        agents = [name for name in names if is_agent(name)]
        return agents + [name for name in names if not name.startswith(OURS)][:FOREIGN_GROUPS]

    def _committed(self, group: str, partitions: Sequence[tuple[str, int]]) -> list[TopicPartition]:
        if group not in self._consumers:
            self._consumers[group] = Consumer(
                client(self._kafka) | {"group.id": group, "enable.auto.commit": False, "log_level": 2}
            )
        wanted = [TopicPartition(*partition) for partition in partitions]
        answers = self._consumers[group].committed(wanted, timeout=TIMEOUT_S) if wanted else []
        return [where for where in answers if where.error is None]


def _leaders(topic: Any) -> list[int]:
    return [topic.partitions[number].leader for number in sorted(topic.partitions)]


def _offsets(admin: AdminClient, wanted: Iterable[tuple[str, int]], spec: Any) -> dict[tuple[str, int], int]:
    asked = {TopicPartition(topic, number): spec for topic, number in wanted}
    if not asked:
        return {}
    answers = admin.list_offsets(asked, request_timeout=TIMEOUT_S)
    return {(where.topic, where.partition): answer.result().offset for where, answer in answers.items()}
