"""What the sources share: records into Kafka for certain, and refused input into its dead-letter topic.

A source acknowledges only what `Durable.send` returned for. While Kafka is away it keeps trying, and whoever waits for
it stops reading: so senders wait too.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog

from schemas.catalogue import dlq_name
from streams.errors import Invalid, Retryable
from streams.metrics import DEAD_LETTERS, REFUSED, RETRIES
from streams.producer import Producer
from streams.record import Headers, Outgoing

log = structlog.get_logger(__name__)

KEPT_BYTES = 1 << 20
"""How much of refused bytes its dead letter keeps; the SHA-256 is of all of them."""
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 5.0
QUIET_S = 10.0


class Letter(NamedTuple):
    """Something refused. `peer`: who sent it; `tag`: what it calls itself."""

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
        await self.send([_outgoing(topic, self.source, letter) for letter in letters])
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


def _outgoing(topic: str, source: str, letter: Letter) -> Outgoing:
    """Headers as Kafka Connect names them, so that its tools read our dead letters."""
    headers: Headers = [
        ("__connect.errors.topic", topic.encode()),
        ("__connect.errors.stage", b"source"),
        ("__connect.errors.exception.class.name", letter.reason.encode()),
        ("__connect.errors.exception.message", letter.detail.encode("utf-8", "replace")[:1024]),
        ("eventsphere.source", source.encode()),
        ("eventsphere.peer", letter.peer.encode()),
        ("eventsphere.bytes", str(len(letter.raw)).encode()),
        ("eventsphere.sha256", hashlib.sha256(letter.raw).hexdigest().encode()),
    ]
    return Outgoing(dlq_name(topic), letter.raw[:KEPT_BYTES], letter.key, headers)
