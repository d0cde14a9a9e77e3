"""What every route about logs is asked with: the query language, places, a time, and whose records may be seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from fastapi import Depends

from gateway import times
from gateway.deps import Clock, Principal, Search, need
from gateway.lists import Names, Text, names, tenants
from gateway.problems import Problem, bad_parameter
from streams.sinks.index.port import Hit, Index, Kind, Query

__all__ = ["Asked", "AskedOfTime", "Reader", "Search", "Seen"]

PLACES = ("cluster", "namespace", "workload", "pod", "container")

Reader = Annotated[Principal, Depends(need("logs:read"))]


async def asked(
    clock: Clock,
    who: Reader,
    q: Text = "",
    cluster: Names = "",
    namespace: Names = "",
    workload: Names = "",
    pod: Names = "",
    container: Names = "",
    start: str = "",
    end: str = "",
) -> Query:
    """Raises 422 for a time or a list that is wrong; the index refuses a `q` it cannot understand."""
    places = dict(zip(PLACES, (cluster, namespace, workload, pod, container), strict=True))
    return query_of({"q": q, **places, "start": start, "end": end}, who, clock())


def query_of(given: Mapping[str, str], who: Principal, now_ms: int) -> Query:
    """What parameters as texts ask for (`q`, the places as lists by commas, `start`, `end`), of what `who` may see."""
    return Query(
        kind=Kind.LOGS,
        text=given["q"],
        tenants=tenants(who),
        start_ms=times.parse("start", given["start"], now_ms),
        end_ms=times.parse("end", given["end"], now_ms),
        **{name: names(name, given[name]) for name in PLACES},  # type: ignore[arg-type]  # names of fields
    )


Asked = Annotated[Query, Depends(asked)]


async def asked_of_time(query: Asked, clock: Clock) -> Query:
    """The same of a time that is bounded: the last hour, when no other is asked for."""
    now = clock()
    end_ms = query.end_ms or now
    start_ms = query.start_ms or max(1, end_ms - 3_600_000)
    if end_ms <= start_ms:
        raise bad_parameter("end", "must be after start")
    return msgspec.structs.replace(query, start_ms=start_ms, end_ms=end_ms)


AskedOfTime = Annotated[Query, Depends(asked_of_time)]


async def seen(id: str, search: Search, who: Reader) -> Hit:  # noqa: A002
    """The record of a path's `id`. Raises 404 when there is none, or none of the caller's tenant."""
    hit = await search.get(Kind.LOGS, id)
    if hit is None or not read_by(who, hit):
        raise Problem(404, "Not found", "there is no such record (any more)")
    return hit


Seen = Annotated[Hit, Depends(seen)]


def read_by(who: Principal, hit: Hit) -> bool:
    """Whether the caller may see a record of logs: as the index filters by tenant."""
    from streams.sinks.index.fields import draw

    wanted = tenants(who)
    return not wanted or not set(wanted).isdisjoint(draw(Kind.LOGS, hit.record).tenants)


async def around(index: Index, place: Query, hit: Hit, *, before: int, after: int) -> tuple[list[Hit], list[Hit]]:
    """The records of `place` before and after `hit`, each oldest first."""
    from streams.sinks.index.query import cursor

    at = cursor(hit)
    older, newer = [], []
    if before:
        query = msgspec.structs.replace(place, cursor=at, limit=before, count=False)
        older = (await index.search(query)).items[::-1]
    if after:
        query = msgspec.structs.replace(place, cursor=at, limit=after, count=False, oldest_first=True)
        newer = (await index.search(query)).items
    return older, newer


def place_of(hit: Hit, who: Principal) -> Query:
    """All records of the container a record is of; of what it says least of, as far as it does."""
    about = hit.record.get("kubernetes")
    inside = about if isinstance(about, dict) else {}
    found = {
        "cluster": hit.record.get("cluster"),
        **{name: inside.get(f"{name}_name") for name in ("namespace", "pod", "container")},
    }
    places = {name: (value,) for name, value in found.items() if isinstance(value, str) and value}
    return Query(kind=Kind.LOGS, tenants=tenants(who), **places)  # type: ignore[arg-type]  # names of fields
