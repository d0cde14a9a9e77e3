"""Archived records back into a search index, under the ids they had."""

from __future__ import annotations

from collections.abc import Callable

from streams.archive.reading import Wanted, batches, manifests
from streams.archive.store import Store
from streams.errors import Invalid
from streams.sinks.index.port import Index, Kind


async def restore(
    store: Store, index: Index, wanted: Wanted, progress: Callable[[int], None]
) -> tuple[int, dict[str, str]]:
    """Returns how many records were written, and what is wrong with objects not wholly restored.

    Records that are no JSON objects are passed over: the index never had them. Raises Retryable.
    """
    count, bad = 0, {}
    async for name, _ in manifests(store, wanted):
        try:
            async for batch in batches(store, name, wanted):
                refused = 0
                try:
                    await index.write(Kind.LOGS, batch)
                except Invalid as error:
                    refused = len(error.indexes or batch.messages)
                count += len(batch) - refused
                progress(len(batch))
        except Invalid as error:
            bad[str(name)] = error.detail
    return count, bad
