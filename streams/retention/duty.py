"""The one place where retention is applied: beside the agents that write the index.

The embedded index is written by one process, so only there anything is deleted; of several workers on Elasticsearch
each does it, which changes nothing.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import structlog

from schemas.base import digest
from schemas.platform import Gap
from streams.errors import Retryable
from streams.gaps import outgoing
from streams.metrics import GAPS, INDEX_LIMIT
from streams.retention.keeping import Keeper
from streams.retention.policy import Policy
from streams.settings import Settings
from streams.sinks.index.embedded.adapter import folder
from streams.sinks.index.port import Kind, Stored

if TYPE_CHECKING:
    from streams.worker import Worker

log = structlog.get_logger(__name__)

NAME = "retention"
SOURCE = "index"
FIRST_S = 5.0
"""After a start the index may still be opening."""
SIZE_S = 30.0
"""How often the size is looked at: a limit must hold before the disk is full."""
SHARE = 4
"""Without a limit of its own the embedded index takes a quarter of its disk."""
TOPICS = {
    Kind.LOGS: "logs",
    Kind.EVENTS: "kube.events",
    Kind.OBJECTS: "kube.objects",
    Kind.GAPS: "gaps",
    Kind.AUDIT: "platform.audit",
    Kind.NOTIFICATIONS: "notifications",
    Kind.OUTCOMES: "notifications.outcomes",
}


def keep(worker: Worker) -> None:
    """Apply retention for as long as `worker` runs; asking again changes nothing."""
    if NAME in worker.tasks:
        return
    policy = Policy(worker.settings.retention, worker.settings.index.tiers)
    keeper = Keeper(worker.index(), policy, worker.clock)
    duty = _Duty(worker, keeper, forever=policy.forever)
    worker.task(NAME, duty.run)


def limit_bytes(settings: Settings) -> int:
    """The embedded index's limit, 0 for an index elsewhere: its disk is its own."""
    if settings.index.url:
        return 0
    if settings.index.max_gib:
        return round(settings.index.max_gib * (1 << 30))
    place = folder(settings)
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).total // SHARE


def size_gap(part: Stored, cluster: str, now_ms: int) -> Gap:
    """That `part` was deleted for the limit of size; the same however often it is said."""
    return Gap(
        id=digest("index-size", part.name, str(part.documents)),
        source=SOURCE,
        cluster=cluster,
        topic=TOPICS[part.kind],
        from_ms=part.from_ms,
        to_ms=part.to_ms,
        reason=f"index size limit: {part.name} with {part.documents} documents was deleted",
        time_ms=now_ms,
    )


class _Duty:
    def __init__(self, worker: Worker, keeper: Keeper, *, forever: bool) -> None:
        self._worker = worker
        self._keeper = keeper
        self._forever = forever

    async def run(self) -> None:
        every_s = self._worker.settings.retention.every_s
        expire_at = 0.0
        await asyncio.sleep(min(FIRST_S, every_s))
        while True:
            try:
                await self._limit()
                now = asyncio.get_running_loop().time()
                if not self._forever and now >= expire_at:
                    await self._keeper.expire()
                    expire_at = now + every_s
            except Retryable as failure:
                log.warning("retention.retry", reason=failure.reason, detail=failure.detail)
            await asyncio.sleep(min(SIZE_S, every_s))

    async def _limit(self) -> None:
        """What the limit takes is said on `gaps` before it goes."""
        worker, limit = self._worker, limit_bytes(self._worker.settings)
        INDEX_LIMIT.set(limit)
        for part in await self._keeper.surplus(limit):
            gap = size_gap(part, worker.settings.cluster.name, worker.clock())
            await worker.producer.send([outgoing(gap)])
            GAPS.labels(SOURCE).inc()
            await self._keeper.remove(part)
