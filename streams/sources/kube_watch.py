"""One resource of one cluster, followed for good: list, then watch, then resume from the last version.

History gone (410, as a status or in the stream) -> list again: what changed meanwhile is found by comparison with what
Kafka has, deletions too; what may be missing of Events is a record of `gaps`. The API away -> tried again, backing off.
Refused (401, 403) -> said with verb and resource, and tried again; the other resources go on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import orjson
import structlog

from schemas.base import digest
from schemas.platform import Gap
from streams import gaps
from streams.errors import Failure, Retryable
from streams.metrics import GAPS, RECEIVED, RETRIES, WATCHING
from streams.record import Outgoing
from streams.sources.durable import Durable, Letter
from streams.sources.kube_api import Api, Gone
from streams.sources.kube_records import EVENTS, OBJECTS, Raw, version_of
from streams.sources.kube_state import Checkpoint, Entry
from streams.sources.kube_trackers import Tracker

log = structlog.get_logger(__name__)

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
UNHEARD_MS = 5000
"""A list after so short a silence lost nothing: an Event lives for an hour, an idle watch ends every few minutes."""


class Backoff:
    """Doubling waits with jitter. `random_()` is in [0, 1)."""

    def __init__(self, random_: Callable[[], float] = random.random) -> None:
        self._random = random_
        self._next_s = FIRST_BACKOFF_S

    def reset(self) -> None:
        self._next_s = FIRST_BACKOFF_S

    def wait_s(self, at_least_s: float = 0.0) -> float:
        wait, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_BACKOFF_S)
        return max(at_least_s, wait * (0.5 + self._random() / 2))


class Problems:
    """What keeps watches from working, for people: told when it changes, shown while it lasts."""

    def __init__(self) -> None:
        self.current: dict[str, str] = {}

    def is_well(self, where: str) -> None:
        if self.current.pop(where, None):
            log.info("kubernetes watch works again", watch=where)

    def is_ill(self, where: str, problem: str) -> None:
        if self.current.get(where) != problem:
            self.current[where] = problem
            log.warning("kubernetes watch does not work", watch=where, problem=problem)


class Watch:
    def __init__(
        self,
        cluster: str,
        api: Api,
        tracker: Tracker,
        checkpoint: Checkpoint,
        durable: Durable,
        clock: Callable[[], int],
        problems: Problems,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cluster = cluster
        self._api = api
        self._tracker = tracker
        self._resource = tracker.resource
        self._checkpoint = checkpoint
        self._durable = durable
        self._clock = clock
        self._problems = problems
        self._sleep = sleep
        self._where = f"{cluster}/{tracker.resource.named}"
        self._gauge = WATCHING.labels(cluster, tracker.resource.named)

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff()
        stale = False
        while True:
            self._gauge.set(0)
            try:
                position = self._checkpoint.position(self._resource)
                version = await self._list(position) if position is None or stale else position.version
                stale = False
                await self._follow(version, backoff)
            except Gone as error:
                log.info("watch history is gone, listing again", watch=self._where, detail=error.detail)
                stale = True
                await self._sleep(backoff.wait_s())
            except Failure as error:
                await self._later(backoff, error)
            except Exception as error:
                log.exception("watch failed", watch=self._where)
                await self._later(backoff, Retryable("unknown", repr(error)[:200]))

    async def _later(self, backoff: Backoff, error: Failure) -> None:
        self._gauge.set(0)
        RETRIES.labels(self._durable.source, error.reason).inc()
        self._problems.is_ill(self._where, error.detail or error.reason)
        await self._sleep(backoff.wait_s(getattr(error, "after_s", 0.0)))

    async def _list(self, before: Entry | None) -> str:
        """Bring Kafka up to a list; returns the list's version."""
        version, seen = "", set()
        async with aclosing(self._api.pages(self._resource)) as pages:
            async for page in pages:
                version = version or page.version
                records = []
                for item in page.items:
                    seen.add(self._tracker.identity(item))
                    records += await self._apply("LISTED", item)
                await self._settle(records)
        records = list(self._tracker.absent(seen))
        if before is not None and self._tracker.history and self._clock() - before.at_ms > UNHEARD_MS:
            records.append(self._gap(before, version))
        await self._settle(records)
        self._checkpoint.moved(self._resource, version)
        await self._checkpoint.flush()
        return version

    async def _follow(self, version: str, backoff: Backoff) -> None:
        """Until the stream ends: then the version to go on from is the checkpoint's."""
        async with aclosing(self._api.watch(self._resource, version)) as batches:
            async for lines in batches:
                self._gauge.set(1)
                self._problems.is_well(self._where)
                backoff.reset()
                records = []
                for line in lines:
                    records += await self._apply(line.kind, line.object)
                    version = version_of(line.object) or version
                await self._settle(records)
                if lines:
                    self._checkpoint.moved(self._resource, version)
        self._checkpoint.moved(self._resource, version)

    async def _apply(self, kind: str, raw: Raw) -> list[Outgoing]:
        """Records of a list's item or a watch's line. What cannot be made sense of is dead-lettered and passed over."""
        try:
            if kind == "DELETED":
                return self._tracker.delete(raw)
            if kind == "BOOKMARK":
                return []
            return self._tracker.put(raw, replayed=kind == "LISTED")
        except Exception as error:
            topic = EVENTS if self._tracker.history else OBJECTS
            self._durable.refused("bad_object", watch=self._where, detail=repr(error)[:200])
            letter = Letter(orjson.dumps(raw), "bad_object", repr(error)[:200], self._where)
            await self._durable.dead_letter(topic, [letter])
            return []

    async def _settle(self, records: list[Outgoing]) -> None:
        """Return when Kafka has the records; only then may the checkpoint know."""
        counts = self._tracker.pending()
        if records:
            too_large = await self._durable.send(records)
            for index, why in too_large.items():
                record = records[index]
                self._durable.refused("too_large", watch=self._where, detail=why)
                letter = Letter(record.value or b"", "too_large", why, self._where, record.key)
                await self._durable.dead_letter(record.topic, [letter])
            RECEIVED.labels(self._durable.source).inc(len(records) - len(too_large))
        self._checkpoint.acked(counts)

    def _gap(self, before: Entry, version: str) -> Outgoing:
        GAPS.labels(self._durable.source).inc()
        source = f"kube/{self._where}"
        return gaps.outgoing(
            Gap(
                id=digest(source, before.version, version),
                source=source,
                cluster=self._cluster,
                topic=EVENTS,
                since=before.version,
                until=version,
                from_ms=before.at_ms,
                to_ms=self._clock(),
                reason="watch history compacted",
                time_ms=self._clock(),
            )
        )
