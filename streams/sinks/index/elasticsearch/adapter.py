"""The Elasticsearch adapter of the search index port.

Its user needs the cluster privilege `manage_index_templates` and, on `<prefix>-*`, `create_index`, `create_doc` and
`read`; `monitor` and `delete_index` for retention.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import structlog

from streams.batch import Batch
from streams.errors import Fatal, Invalid, Retryable
from streams.settings import Index as Settings
from streams.sinks.index.elasticsearch import search, storage
from streams.sinks.index.elasticsearch.client import Client
from streams.sinks.index.elasticsearch.templates import templates, version_of
from streams.sinks.index.elasticsearch.tiers import Names, Tiers
from streams.sinks.index.elasticsearch.writer import Writer
from streams.sinks.index.language import Node
from streams.sinks.index.language_parser import counted_field
from streams.sinks.index.port import Hit, Kind, Page, Query, Stored, Top

log = structlog.get_logger(__name__)


class ElasticsearchIndex:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._prefix = settings.prefix
        self._client: Client | None = None
        self._ready = False
        self._deletes_parts = True
        self._opening = asyncio.Lock()
        self._writer = Writer(lambda: self._http, Names(settings.prefix, Tiers(settings.tiers)))

    async def open(self) -> None:
        """Put our index templates. Raises Retryable when it is away, Fatal for settings that cannot work."""
        if self._prefix != self._prefix.lower() or self._prefix[:1] in "_-+.":
            raise Fatal("index_settings", "index.prefix must be lower case and begin with a letter or digit")
        async with self._opening:
            if self._ready:
                return
            wanted = templates(self._prefix, self._settings.tiers)
            await asyncio.gather(*(self._put_template(name, body) for name, body in wanted.items()))
            self._ready = True

    async def _put_template(self, name: str, body: dict[str, Any]) -> None:
        """Unless a newer one is there: while versions run side by side, the newest decides what is mapped."""
        path = f"/_index_template/{name}"
        try:
            known = await self._http.request("GET", path)
        except Retryable as error:
            if error.reason != "index_missing":
                raise
            known = {}
        if version_of(known) > body["version"]:
            log.warning("index.newer_template", template=name, ours=body["version"], theirs=version_of(known))
            return
        await self._http.request("PUT", path, body)

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
        await self._writer.write(kind, batch)

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

    async def stored(self) -> list[Stored]:
        return await storage.stored(self._http, self._prefix)

    async def places(self, stored: Stored) -> set[tuple[str, str]] | None:
        return await storage.places(partial(self._search_in, stored.name), stored.kind)

    async def remove(self, stored: Stored) -> None:
        await storage.remove(self._http, stored.name)

    async def remove_part(self, stored: Stored, matching: Node) -> int:
        if not self._deletes_parts:
            return 0
        deleted = await storage.remove_part(self._http, stored.name, Query(kind=stored.kind, where=matching))
        self._deletes_parts = deleted is not None
        return deleted or 0

    @property
    def client(self) -> Client:
        return self._http

    async def refresh(self) -> None:
        """Make what was written countable."""
        await self._http.request("POST", f"/{self._prefix}-*/_refresh", ignore_unavailable="true")

    async def drop_templates(self) -> None:
        for name in templates(self._prefix, self._settings.tiers):
            await storage.remove_template(self._http, name)

    async def _search(self, kind: Kind, body: dict[str, Any]) -> Any:
        return await self._search_in(f"{self._prefix}-{kind.value}-*", body)

    async def _search_in(self, indices: str, body: dict[str, Any]) -> Any:
        path = f"/{indices}/_search"
        try:
            answer = await self._http.request("POST", path, body, ignore_unavailable="true", allow_no_indices="true")
        except Invalid as error:
            raise Invalid("query", error.detail) from None
        if answer.get("timed_out") or answer["_shards"]["failed"]:
            raise Retryable("index_away", "not every shard answered")
        return answer
