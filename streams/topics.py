"""Topics as the catalogue declares them: what differs on a cluster, and making it so."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    ResourceType,
    TopicMetadata,
)
from confluent_kafka.cimpl import NewTopic

from schemas.catalogue import Topic, catalogue
from streams.errors import Fatal, Retryable
from streams.kafka import Reasons, client
from streams.settings import Kafka

TIMEOUT_S = 30.0
CALL_S = 2.0


class Difference(NamedTuple):
    topic: str
    what: str
    """`missing`, `partitions` or the name of a configuration entry."""
    is_: str
    should_be: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what}: is {self.is_ or 'absent'}, should be {self.should_be}"


def partitions(topic: Topic, kafka: Kafka) -> int:
    """Partitions of a topic here: the catalogue's, unless a setting overrides those that have more than one."""
    return kafka.partitions if kafka.partitions and topic.partitions > 1 else topic.partitions


def diff(kafka: Kafka, topics: Iterable[Topic] | None = None) -> list[Difference]:
    """What on the cluster is not as declared. Raises Retryable when the cluster does not answer."""
    admin, present = _connected(kafka)
    wanted = list(topics if topics is not None else catalogue().values())
    try:
        configs = _configs(admin, [t.name for t in wanted if t.name in present])
    except KafkaException as error:
        raise Retryable("bus_away", str(error)) from error
    out = []
    for topic in wanted:
        if topic.name not in present:
            out.append(Difference(topic.name, "missing", "", f"{partitions(topic, kafka)} partitions"))
            continue
        count = len(present[topic.name].partitions)
        if count < partitions(topic, kafka):
            out.append(Difference(topic.name, "partitions", str(count), str(partitions(topic, kafka))))
        for name, value in topic.config().items():
            if configs[topic.name].get(name) != value:
                out.append(Difference(topic.name, name, configs[topic.name].get(name, ""), value))
    return out


def apply(kafka: Kafka, topics: Iterable[Topic] | None = None, *, wait_s: float = TIMEOUT_S) -> list[str]:
    """Create the topics that are missing and wait until each has a leader; existing ones are left as they are.

    Returns the names created. Raises Retryable when the cluster does not answer or a leader is missing in time.
    """
    admin, present = _connected(kafka)
    wanted = list(topics if topics is not None else catalogue().values())
    new = [_new(t, kafka) for t in wanted if t.name not in present]
    created = []
    for name, future in (admin.create_topics(new, operation_timeout=TIMEOUT_S) if new else {}).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Retryable("topic_not_created", f"{name}: {error}") from error
    _await_leaders(admin, {t.name for t in wanted}, wait_s)
    return created


def _connected(kafka: Kafka) -> tuple[AdminClient, dict[str, TopicMetadata]]:
    """A client and the topics there are. Raises Retryable("bus_away") with what the client says is wrong, and Fatal
    for settings that cannot be.

    Asks in short calls: only between them signals and the client's own words are heard.
    """
    reasons = Reasons()
    try:
        admin = AdminClient(client(kafka) | {"error_cb": reasons})
    except KafkaException as error:
        raise Fatal("kafka_settings", error.args[0].str()) from error
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return admin, admin.list_topics(timeout=CALL_S).topics
        except KafkaException as error:
            admin.poll(0)
            if reasons.unauthorized or time.monotonic() > deadline:
                raise Retryable("bus_away", str(reasons)) from error


def _new(topic: Topic, kafka: Kafka) -> NewTopic:
    config = topic.config()
    if kafka.replication_factor > 1:
        config["min.insync.replicas"] = str(kafka.min_insync_replicas)
    return NewTopic(
        topic.name,
        num_partitions=partitions(topic, kafka),
        replication_factor=kafka.replication_factor,
        config=config,
    )


def leaderless(kafka: Kafka, names: set[str], timeout_s: float = 5.0) -> list[str]:
    """Names of topics that are absent or have a partition without a leader."""
    admin = AdminClient(client(kafka))
    try:
        return _leaderless(admin, names, timeout_s)
    except KafkaException:
        admin.poll(0)  # lets the client say why
        raise


def _leaderless(admin: AdminClient, names: set[str], timeout_s: float) -> list[str]:
    present = admin.list_topics(timeout=timeout_s).topics
    return sorted(
        name
        for name in names
        if name not in present
        or present[name].error is not None
        or any(p.leader < 0 for p in present[name].partitions.values())
    )


def _await_leaders(admin: AdminClient, names: set[str], wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while missing := _leaderless(admin, names, TIMEOUT_S):
        if time.monotonic() > deadline:
            raise Retryable("no_leader", f"no leader yet for: {', '.join(missing)}")
        time.sleep(0.1)


def _configs(admin: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    futures = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
    return {
        resource.name: {name: str(entry.value) for name, entry in future.result().items()}
        for resource, future in futures.items()
    }


class Identity(NamedTuple):
    """Which topic a name stands for now: a topic deleted and created again has another id."""

    id: str
    """Kafka's topic UUID, base64 as Kafka's own tools print it."""
    partitions: int


def identity(kafka: Kafka, name: str, timeout_s: float = 10.0) -> Identity | None:
    """The topic called `name`, None when there is none. Blocks; raises KafkaException when the cluster is away."""
    future = _admin(kafka).describe_topics(TopicCollection([name]), request_timeout=timeout_s)[name]
    try:
        found = future.result(timeout_s + 1)
    except TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise
    return Identity(str(found.topic_id), len(found.partitions))


@lru_cache(maxsize=8)
def _admin(kafka: Kafka) -> AdminClient:
    return AdminClient(client(kafka) | {"logger": logging.getLogger("kafka.admin")})
