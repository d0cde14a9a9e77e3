"""Kafka's id of a topic (a UUID): another one once the topic was deleted and made again under the same name."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from streams.kafka import client
from streams.settings import Kafka

TIMEOUT_S = 10.0


class TopicIds:
    """Blocking: call it off the event loop."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._admin = AdminClient(client(kafka))
        self.known: dict[str, str] = {}

    def ask(self, topics: Iterable[str]) -> dict[str, str]:
        """The ids of those topics that exist now. Raises KafkaException when the broker does not answer."""
        futures = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=TIMEOUT_S)
        out = {}
        for name, future in futures.items():
            try:
                out[name] = str(future.result(TIMEOUT_S).topic_id)
            except TimeoutError:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
            except KafkaException as error:
                if not _unknown(error):
                    raise
        self.known.update(out)
        return out

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The end offsets of those partitions that exist now."""
        wanted = {TopicPartition(*tp): OffsetSpec.latest() for tp in partitions}  # type: ignore[no-untyped-call]
        out: dict[tuple[str, int], int] = {}
        failed = False
        if not wanted:
            return {}
        # What a consumer can read: a transaction that is still open is no lag.
        asked = self._admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT_S
        )
        for tp, future in asked.items():
            try:
                out[(tp.topic, tp.partition)] = int(future.result(TIMEOUT_S).offset)
            except (KafkaException, TimeoutError) as error:
                failed = failed or not _unknown(error)
        if failed:
            # The client never forgets a leader epoch of before a broker's restart (FENCED_LEADER_EPOCH from then on).
            self._admin = AdminClient(client(self._kafka))
        return out


def _unknown(error: Exception) -> bool:
    return isinstance(error, KafkaException) and error.args[0].name() == "UNKNOWN_TOPIC_OR_PART"
