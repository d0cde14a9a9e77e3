"""What the sources share: records into Kafka for certain, and refused input into its dead-letter topic.

A source acknowledges only what `Durable.send` returned for. While Kafka is away it keeps trying, and whoever waits for
it stops reading: so senders wait too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog

from streams.dead_letters import source_letter
from streams.errors import Invalid, Retryable
from streams.metrics import DEAD_LETTERS, REFUSED, RETRIES
from streams.producer import Producer
from streams.record import Outgoing

log = structlog.get_logger(__name__)

KEPT_BYTES = 1 << 20
"""How much of refused bytes their dead letter keeps: more than usual, as the sender was told they are taken."""
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 5.0
QUIET_S = 10.0


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
        self._producer = producer
        self._sleep = sleep
        self._quiet = Quiet()

    async def send(self, records: Sequence[Outgoing]) -> dict[int, str]:
        """Return when Kafka acked them all, but those over their topic's limit: their indexes, and why."""
        backoff = FIRST_BACKOFF_S
        while True:
            try:
                await self._producer.send(records)
            except Invalid as error:
                return error.indexes or {}
            except Retryable as error:
                RETRIES.labels(self.source, error.reason).inc()
                self.warn("bus_away", "kafka does not take records, senders wait", error=str(error))
                await self._sleep(backoff)
                backoff = min(2 * backoff, LONGEST_BACKOFF_S)
            else:
                return {}

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


def _outgoing(topic: str, letter: Letter) -> Outgoing:
    sent = source_letter(
        topic, letter.raw, peer=letter.peer, reason=letter.reason, detail=letter.detail, now_ms=0, limit=KEPT_BYTES
    )
    return sent._replace(key=letter.key)
