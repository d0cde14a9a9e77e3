"""The error policy around an agent's `handle(batch)`: what each kind of failure does to the batch.

- `Invalid` -> the records named (or, when none is, those found by splitting) are dead-lettered, the rest is handled.
- `Retryable` -> the same batch again, later, without end; never split, never dead-lettered.
- `Fatal` -> the process ends.
- anything else -> 5 times more, then split; a record that fails alone is dead-lettered, up to a limit a minute.

A batch is finished only when every record of it was handled or its dead letter is in Kafka.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Protocol

import structlog

from streams.batch import Batch, as_record
from streams.census import Census, Count
from streams.dead_letters import DeadLetterLimit, cut, letter
from streams.errors import Fatal, Invalid, Retryable
from streams.metrics import DEAD_LETTERS, HANDLE_SECONDS, RETRIES
from streams.record import Outgoing
from streams.settings import Settings
from streams.watchdog import Watchdog

log = structlog.get_logger(__name__)

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 30.0
UNKNOWN_RETRIES = 5

Handle = Callable[[Batch], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]


class Source(Protocol):
    """What is asked of a batch source."""

    @property
    def name(self) -> str: ...
    @property
    def dead_letter_limit(self) -> DeadLetterLimit: ...


class Sender(Protocol):
    async def send(self, records: Sequence[Outgoing]) -> None: ...


class Forgotten(Exception):
    """The batch's partition went elsewhere while it was worked on: whatever is left of it is not ours to do."""


def delay_s(attempt: int, rng: Random, after_s: float = 0.0) -> float:
    """Seconds to wait before attempt `attempt` + 1 (from 1): doubling, with jitter of a half, at most 30 s."""
    wait: float = FIRST_DELAY_S * 2.0 ** min(attempt - 1, 16)
    return min(MAX_DELAY_S, max(wait * (0.5 + rng.random()), after_s))


async def deliver(
    source: Source,
    batch: Batch,
    handle: Handle,
    *,
    settings: Settings,
    producer: Sender,
    watchdog: Watchdog,
    sleep: Sleep,
    rng: Random,
    census: Census | None = None,
) -> None:
    """Work on `batch` until it is finished, or no longer wanted. `sleep` and `rng` are those of its back-offs; with a
    `census` the batch ends with an `outcome`.

    Cancelled, or on Fatal (raised: the worker is to stop): the batch is given back and comes again.
    """
    if not batch.claim():
        return
    count = census.begin() if census is not None else None
    attempts = _Attempts(source, batch, handle, settings, producer, watchdog, sleep, rng, count)
    try:
        await attempts.run(batch, UNKNOWN_RETRIES)
    except Forgotten:
        log.info("delivery.forgotten", source=source.name, batch=repr(batch))
    except BaseException:
        batch.release()
        raise
    else:
        batch.outcome = count.outcome() if count is not None else None
        batch.finish()


class _Attempts:
    """Everything that is tried for one claimed batch."""

    def __init__(
        self,
        source: Source,
        whole: Batch,
        handle: Handle,
        settings: Settings,
        producer: Sender,
        watchdog: Watchdog,
        sleep: Sleep,
        rng: Random,
        count: Count | None,
    ) -> None:
        self._count = count
        self._name = source.name
        self._limit = source.dead_letter_limit
        self._letters_a_minute = settings.worker.dead_letter_limit
        self._whole = whole
        self._handle = handle
        self._producer = producer
        self._watchdog = watchdog
        self._sleep = sleep
        self._rng = rng

    async def run(self, part: Batch, unknown_retries: int) -> None:
        """Return when each record of `part` was handled or is a dead letter in Kafka."""
        attempt = unknown = 0
        while True:
            attempt += 1
            try:
                await self._try(part)
                return
            except Retryable as failure:
                await self._back_off(attempt, failure.reason, failure.detail, failure.after_s)
            except (Fatal, Forgotten):
                raise
            except Invalid as failure:
                left = await self._invalid(part, failure, attempt)
                if left is None:
                    return
                part, attempt, unknown, unknown_retries = left, 0, 0, UNKNOWN_RETRIES
            except Exception as error:
                unknown += 1
                # The traceback once: a batch of thousands may fail record by record.
                trace = error if part is self._whole and unknown == 1 else None
                log.warning("delivery.failed", source=self._name, batch=repr(part), error=repr(error), exc_info=trace)
                if unknown > unknown_retries:
                    await self._unknown(part, error, attempt)
                    return
                if unknown_retries == UNKNOWN_RETRIES:
                    await self._back_off(unknown, type(error).__name__, "", 0.0)

    async def _try(self, part: Batch) -> None:
        if not self._whole.wanted:
            raise Forgotten
        self._watchdog.tried(self._name)
        try:
            with HANDLE_SECONDS.labels(self._name).time():
                part.report = None
                await self._handle(part)
        finally:
            self._watchdog.tried(self._name)
        if self._count is not None:
            self._count.handled(part)

    async def _back_off(self, attempt: int, reason: str, detail: str, after_s: float) -> None:
        wait = delay_s(attempt, self._rng, after_s)
        log.warning("delivery.retry", source=self._name, reason=reason, detail=detail, attempt=attempt, wait_s=wait)
        RETRIES.labels(self._name, reason).inc()
        self._watchdog.backing_off(self._name, wait)
        await self._sleep(wait)

    async def _invalid(self, part: Batch, failure: Invalid, attempt: int) -> Batch | None:
        """Dead-letter the bad records; returns what is left to be handled."""
        bad = {index: text for index, text in (failure.indexes or {}).items() if 0 <= index < len(part)}
        if not bad and len(part) == 1:
            bad = {0: failure.detail}
        if not bad:
            await self._split(part)
            return None
        await self._bury(part, {i: text or failure.detail for i, text in bad.items()}, failure.reason, attempt)
        return part.without(bad) if len(bad) < len(part) else None

    async def _unknown(self, part: Batch, error: Exception, attempt: int) -> None:
        if len(part) > 1:
            await self._split(part)
            return
        self._limit.count(self._letters_a_minute)
        await self._bury(part, {0: str(error)}, type(error).__name__, attempt)

    async def _split(self, part: Batch) -> None:
        """Halves are not retried patiently: the whole was, and what fails by itself is to be found soon."""
        middle = len(part) // 2
        for half in (part.part(0, middle), part.part(middle, len(part))):
            await self.run(half, 1 if len(half) == 1 else 0)

    async def _bury(self, part: Batch, bad: dict[int, str], reason: str, attempt: int) -> None:
        """Dead-letter the records at `bad`'s positions; returns when Kafka has them."""
        letters = [
            letter(
                as_record(part.topic, part.partition, part.messages[index]),
                agent=self._name,
                reason=reason,
                detail=detail,
                attempt=attempt,
            )
            for index, detail in sorted(bad.items())
        ]
        await self._send(letters)
        DEAD_LETTERS.labels(self._name, part.topic, reason).inc(len(letters))
        if self._count is not None:
            self._count.buried(part, bad, reason)
        log.error("delivery.dead_letters", source=self._name, topic=part.topic, reason=reason, count=len(letters))

    async def _send(self, letters: list[Outgoing]) -> None:
        attempt = 0
        shortened: set[int] = set()
        while True:
            attempt += 1
            self._watchdog.tried(self._name)
            try:
                await self._producer.send(letters)
                return
            except Retryable as failure:
                await self._back_off(attempt, failure.reason, failure.detail, failure.after_s)
            except Invalid as failure:
                # Its headers took the letter over the topic's limit: cut it, once.
                over = set(failure.indexes or range(len(letters)))
                if over & shortened:
                    raise Fatal("dead_letter_refused", failure.detail) from failure
                shortened |= over
                letters = [cut(each) if i in over else each for i, each in enumerate(letters)]
