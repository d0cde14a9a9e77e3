"""The rebuild: records in, through the same processing documents as the pipeline's, then the swap."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from streams.archive.reading import Wanted, batches, names
from streams.archive.store import Store
from streams.batch import Batch
from streams.errors import Invalid
from streams.process.held import Documents
from streams.rebuild.staging import Outcome, Staging
from streams.rebuild.topic import TopicReader
from streams.sinks.index.port import Index, Kind

Progress = Callable[[int], None]
"""Told how many more records were read."""


class Feed:
    """Writes batches as the indexing agents do. What they would dead-letter is passed over: it is dead-lettered."""

    def __init__(self, kind: Kind, documents: Documents | None, progress: Progress) -> None:
        self._kind = kind
        self._documents = documents
        self._progress = progress

    async def write(self, index: Index, batch: Batch) -> None:
        """Raises Retryable."""
        left: Batch | None = batch
        processor = self._documents.processor if self._documents is not None else None
        if processor is not None:
            done = processor.run(batch)
            if done.bad:
                rest = batch.without(done.bad) if len(done.bad) < len(batch) else None
                left = processor.run(rest).batch if rest is not None else None
            else:
                left = done.batch
        while left is not None:
            try:
                await index.write(self._kind, left)
                break
            except Invalid as error:
                bad = set(error.indexes or range(len(left)))
                left = left.without(bad) if len(bad) < len(left) else None
        self._progress(len(batch))


async def from_topic(staging: Staging, reader: TopicReader, feed: Feed, kind: Kind, *, force: bool) -> list[Outcome]:
    """Build from all the topic has, swap, then write what came meanwhile to the index in use."""
    starts, ends = await reader.ends()
    async for batch in reader.batches(starts, ends):
        await feed.write(staging.index, batch)
    out = await staging.finish(kind, force=force)
    _, now = await reader.ends()
    async for batch in reader.batches(ends, now):
        await feed.write(staging.used, batch)
    return out


async def from_archive(staging: Staging, store: Store, feed: Feed, kind: Kind, *, force: bool) -> list[Outcome]:
    async for batch in _archived(store):
        await feed.write(staging.index, batch)
    return await staging.finish(kind, force=force)


async def _archived(store: Store) -> AsyncIterator[Batch]:
    for name in await names(store):
        async for batch in batches(store, name, Wanted()):
            yield batch
