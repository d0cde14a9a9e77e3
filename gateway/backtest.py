"""Rules over what is on the topics now: which alerts they would have made since a time.

The records are read once, each partition from the first record of that time to its end; those that no rule matches are
not kept. Then a rehearsal (streams/rules/rehearsal.py) plays the rest. Bounded where somebody waits for the answer:
then the newest records are looked at, and the result says from when on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
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


class Bounds(NamedTuple):
    """`records`: how many of the newest are looked at (0: all); `seconds`: when reading ends (0: when all is read)."""

    records: int = 0
    seconds: float = 0.0
    matches: int = MAX_MATCHES


class Result(NamedTuple):
    episodes: list[Episode]
    read: int
    """Records looked at."""
    matched: int
    records: list[Record] = []
    """Those that matched, oldest first."""
    from_ms: int = 0
    """Everything since then was looked at."""
    until_ms: int = 0
    """And until then: earlier than asked where reading took too long."""


class _Reading:
    """What was read so far."""

    def __init__(self, bounds: Bounds, since_ms: int, until_ms: int) -> None:
        self.kept: list[Record] = []
        self.read = 0
        self.from_ms = since_ms
        self.until_ms = until_ms
        self._bounds = bounds
        self._ends = time.monotonic() + bounds.seconds if bounds.seconds else float("inf")

    @property
    def over(self) -> bool:
        return time.monotonic() > self._ends

    def keep(self, record: Record) -> None:
        self.kept.append(record)
        if len(self.kept) > self._bounds.matches:
            raise Invalid("matches", f"more than {self._bounds.matches} records match: choose a shorter time")

    def share(self, size: int, total: int) -> int:
        """How many of the `size` newest records of a partition are read, of `total` in all."""
        wanted = self._bounds.records
        return size if not wanted or total <= wanted else max(1, wanted * size // total)


def backtest(
    kafka: Kafka,
    rules: RuleSet,
    since_ms: int,
    until_ms: int,
    progress: Callable[[int, int], None] = lambda _read, _all: None,
    bounds: Bounds = Bounds(),  # noqa: B008 - it is immutable
) -> Result:
    """`progress(read, of all)` is called now and then. Raises Retryable when Kafka does not answer, Invalid("matches")
    when more records match than can be kept."""
    reading = _Reading(bounds, since_ms, until_ms)
    for topic, matcher in rules.matchers.items():
        consumer = Consumer(client(kafka) | {
            "group.id": "eventsphere-backtest", "enable.auto.commit": False, "enable.partition.eof": True,
            "auto.offset.reset": "error", "queued.max.messages.kbytes": 32 << 10, "fetch.queue.backoff.ms": 5,
        })  # fmt: skip
        try:
            _read(consumer, topic, matcher, since_ms, reading, progress)
        except KafkaException as error:
            raise Retryable("bus_away", str(error)) from error
        finally:
            consumer.close()
    from_ms, until_ms = min(reading.from_ms, until_ms), reading.until_ms
    kept = [record for record in reading.kept if record.timestamp_ms <= until_ms]
    kept.sort(key=lambda record: (record.timestamp_ms, record.topic, record.partition, record.offset))
    found = episodes_of(rehearsed(rules, kept, until_ms))
    ended = [each._replace(until_ms=0) if each.until_ms > until_ms else each for each in found]
    episodes = [each for each in ended if each.from_ms <= until_ms]
    return Result(episodes, reading.read, len(kept), kept, from_ms, until_ms)


def _read(
    consumer: Consumer,
    topic: str,
    matcher: Matcher,
    since_ms: int,
    reading: _Reading,
    progress: Callable[[int, int], None],
) -> None:
    """Read what there is of a topic, and keep what matches."""
    spans = _spans(consumer, topic, since_ms)
    total = sum(end - start for start, end in spans.values())
    starts = {number: end - reading.share(end - start, total) for number, (start, end) in spans.items()}
    if not starts:
        return
    consumer.assign([TopicPartition(topic, number, start) for number, start in starts.items()])
    wanted = sum(end - starts[number] for number, (_, end) in spans.items())
    cut = {number for number, (start, _) in spans.items() if starts[number] > start}
    newest = dict.fromkeys(spans, since_ms)
    left, done = set(spans), 0
    while left and not reading.over:
        messages, ended = _messages(consumer, topic)
        left -= ended
        done += len(messages)
        for message in messages:
            number, time_ms = message.partition() or 0, message.timestamp()[1]
            newest[number] = max(newest[number], time_ms)
            if number in cut:
                cut.discard(number)
                reading.from_ms = max(reading.from_ms, time_ms)
        for hit in matcher.look([message.value() for message in messages]).hits:
            message = messages[hit.position]
            reading.keep(as_record(topic, message.partition() or 0, message))
        progress(done, max(wanted, done))
    reading.read += done
    if left:
        reading.until_ms = min([reading.until_ms, *(newest[number] for number in left)])


def _messages(consumer: Consumer, topic: str) -> tuple[list[Any], set[int]]:
    """Records, and which partitions ended. Raises Retryable when there is neither."""
    first = consumer.poll(TIMEOUT_S)  # `consume` would wait for a whole batch
    if first is None:
        raise Retryable("bus_away", f"{topic} could not be read in time")
    found: Any = [first, *consumer.consume(BATCH, 0)]
    messages, ended = [], set()
    for message in found:
        if (error := message.error()) is None:
            messages.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition() or 0)
        else:
            raise KafkaException(error)
    return messages, ended


def _spans(consumer: Consumer, topic: str, since_ms: int) -> dict[int, tuple[int, int]]:
    """Where each partition that has records since then begins and ends."""
    known = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
    asked = [TopicPartition(topic, partition, since_ms) for partition in known]
    out = {}
    for found in consumer.offsets_for_times(asked, timeout=TIMEOUT_S):
        if found.offset >= 0:
            _, end = consumer.get_watermark_offsets(found, timeout=TIMEOUT_S)
            if found.offset < end:
                out[found.partition] = found.offset, end
    return out
