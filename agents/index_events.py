"""kube.events, kube.objects, gaps, platform.audit, notifications, notifications.outcomes -> search index, by kind.

Key: none needed. Guarantee: every record is in the index once, under its own `id`, before its offset is committed;
tombstones of kube.objects are passed over, what is no JSON object is a dead letter. What is told of our own canary is
left out (dropped by `canary` in the ledger).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import faust

from streams.accounts import event_places
from streams.batch import Batch
from streams.canary import is_canary
from streams.quotas import limited
from streams.retention.duty import keep
from streams.sinks.index.port import Kind

if TYPE_CHECKING:
    from streams.worker import Worker

NAME = "index-events"
KINDS = {
    "kube.events": Kind.EVENTS,
    "kube.objects": Kind.OBJECTS,
    "gaps": Kind.GAPS,
    "platform.audit": Kind.AUDIT,
    "notifications": Kind.NOTIFICATIONS,
    "notifications.outcomes": Kind.OUTCOMES,
}
"""Where the records of a topic go."""
READERS = 8
"""Partitions written side by side: the index makes their batches durable together."""


class _Canary:
    """Notifications of our own canary, every minute: nobody looks for them."""

    def over(self, batch: Batch) -> dict[int, str]:
        if batch.topic not in ("notifications", "notifications.outcomes"):
            return {}
        return {at: "canary" for at, message in enumerate(batch.messages) if is_canary(message.value())}


def register(worker: Worker) -> None:
    index = worker.index()
    source = worker.source(NAME, list(KINDS), event_places)
    keep(worker)

    async def write(batch: Batch) -> None:
        await index.write(KINDS[batch.topic], batch)

    handle = limited(write, _Canary())

    @worker.app.agent(source.channel, name=NAME, concurrency=READERS)
    async def index_events(batches: faust.StreamT[Batch]) -> None:
        async for batch in batches:
            await worker.deliver(source, batch, handle)
