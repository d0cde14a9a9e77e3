"""Matches of rules (`rules.matches`), internal: they carry every match of a group to the one place its window lives."""

from __future__ import annotations

from schemas.alerts import NO_TENANT
from schemas.base import Event


class Match(Event, kw_only=True, tag_field="kind", tag="match"):
    """One record matched one rule. Key: hash(rule, group). Ordered by (time_ms, topic, partition, offset)."""

    rule: str
    rule_hash: str
    group: dict[str, str]
    topic: str
    partition: int
    offset: int
    time_ms: int
    weight: int = 1
    """How many occurrences the record stands for (`count_delta` of Kubernetes events)."""
    labels: dict[str, str] = {}
    """Values of the record for templates: namespace, pod, container, ... and `message`."""
    tenant: str = NO_TENANT
    cluster: str = ""


class Progress(Event, kw_only=True, tag_field="kind", tag="progress"):
    """How far the matcher is in one source partition: sent to every partition of `rules.matches`.

    No record of (topic, partition) with an event time before `time_ms` - lateness will come any more;
    `idle` says the partition was read to its end, so that time there passes by the clock.
    """

    topic: str
    partition: int
    offset: int
    time_ms: int
    idle: bool = False
