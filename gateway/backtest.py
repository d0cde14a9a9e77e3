"""Rules over what is on the topics now: which alerts they would have made since a time.

The records are read once, each partition from the first record of that time to its end; those that no rule matches are
not kept. Then a rehearsal (streams/rules/rehearsal.py) plays the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.batch import as_record
from streams.errors import Invalid, Retryable
from streams.kafka import client
from streams.record import Record
from streams.rules.cases import Episode, episodes_of
from streams.rules.matcher import Matcher
from streams.rules.rehearsal import rehearsed
from streams.rules.ruleset import RuleSet
from streams.settings import Kafka

MAX_MATCHES = 500_000
TIMEOUT_S = 20.0
BATCH = 10_000


class Result(NamedTuple):
    episodes: list[Episode]
    read: int
    """Records looked at."""
    matched: int


def backtest(
    kafka: Kafka, rules: RuleSet, since_ms: int, until_ms: int, progress: Callable[[int, int], None]
) -> Result:
    """`progress(read, of all)` is called now and then. Raises Retryable when Kafka does not answer, Invalid("matches")
    when more records match than can be kept."""
    read = 0
    kept: list[Record] = []
    for topic, matcher in rules.matchers.items():
        consumer = Consumer(client(kafka) | {
            "group.id": "eventsphere-backtest", "enable.auto.commit": False, "enable.partition.eof": True,
            "auto.offset.reset": "error", "queued.max.messages.kbytes": 32 << 10, "fetch.queue.backoff.ms": 5,
        })  # fmt: skip
        try:
            for count in _matching(consumer, topic, matcher, since_ms, kept, progress):
                read += count
        except KafkaException as error:
            raise Retryable("bus_away", str(error)) from error
        finally:
            consumer.close()
    kept.sort(key=lambda record: (record.timestamp_ms, record.topic, record.partition, record.offset))
    found = episodes_of(rehearsed(rules, kept, until_ms))
    ended = [each._replace(until_ms=0) if each.until_ms > until_ms else each for each in found]
    return Result([each for each in ended if each.from_ms <= until_ms], read, len(kept))


def _matching(
    consumer: Consumer,
    topic: str,
    matcher: Matcher,
    since_ms: int,
    kept: list[Record],
    progress: Callable[[int, int], None],
) -> Iterator[int]:
    """Puts what matches into `kept`; yields how many records were read each time."""
    starts, total = _span(consumer, topic, since_ms)
    if not starts:
        return
    consumer.assign(starts)
    left, done = {start.partition for start in starts}, 0
    while left:
        before = done
        messages: Any = consumer.consume(BATCH, TIMEOUT_S)
        if not messages:
            raise Retryable("bus_away", f"{topic} could not be read in time")
        for message in messages:
            if (error := message.error()) is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                left.discard(message.partition() or 0)
                continue
            done += 1
            if _matches(matcher, message.value()):
                kept.append(as_record(topic, message.partition() or 0, message))
                if len(kept) > MAX_MATCHES:
                    raise Invalid("matches", f"more than {MAX_MATCHES} records match: choose a shorter time")
        progress(done, max(total, done))
        yield done - before


def _span(consumer: Consumer, topic: str, since_ms: int) -> tuple[list[TopicPartition], int]:
    """Where each partition that has records since then begins, and how many there are."""
    known = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
    asked = [TopicPartition(topic, partition, since_ms) for partition in known]
    starts, total = [], 0
    for found in consumer.offsets_for_times(asked, timeout=TIMEOUT_S):
        if found.offset >= 0:
            _, end = consumer.get_watermark_offsets(found, timeout=TIMEOUT_S)
            starts.append(TopicPartition(topic, found.partition, found.offset))
            total += end - found.offset
    return starts, total


def _matches(matcher: Matcher, value: bytes | None) -> bool:
    return value is not None and matcher.one(value)
