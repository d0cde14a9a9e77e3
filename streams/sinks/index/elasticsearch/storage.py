"""The dated indices there are, their size, and deleting them. Only whole indices, by name: every build can.

Names are `<prefix>-<kind>-<date>` or `<prefix>-<kind>-<family>-<date>`. Besides what writing needs, this needs
`monitor` and `delete_index` on `<prefix>-*`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from streams.errors import Invalid, Retryable
from streams.sinks.index.elasticsearch import search
from streams.sinks.index.elasticsearch.client import Client
from streams.sinks.index.ids import DAY_MS, MAX_TIME_MS, UNDATED
from streams.sinks.index.port import Kind, Query, Stored

MAX_PLACES = 10_000
ATTEMPTS = 10
_FORM = "%Y.%m.%d"


class Named(NamedTuple):
    kind: Kind
    family: str
    day_ms: int
    """First ms of its day; -1: undated."""


def read_name(prefix: str, name: str) -> Named | None:
    """What an index's name says; None for one that is not ours."""
    kinds = "|".join(kind.value for kind in Kind)
    match = re.fullmatch(rf"{re.escape(prefix)}-({kinds})-(?:(.+)-)?(\d{{4}}\.\d\d\.\d\d|{UNDATED})", name)
    if match is None:
        return None
    if match[3] == UNDATED:
        return Named(Kind(match[1]), match[2] or "", -1)
    try:
        day = datetime.strptime(match[3], _FORM).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Named(Kind(match[1]), match[2] or "", int(day.timestamp()) * 1000)


def stored_of(prefix: str, answer: dict[str, Any]) -> list[Stored]:
    """The parts in an answer of `_stats`, oldest first."""
    out = []
    for name, stats in answer.get("indices", {}).items():
        named = read_name(prefix, name)
        if named is None:
            continue
        dated, own = named.day_ms >= 0, stats.get("primaries", {})
        out.append(
            Stored(
                name=name,
                kind=named.kind,
                dated=dated,
                from_ms=max(named.day_ms, 0),
                to_ms=named.day_ms + DAY_MS if dated else MAX_TIME_MS + 1,
                documents=own.get("docs", {}).get("count", 0),
                nbytes=own.get("store", {}).get("size_in_bytes", 0),
            )
        )
    return sorted(out, key=lambda each: (each.from_ms, each.name))


async def stored(http: Client, prefix: str) -> list[Stored]:
    path = f"/{quote(prefix)}-*/_stats/docs,store"
    return stored_of(prefix, await http.request("GET", path, expand_wildcards="open"))


Ask = Callable[[dict[str, Any]], Awaitable[Any]]


async def places(ask: Ask, kind: Kind) -> set[tuple[str, str]] | None:
    """(cluster, namespace) of the documents of an index that `ask` searches; None for over `MAX_PLACES`."""
    out: set[tuple[str, str]] = set()
    after: dict[str, Any] | None = None
    while len(out) <= MAX_PLACES:
        answer = await ask(search.buckets(kind, ("cluster", "namespace"), after))
        found = answer.get("aggregations", {}).get("by", {})
        keys = [bucket["key"] for bucket in found.get("buckets", ())]
        out |= {(str(key["cluster"] or ""), str(key["namespace"] or "")) for key in keys}
        after = found.get("after_key")
        if after is None:
            return out
    return None


async def remove(http: Client, name: str) -> None:
    await _delete(http, f"/{quote(name)}")


async def remove_template(http: Client, name: str) -> None:
    await _delete(http, f"/_index_template/{quote(name)}")


async def _delete(http: Client, path: str) -> None:
    try:
        await http.request("DELETE", path)
    except Retryable as error:
        if error.reason != "index_missing":
            raise


async def take_place(http: Client, name: str, instead_of: str) -> None:
    """Put index `name` in the place of another; whoever writes to that meanwhile may make it anew, so try again."""
    await http.request("PUT", f"/{quote(name)}/_settings", {"index.blocks.write": True})
    for attempt in range(ATTEMPTS):
        await remove(http, instead_of)
        try:
            body = {"settings": {"index.blocks.write": None}}
            await http.request("POST", f"/{quote(name)}/_clone/{quote(instead_of)}", body)
            break
        except Invalid as error:
            if "already_exists" not in error.detail or attempt == ATTEMPTS - 1:
                raise
    await http.request("GET", f"/_cluster/health/{quote(instead_of)}", wait_for_status="yellow", timeout="20s")
    await remove(http, name)


async def remove_part(http: Client, name: str, query: Query) -> int | None:
    """Delete what matches in one index; returns how many, None where this build cannot."""
    body = {"query": search.matching(query)["query"]}
    try:
        answer = await http.request("POST", f"/{quote(name)}/_delete_by_query", body, conflicts="proceed")
    except (Invalid, Retryable) as error:
        if error.reason == "index_missing":
            return 0
        if "405" in error.detail or "no handler found" in error.detail:
            return None
        raise
    return int(answer.get("deleted", 0))
