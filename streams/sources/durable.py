"""What the sources share: records into Kafka for certain, and refused input into its dead-letter topic.

A source acknowledges only what `Durable.send` returned for. While Kafka is away it keeps trying, and whoever waits for
it stops reading: so senders wait too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

import structlog

from schemas.catalogue import DLQ_SUFFIX
from streams.bulk import BulkProducer
from streams.dead_letters import source_letter
from streams.errors import Invalid, Retryable
from streams.intake import Intake
from streams.metrics import DEAD_LETTERS, REFUSED, RETRIES
from streams.producer import Producer
from streams.record import Bulk, Outgoing

log = structlog.get_logger(__name__)

KEPT_BYTES = 1 << 20
"""How much of refused bytes their dead letter keeps: more than usual, as the sender was told they are taken."""
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 5.0
QUIET_S = 10.0
TOLD_S = 10.0
"""How long Kafka may take over some records before that is worth a warning."""

T = TypeVar("T")


class Letter(NamedTuple):
    """Something refused. `peer`: who sent it; `key`: that of the record it would have been."""

    raw: bytes
    reason: str
    detail: str
    peer: str = ""
    key: bytes | None = None


class Quiet:
    """Lets a message of one kind through once in `QUIET_S` and counts those between: bad input must not flood logs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, every_s: float = QUIET_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._last: dict[str, float] = {}
        self._skipped: dict[str, int] = {}

    def pass_(self, kind: str) -> int | None:
        """How many were held back before this one, None when this one is held back too."""
        now = self._clock()
        if now - self._last.get(kind, -self._every_s) < self._every_s:
            self._skipped[kind] = self._skipped.get(kind, 0) + 1
            return None
        self._last[kind] = now
        return self._skipped.pop(kind, 0)


class Durable:
    """The producer as one source uses it; `source` is its name in metrics, logs and dead letters."""

    def __init__(
        self, source: str, producer: Producer, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.source = source
        self.intake: Intake | None = None
        """Counts what was taken, for the ledger."""
        self._producer = producer
        self._sleep = sleep
        self._quiet = Quiet()

    async def send(self, records: Sequence[Outgoing]) -> dict[int, str]:
        """Return when Kafka acked them all, but those over their topic's limit: their indexes, and why."""

        async def attempt() -> dict[int, str]:
            try:
                await self._producer.send(records)
            except Invalid as error:
                return error.indexes or {}
            return {}

        refused = await self._until_taken(attempt)
        for topic in {record.topic for record in records} if self.intake is not None else ():
            sizes = [len(r.value or b"") for n, r in enumerate(records) if r.topic == topic and n not in refused]
            self._took(topic, len(sizes), sum(sizes))
        return refused

    def _took(self, topic: str, records: int, nbytes: int) -> None:
        if self.intake is not None and records and not topic.endswith(DLQ_SUFFIX):
            self.intake.took(self.source, topic, records, nbytes)

    async def _until_taken(self, attempt: Callable[[], Awaitable[T]]) -> T:
        backoff = FIRST_BACKOFF_S
        while True:
            try:
                return await attempt()
            except Retryable as error:
                RETRIES.labels(self.source, error.reason).inc()
                self.warn("bus_away", "kafka does not take records, senders wait", error=str(error))
                await self._sleep(backoff)
                backoff = min(2 * backoff, LONGEST_BACKOFF_S)

    async def dead_letter(self, topic: str, letters: Sequence[Letter]) -> None:
        """Return when `<topic>.dlq` has them."""
        if not letters:
            return
        await self.send([_outgoing(topic, letter) for letter in letters])
        for letter in letters:
            DEAD_LETTERS.labels(self.source, topic, letter.reason).inc()

    def refused(self, reason: str, *, count: int = 1, quiet: bool = False, **where: object) -> None:
        """Count refused input and, unless `quiet`, tell about it."""
        REFUSED.labels(self.source, reason).inc(count)
        if not quiet:
            self.warn(reason, "input refused", reason=reason, **where)

    def warn(self, kind: str, message: str, **where: object) -> None:
        """A warning, at most one of its kind every 10 s."""
        held_back = self._quiet.pass_(kind)
        if held_back is not None:
            more = {"held_back": held_back} if held_back else {}
            log.warning(message, source=self.source, **where, **more)


class BulkDurable(Durable):
    """The same for a source of many small records."""

    def __init__(
        self,
        source: str,
        producer: Producer,
        bulk: BulkProducer,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(source, producer, sleep)
        self._bulk = bulk

    async def send_bulks(self, bulks: Sequence[Bulk]) -> list[dict[int, str]]:
        """Return when Kafka acked them all; for each bulk the indexes of those it never takes, and why."""

        async def attempt() -> list[dict[int, str]]:
            return await self._bulk.send(bulks)

        sending = asyncio.create_task(self._until_taken(attempt))
        try:
            while not (await asyncio.wait({sending}, timeout=TOLD_S))[0]:
                self.warn("bus_away", "kafka does not take records, senders wait")
            refused = sending.result()
            for bulk, bad in zip(bulks, refused, strict=True):
                lost = sum(len(bulk.values[index]) for index in bad)
                self._took(bulk.topic, len(bulk.values) - len(bad), sum(map(len, bulk.values)) - lost)
            return refused
        finally:
            sending.cancel()


def _outgoing(topic: str, letter: Letter) -> Outgoing:
    sent = source_letter(
        topic, letter.raw, peer=letter.peer, reason=letter.reason, detail=letter.detail, now_ms=0, limit=KEPT_BYTES
    )
    return sent._replace(key=letter.key)
