"""A search index that shows nothing expired: the one place where retention meets what is searched.

`counts` stays what the index holds: the ledger compares it with what was written.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from streams.batch import Batch
from streams.retention.policy import Policy
from streams.sinks.index import fields
from streams.sinks.index.language import Node, all_of
from streams.sinks.index.port import Hit, Index, Kind, Page, Query, Stored, Top


class KeptIndex:
    """`within`, seen through `policy`. `clock` gives ms since the epoch."""

    def __init__(self, within: Index, policy: Policy, clock: Callable[[], int]) -> None:
        self.within = within
        self._policy = policy
        self._clock = clock

    async def open(self) -> None:
        await self.within.open()

    async def close(self) -> None:
        await self.within.close()

    async def write(self, kind: Kind, batch: Batch) -> None:
        await self.within.write(kind, batch)

    async def search(self, query: Query) -> Page:
        return await self.within.search(self._kept(query))

    async def histogram(self, query: Query, step_ms: int) -> dict[int, int]:
        return await self.within.histogram(self._kept(query), step_ms)

    async def top(self, query: Query, field: str, limit: int) -> Top:
        return await self.within.top(self._kept(query), field, limit)

    async def containers(self, query: Query) -> int:
        return await self.within.containers(self._kept(query))

    async def get(self, kind: Kind, id: str) -> Hit | None:  # noqa: A002
        hit = await self.within.get(kind, id)
        if hit is None:
            return None
        drawn = fields.draw(kind, hit.record)
        gone = self._policy.expired(kind, drawn.cluster, drawn.namespace, hit.time_ms, self._clock())
        return None if gone else hit

    async def counts(self, kind: Kind, by: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
        return await self.within.counts(kind, by)

    async def ping(self) -> None:
        await self.within.ping()

    async def stored(self) -> list[Stored]:
        return await self.within.stored()

    async def places(self, stored: Stored) -> set[tuple[str, str]] | None:
        return await self.within.places(stored)

    async def remove(self, stored: Stored) -> None:
        await self.within.remove(stored)

    async def remove_part(self, stored: Stored, matching: Node) -> int:
        return await self.within.remove_part(stored, matching)

    def _kept(self, query: Query) -> Query:
        shown = self._policy.shown(query.kind, self._clock(), query.start_ms)
        return msgspec.structs.replace(query, where=all_of(query.where, shown)) if shown is not None else query
