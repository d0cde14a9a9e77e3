"""A batch of records -> matches of rules: bytes first, then the parsed record, then the conditions. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

from schemas.base import digest, encode
from schemas.headers import cloud_headers
from schemas.rules import Match
from streams.batch import Batch, Message
from streams.record import Outgoing
from streams.rules.matcher import Matcher
from streams.rules.subject import Owned

TOPIC = "rules.matches"


class Found(NamedTuple):
    """`matches` to send; how many records were `refused` by their bytes, `parsed`, and were no JSON object."""

    matches: list[Outgoing]
    refused: int
    parsed: int
    malformed: int
    groups: list[tuple[int, str]]
    """Of each match: the number of its rule, and its window."""
    errors: Counter[int]
    """Of rules, by number: records their conditions could not be evaluated for."""


def window_id(rule: str, group: dict[str, str]) -> str:
    """Where a rule's matches of one group meet: hash(rule, group)."""
    return digest(rule, *(part for pair in sorted(group.items()) for part in pair))


def matches(matcher: Matcher, batch: Batch, *, cluster: str, owned: Owned, now_ms: int) -> Found:
    """`cluster`: of records that do not name theirs. Records without a time, or from the future, are of `now_ms`."""
    out: list[Outgoing] = []
    groups: list[tuple[int, str]] = []
    messages = batch.messages
    looked = matcher.look([message.value() for message in messages])
    for position, record, true in looked.hits:
        for number, match in _matched(matcher, true, record, messages[position], batch, cluster, owned, now_ms):
            out.append(match)
            groups.append((number, (match.key or b"").decode()))
    errors = Counter[int]()
    for condition, count in looked.errors.items():
        errors[matcher.parts[condition][0]] += count
    return Found(out, looked.refused, looked.parsed, looked.malformed, groups, errors)


def _matched(
    matcher: Matcher,
    hits: list[int],
    record: dict[str, Any],
    message: Message,
    batch: Batch,
    cluster: str,
    owned: Owned,
    now_ms: int,
) -> Iterator[tuple[int, Outgoing]]:
    source = matcher.source
    subject = source.subject(record, cluster, owned)
    labels = {name: value for name, value in subject.items() if value} | {"message": source.message(record)}
    time_ms = source.time_ms(record, message.timestamp()[1])
    if not 0 < time_ms < now_ms:
        time_ms = now_ms
    steps: dict[int, list[int]] = {}
    for hit in hits:
        number, step = matcher.parts[hit]
        steps.setdefault(number, []).append(step)
    for number, mine in steps.items():
        rule, group = matcher.rules[number], matcher.groupings[number].of(subject, record)
        carried = matcher.readers[number](record, mine)
        if group is None or carried is None:
            continue
        match = Match(
            rule=rule.key,
            rule_hash=matcher.hashes[number],
            version=rule.version,
            group=group,
            topic=batch.topic,
            partition=batch.partition,
            offset=message.offset(),
            topic_id=batch.topic_id,
            record=id_hash(source.id(record, message.key())),
            time_ms=time_ms,
            seen_ms=now_ms,
            weight=source.weight(record),
            value=carried.value,
            term=id_hash(carried.term),
            steps=mine if rule.steps else [],
            labels=labels | {"value": carried.term} if carried.term else labels,
            tenant=rule.tenant,
            cluster=subject["cluster"],
        )
        yield number, outgoing(match)


def id_hash(id_: object) -> int:
    """48 bits, which JSON numbers carry exactly; 0 for no id."""
    if not isinstance(id_, (str, bytes)) or not id_:
        return 0
    raw = id_.encode() if isinstance(id_, str) else id_
    return int.from_bytes(blake2b(raw, digest_size=6).digest())


def outgoing(match: Match) -> Outgoing:
    key = window_id(match.rule, match.group)
    id_ = digest(match.rule_hash, match.topic, match.topic_id, str(match.partition), str(match.offset))
    headers = cloud_headers(
        topic=TOPIC,
        id=id_,
        type="io.eventsphere.rule.match",
        source="eventsphere/match-rules",
        time_ms=match.time_ms,
        subject=match.rule,
    )
    return Outgoing(TOPIC, encode(match), key.encode(), headers)
