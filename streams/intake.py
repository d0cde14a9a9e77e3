"""What the sources of this process took, by topic and hour, told to `platform.accounts` every few seconds.

Unlike what agents commit this is not exact over a `kill -9`: what a source took since it last told is then counted as
written by others. The name of a process's pages holds its instance, so that a restart begins pages of its own.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import structlog

from schemas.accounts import AccountPage, Page
from streams.account import rows
from streams.accounts import Line, Sum, Tally, hour_of
from streams.book import outgoing
from streams.errors import Failure
from streams.producer import Producer

log = structlog.get_logger(__name__)

TELL_S = 10.0
ANSWER_S = 3.0
RECEIVED = "received"
"""The fate of records a source gave to a topic."""


class Intake:
    """Counts in memory; `pages` are what changed since they were last told."""

    def __init__(self, instance: str, clock: Callable[[], int]) -> None:
        self._instance = instance
        self._clock = clock
        self._began = clock()
        self._lines: dict[tuple[str, str, int], Tally] = {}
        self._dirty: set[tuple[str, str, int]] = set()

    def took(self, source: str, topic: str, records: int, nbytes: int) -> None:
        """Kafka acknowledged these records of `source`. Bytes are those of their values."""
        hour = hour_of(self._clock())
        line = Line(hour, "", "", "", RECEIVED, "")
        tally = self._lines.setdefault((source, topic, hour), {})
        tally[line] = tally.get(line, Sum()).plus(Sum(records, nbytes))
        self._dirty.add((source, topic, hour))

    def pages(self, cluster: str) -> list[AccountPage]:
        """What is to be told now; `told` when it was."""
        return [
            AccountPage(
                agent=source,
                topic=topic,
                topic_id=self._instance,
                partition=0,
                epoch=self._began,
                term=0,
                hour=hour,
                page=Page(upto=0, lines=rows(self._lines[source, topic, hour])),
                source=True,
                cluster=cluster,
            )
            for source, topic, hour in sorted(self._dirty)
        ]

    async def tell(self, producer: Producer, cluster: str) -> None:
        """Publish what changed. Raises Failure; it is told the next time then."""
        pages, dirty = self.pages(cluster), frozenset(self._dirty)
        self._dirty.clear()
        try:
            await producer.send(outgoing(pages, self._clock()))
        except BaseException:
            self._dirty |= dirty
            raise
        now = hour_of(self._clock())
        for key in [key for key in self._lines if key[2] < now and key not in self._dirty]:
            del self._lines[key]

    async def keep(self, producer: Producer, cluster: str) -> None:
        """Tell now and then, for ever, and once more when cancelled."""
        while True:
            try:
                await asyncio.sleep(TELL_S)
            except asyncio.CancelledError:
                await self._quietly(producer, cluster)
                raise
            await self._quietly(producer, cluster)

    async def _quietly(self, producer: Producer, cluster: str) -> None:
        try:
            await asyncio.wait_for(self.tell(producer, cluster), ANSWER_S)
        except (Failure, TimeoutError) as error:
            log.warning("intake.not_told", error=str(error))


def of_process(clock: Callable[[], int]) -> Intake:
    return Intake(uuid.uuid4().hex, clock)
