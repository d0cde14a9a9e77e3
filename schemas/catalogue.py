"""The topic catalogue: one YAML file a topic in `schemas/topics/`, the single source of creation, docs and pictures.

State topics (`state.<agent>`: keyed state of one stateful agent, internal, compacted) are declared by `state_topic`.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec
import yaml

DLQ_SUFFIX = ".dlq"
HOUR_MS = 3_600_000


class Topic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One topic. Retention is by time and by bytes a partition; compacted topics have neither.

    `public`: others may read it, and its records are documented. `publish`: others may write to it through the
    gateway; not what is an output of ours, or has an API of its own that checks more than a schema can.
    """

    name: str
    key: str
    record: str
    schema: str
    headers: bool = True
    public: bool = True
    publish: bool = True
    cleanup: str = "delete"
    partitions: int = 1
    retention_hours: int = 0
    retention_gib: int = 0
    max_message_mib: int = 1
    dead_letters: bool = True
    producers: list[str] = []
    consumers: list[str] = []
    example: str = ""

    def config(self) -> dict[str, str]:
        """Kafka's topic configuration."""
        out = {
            "cleanup.policy": self.cleanup,
            "max.message.bytes": str((self.max_message_mib << 20) + 65_536),
            # Kafka 4 refuses records more than an hour ahead of its clock: one sender's wrong clock must not stop it.
            "message.timestamp.after.max.ms": str((1 << 63) - 1),
        }
        if self.cleanup == "delete":
            out["retention.ms"] = str(self.retention_hours * HOUR_MS)
            out["retention.bytes"] = str(self.retention_gib << 30)
        else:
            out |= {
                "segment.ms": str(HOUR_MS),
                "segment.bytes": str(64 << 20),  # what is read to load a table: the newest segment is never compacted
                "min.cleanable.dirty.ratio": "0.2",
                "delete.retention.ms": str(24 * HOUR_MS),
            }
        return out


def dlq_name(topic: str) -> str:
    return topic + DLQ_SUFFIX


def state_topic(agent: str, like: Topic) -> Topic:
    """The changelog of agent `agent`'s keyed state: as many partitions as its input, partition by partition."""
    return Topic(
        name=f"state.{agent}",
        key="entry key",
        record=f"internal: keyed state of {agent}",
        schema="state",
        public=False,
        cleanup="compact",
        partitions=like.partitions,
        max_message_mib=8,
        dead_letters=False,
        producers=[agent],
        consumers=[agent],
    )


STATEFUL = {
    "evaluate-windows": "rules.matches",
    "keep-alert-state": "alerts",
    "group-notifications": "alerts.routes",
    "deliver-notifications": "notifications",
    "trigger-pipelines": "cicd.events",
    "evaluate-metrics": "platform.control",
}
"""Stateful agents and the topic their state is partitioned like."""


KUBE_WATCH = Topic(
    name="state.kube-watch",
    key="cluster/resource, or cluster/events/uid",
    record="internal: how far each watch is, and the last count of each Kubernetes event",
    schema="state",
    public=False,
    cleanup="compact",
    dead_letters=False,
    producers=["Kubernetes source"],
    consumers=["Kubernetes source"],
)


@cache
def declared() -> dict[str, Topic]:
    """The topics of `schemas/topics/`, by name."""
    out = {}
    for file in sorted(resources.files("schemas").joinpath("topics").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            topic = msgspec.convert(yaml.safe_load(file.read_text("utf-8")), Topic)
            out[topic.name] = topic
    return out


@cache
def catalogue() -> dict[str, Topic]:
    """Every topic there should be: the declared ones, their dead-letter topics, and the state topics."""
    out = dict(declared())
    for topic in declared().values():
        if topic.dead_letters:
            out[dlq_name(topic.name)] = Topic(
                name=dlq_name(topic.name),
                key="as original",
                record=f"dead letters of {topic.name}: the original bytes, the reason in headers",
                schema="bytes",
                public=False,
                partitions=1,
                retention_hours=720,
                retention_gib=2,
                max_message_mib=topic.max_message_mib,
                dead_letters=False,
                producers=["any agent"],
                consumers=["gateway"],
            )
    for agent, like in STATEFUL.items():
        topic = state_topic(agent, declared()[like])
        out[topic.name] = topic
    out[KUBE_WATCH.name] = KUBE_WATCH
    return out
