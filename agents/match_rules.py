"""`logs`, `kube.events`, `kube.objects`, `kube.audit`, `alerts`, `alerts.state`, `cicd.events`, `platform.audit`,
`gaps` -> `rules.matches`: which records match which rules, and how far in time they were looked at.

Key: hash(rule, group), so that all matches of a group meet in one partition. Guarantee: every record is looked at at
least once; windows drop what comes again. Progress goes to every partition, after the matches it speaks of.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import faust
import structlog
from confluent_kafka import KafkaException

from schemas.base import digest, encode
from schemas.headers import cloud_headers
from schemas.rules import Mark, Progress
from streams.batch import Batch
from streams.errors import Failure
from streams.metrics import RULE_MATCHES, RULE_RECORDS
from streams.owners import TOPIC as OBJECTS
from streams.owners import Owners, decode_owner
from streams.record import Outgoing
from streams.rules.guard import Guard
from streams.rules.held import Rules, rules_of
from streams.rules.inputs import INPUTS
from streams.rules.matcher import Matcher
from streams.rules.matching import TOPIC
from streams.rules.reading import Reading
from streams.topic_ids import TopicIds
from streams.topics import identity

if TYPE_CHECKING:
    from streams.source import BatchSource
    from streams.worker import Handle, Worker

log = structlog.get_logger(__name__)

NAME = "match-rules"
SLOW_S = 1.0
FAST_S = 0.2
LEAST_S = 0.1
"""How often progress is told: more often after matches, for windows wait for it; at least so long apart."""
FAST_FOR_MS = 3_000
AT_ONCE = 2_000
"""Records looked at before the event loop may do something else."""
COUNTS_MS = 30_000
"""How often the topics are asked how many partitions they have."""


def progress(marks: Sequence[Mark], counts: dict[str, int], partitions: int, worker: str) -> list[Outgoing]:
    """One progress record to each of the `partitions` of `rules.matches`."""
    value = encode(Progress(marks=list(marks), partitions=counts))
    at_ms = max((mark.at_ms for mark in marks), default=0)
    headers = cloud_headers(
        topic=TOPIC,
        id=digest(worker, str(at_ms)),
        type="io.eventsphere.rule.progress",
        source=f"eventsphere/{NAME}",
        time_ms=at_ms,
    )
    return [Outgoing(TOPIC, value, None, headers, partition=number) for number in range(partitions)]


class Teller:
    """Tells the windows how far the partitions held here are. If it fails, nothing is lost: the next time says more."""

    def __init__(self, worker: Worker, source: BatchSource) -> None:
        self.reading = Reading()
        self._worker = worker
        self._source = source
        self._ids = TopicIds(worker.settings.kafka)
        self._counts: dict[str, int] = {}
        self._counted_ms = 0
        self._fast_until_ms = 0
        self._now = asyncio.Event()

    def matched(self) -> None:
        """There were matches: windows wait for time to pass."""
        self._fast_until_ms = self._worker.clock() + FAST_FOR_MS

    def finished(self) -> None:
        """A batch was finished: if it had matches, say so at once."""
        if self._worker.clock() < self._fast_until_ms:
            self._now.set()

    async def run(self) -> None:
        while True:
            try:
                await self._tell()
            except (Failure, KafkaException) as error:
                log.warning("rules.progress_not_told", reason=str(error))
            await asyncio.sleep(LEAST_S)
            fast = self._worker.clock() < self._fast_until_ms
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), FAST_S if fast else SLOW_S)
            self._now.clear()

    async def _tell(self) -> None:
        held = self._source.assigned
        self.reading.keep(held)
        asked_ms = self._worker.clock()
        await self._count(asked_ms)
        ends = await asyncio.to_thread(self._ids.ends, sorted(held))
        marks = self.reading.marks(self._source.positions, ends, asked_ms)
        if marks:
            counts = {topic: self._counts[topic] for topic in self._source.topics}
            await self._worker.producer.send(progress(marks, counts, self._counts[TOPIC], self._worker.name))

    async def _count(self, now_ms: int) -> None:
        if self._counts and now_ms - self._counted_ms < COUNTS_MS:
            return
        for topic in (*self._source.topics, TOPIC):
            found = await asyncio.to_thread(identity, self._worker.settings.kafka, topic)
            if found is not None:
                self._counts[topic] = found.partitions
        self._counted_ms = now_ms


def matcher_of(worker: Worker, rules: Rules, owners: Owners, teller: Teller) -> Handle:
    """The `handle` of the agent: returns when the matches of a batch are in Kafka."""
    cluster = worker.settings.cluster.name or "local"

    guard = Guard(worker.settings.rules.budget, worker.name, cluster)

    async def say(alerts: list[Outgoing]) -> None:
        if alerts:
            await worker.producer.send(alerts)

    async def look(matcher: Matcher, batch: Batch, now_ms: int) -> None:
        for start in range(0, len(batch), AT_ONCE):
            part = batch.part(start, start + AT_ONCE)
            current = await guard.without(batch.topic, matcher)
            if current is None:
                return
            found, quarantined = guard.matches(current, part, owners, now_ms)
            await say(quarantined)
            RULE_RECORDS.labels("refused").inc(found.refused)
            RULE_RECORDS.labels("parsed").inc(found.parsed)
            if found.matches:
                await worker.producer.send(found.matches)
                RULE_MATCHES.labels(batch.topic).inc(len(found.matches))
                teller.matched()
            await asyncio.sleep(0)

    async def match(batch: Batch) -> None:
        await rules.wait()
        now_ms = worker.clock()
        await say(guard.back(rules.current.hashes, now_ms))
        if matcher := rules.current.matchers.get(batch.topic):
            await look(matcher, batch, now_ms)
        teller.reading.read(batch, now_ms)

    return match


def register(worker: Worker) -> None:
    source = worker.source(NAME, list(INPUTS))
    rules = rules_of(worker)
    owners = Owners(worker.view(OBJECTS, decode_owner))
    teller = Teller(worker, source)
    match = matcher_of(worker, rules, owners, teller)
    worker.task("rules-progress", teller.run)

    @worker.app.agent(source.channel, name=NAME)
    async def match_rules(batches: faust.StreamT[Batch]) -> None:
        async for batch in batches:
            await worker.deliver(source, batch, match)
            teller.finished()
