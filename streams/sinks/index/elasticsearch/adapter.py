"""The Elasticsearch adapter of the search index port.

Its user needs the cluster privilege `manage_index_templates` and, on `<prefix>-*`, `create_index`, `create_doc` and
`read`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from streams.batch import Batch
from streams.errors import Fatal, Invalid, Retryable
from streams.settings import Index as Settings
from streams.sinks.index.elasticsearch import bulk, reply, search
from streams.sinks.index.elasticsearch.client import Client
from streams.sinks.index.elasticsearch.templates import template
from streams.sinks.index.language_parser import counted_field
from streams.sinks.index.port import Hit, Kind, Page, Query, Top

MAX_REQUEST_BYTES = 2 << 20
IN_FLIGHT = 4
"""Bulk requests under way at once, over all batches."""
ATTEMPTS = 6
FIRST_PAUSE_S = 0.2
"""Single items answered "later" are sent again after 0.2, 0.4, 0.8 ... s before the whole batch is."""


class Sent(NamedTuple):
    """What was not stored: positions rendering (or size) rules out, and those whose document the server refused."""

    bad: dict[int, str]
    refused: dict[int, str]


class ElasticsearchIndex:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._prefix = settings.prefix
        self._client: Client | None = None
        self._ready = False
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def open(self) -> None:
        """Put our index templates. Raises Retryable when it is away, Fatal for settings that cannot work."""
        if self._prefix != self._prefix.lower() or self._prefix[:1] in "_-+.":
            raise Fatal("index_settings", "index.prefix must be lower case and begin with a letter or digit")
        async with self._opening:
            if self._ready:
                return
            await asyncio.gather(*(self._put_template(kind) for kind in Kind))
            self._ready = True

    async def _put_template(self, kind: Kind) -> None:
        name = f"{self._prefix}-{kind.value}"
        await self._http.request("PUT", f"/_index_template/{name}", template(self._prefix, kind))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None
            self._ready = False

    @property
    def _http(self) -> Client:
        if self._client is None:
            self._client = Client(self._settings)
        return self._client

    async def ping(self) -> None:
        query = {"size": 0, "track_total_hits": False, "terminate_after": 1}
        await self._search(Kind.LOGS, query)

    async def write(self, kind: Kind, batch: Batch) -> None:
        if not self._ready:
            await self.open()
        size = batch.nbytes or sum(len(message.value() or b"") for message in batch.messages)
        step = max(1, len(batch) * MAX_REQUEST_BYTES // max(size, 1))
        parts = [range(start, min(start + step, len(batch))) for start in range(0, len(batch), step)]
        bad = await self._store_all(kind, batch, parts)
        if bad:
            raise Invalid("refused", next(iter(bad.values())), bad)

    async def _store_all(self, kind: Kind, batch: Batch, parts: Sequence[range]) -> dict[int, str]:
        """Several parts at once; the first that fails ends the others, since all of them will be sent again."""
        tasks = [asyncio.create_task(self._store(kind, batch, part)) for part in parts]
        try:
            results = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return {position: why for result in results for position, why in result.items()}

    async def search(self, query: Query) -> Page:
        return search.page(query, await self._search(query.kind, search.body(query)))

    async def histogram(self, query: Query, step_ms: int) -> dict[int, int]:
        answer = await self._search(query.kind, search.histogram(query, step_ms))
        found = answer.get("aggregations", {}).get("time", {}).get("buckets", ())
        return {bucket["key"]: bucket["doc_count"] for bucket in found}

    async def top(self, query: Query, field: str, limit: int) -> Top:
        request = search.top(query, counted_field(field), limit)
        return search.top_of(await self._search(query.kind, request), limit)

    async def containers(self, query: Query) -> int:
        count, after = 0, None
        while True:
            answer = await self._search(query.kind, search.containers(query, after))
            found = answer.get("aggregations", {}).get("by", {})
            named = [bucket for bucket in found.get("buckets", ()) if any(bucket["key"].values())]
            count, after = count + len(named), found.get("after_key")
            if after is None:
                return count

    async def get(self, kind: Kind, id: str) -> Hit | None:  # noqa: A002
        answer = await self._search(kind, {"query": {"ids": {"values": [id]}}, "size": 1})
        found = answer["hits"]["hits"]
        return search.hit(found[0]) if found else None

    async def counts(self, kind: Kind, by: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
        if not by:
            answer = await self._search(kind, {"size": 0, "track_total_hits": True})
            return {(): answer["hits"]["total"]["value"]}
        out: dict[tuple[str, ...], int] = {}
        after: dict[str, Any] | None = None
        while True:
            answer = await self._search(kind, search.buckets(kind, by, after))
            found = answer.get("aggregations", {}).get("by", {})
            for bucket in found.get("buckets", ()):
                out[tuple(str(bucket["key"][field] or "") for field in by)] = bucket["doc_count"]
            after = found.get("after_key")
            if after is None:
                return out

    async def _search(self, kind: Kind, body: dict[str, Any]) -> Any:
        path = f"/{self._prefix}-{kind.value}-*/_search"
        try:
            answer = await self._http.request("POST", path, body, ignore_unavailable="true", allow_no_indices="true")
        except Invalid as error:
            raise Invalid("query", error.detail) from None
        if answer.get("timed_out") or answer["_shards"]["failed"]:
            raise Retryable("index_away", "not every shard answered")
        return answer

    async def _store(self, kind: Kind, batch: Batch, part: Sequence[int]) -> dict[int, str]:
        """Store a part of a batch; returns the positions that can never be, and why."""
        sent = await self._send(bulk.plain, kind, batch, part)
        if not sent.refused:
            return sent.bad
        again = await self._send(bulk.fallback, kind, batch, sorted(sent.refused))
        return sent.bad | again.bad | again.refused

    async def _send(self, render: bulk.Render, kind: Kind, batch: Batch, part: Sequence[int]) -> Sent:
        """Send records until each is stored, or known not to be. Raises Retryable when some are not taken for now."""
        sent = Sent({}, {})
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
            async with self._slots:
                body, unfit = render(kind, self._prefix, batch, part)
                sent.bad.update(unfit)
                if not body.positions:
                    return sent
                try:
                    verdict = await self._bulk(body)
                except Invalid as error:
                    whole = error
                else:
                    sent.refused.update(verdict.refused)
                    if not verdict.again:
                        return sent
                    part = sorted(verdict.again)
                    why = verdict.again[part[0]]
                    continue
            return await self._halve(whole, render, kind, batch, body.positions, sent)
        raise Retryable("index_busy", f"{len(part)} of {len(batch)} records not taken: {why}")

    async def _halve(
        self, error: Invalid, render: bulk.Render, kind: Kind, batch: Batch, positions: Sequence[int], sent: Sent
    ) -> Sent:
        """A request refused as a whole (413, mostly) goes again in halves, until it is about a single record."""
        if len(positions) == 1:
            target = sent.bad if error.reason == "too_large" else sent.refused
            target[positions[0]] = str(error)
            return sent
        middle = len(positions) // 2
        for half in (positions[:middle], positions[middle:]):
            more = await self._send(render, kind, batch, half)
            sent.bad.update(more.bad)
            sent.refused.update(more.refused)
        return sent

    async def _bulk(self, body: bulk.Body) -> reply.Verdict:
        path = f"/{body.target}/_bulk" if body.target else "/_bulk"
        return reply.judge(
            await self._http.request("POST", path, body.payload, filter_path=reply.FILTER), body.positions
        )
