"""Matches of rules (`rules.matches`), internal: they carry every match of a group to the one place its window lives.
And the rules stored by the API (`rules.documents`), for everyone who evaluates them."""

from __future__ import annotations

from schemas.alerts import NO_TENANT
from schemas.base import Event
from schemas.rule_document import SHADOW


class Match(Event, frozen=True, kw_only=True, tag_field="kind", tag="match"):
    """One record matched one rule. Key: hash(rule, group). Ordered by (time_ms, topic, partition, offset)."""

    rule: str
    """Its key (`Rule.key`)."""
    rule_hash: str
    version: int = 0
    """Of the stored document the rule comes from: windows that know an older one wait for this one. 0: of a file."""
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


class RuleDocument(Event, frozen=True, kw_only=True):
    """A rule stored by the API, as it is now. Key: tenant/name. The database holds its history; a document that was
    deleted stays, so that its versions go on."""

    tenant: str
    name: str
    version: int
    """Grows by one with every change."""
    text: str = ""
    """The YAML as its author wrote it; empty: there is no live version."""
    draft: str = ""
    """Another version, evaluated in shadow mode beside the live one."""
    deleted: bool = False
    author: str = ""
    updated_ms: int = 0
    cluster: str = ""

    @property
    def key(self) -> str:
        return f"{self.tenant}/{self.name}"


def document_key(rule_key: str) -> str:
    """The key of the document that a rule comes from, if it comes from one."""
    named = rule_key.removesuffix(SHADOW)
    return named if "/" in named else f"{NO_TENANT}/{named}"
