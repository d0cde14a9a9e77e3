"""kube.events, kube.objects, gaps, platform.audit, notifications, notifications.outcomes -> search index, by kind.

Key: none needed. Guarantee: every record is in the index once, under its own `id`, before its offset is committed;
tombstones of kube.objects are passed over, what is no JSON object is a dead letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import faust

from streams.accounts import event_places
from streams.batch import Batch
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


def register(worker: Worker) -> None:
    index = worker.index()
    source = worker.source(NAME, list(KINDS), event_places)
    keep(worker)

    async def write(batch: Batch) -> None:
        await index.write(KINDS[batch.topic], batch)

    @worker.app.agent(source.channel, name=NAME, concurrency=READERS)
    async def index_events(batches: faust.StreamT[Batch]) -> None:
        async for batch in batches:
            await worker.deliver(source, batch, write)
