"""Matches of rules (`rules.matches`), internal: they carry every match of a group to the one place its window lives."""

from __future__ import annotations

from schemas.alerts import NO_TENANT
from schemas.base import Event


class Match(Event, frozen=True, kw_only=True, tag_field="kind", tag="match"):
    """One record matched one rule. Key: hash(rule, group). Ordered by (time_ms, topic, partition, offset)."""

    rule: str
    rule_hash: str
    group: dict[str, str]
    topic: str
    partition: int
    offset: int
    topic_id: str = ""
    """Kafka's id of the topic: offsets of a recreated topic start again and are other records."""
    record: int = 0
    """A hash of the record's id, where it has one: told twice, at two offsets, it is still one record."""
    time_ms: int
    """Event time of the record, never beyond the clock of the matcher."""
    seen_ms: int = 0
    """When it was matched, by the clock: how long a late match waits for others that are late with it."""
    weight: int = 1
    """How many occurrences the record stands for (`count_delta` of Kubernetes events)."""
    value: float = 0.0
    """The number in the rule's `field`, or 100 where its `match` holds."""
    term: int = 0
    """A hash of the value of the rule's `field`."""
    steps: list[int] = []
    """Which of the rule's `steps` the record matches (its `unless` is the one after the last)."""
    labels: dict[str, str] = {}
    """Values of the record for templates: namespace, pod, container, ... and `message`."""
    tenant: str = NO_TENANT
    cluster: str = ""


class Mark(Event, frozen=True, kw_only=True):
    """How far one source partition is: its next record is expected to have event time `time_ms` or later.

    `at_ms`: when this was so, by the clock. All records before it in the partition have been matched, their matches are
    in `rules.matches` before this mark. Marks may go back in time: the partition then brings old records.
    """

    topic: str
    partition: int
    time_ms: int
    at_ms: int


class Progress(Event, frozen=True, kw_only=True, tag_field="kind", tag="progress"):
    """How far a matcher is, sent to every partition of `rules.matches`.

    `partitions`: how many each input topic has, so that time waits for those not heard of yet. An idle partition's mark
    passes with the clock, so that silence does not freeze time.
    """

    marks: list[Mark]
    partitions: dict[str, int]
