"""A `Query` as Elasticsearch's query DSL, and its answers as hits. Pure."""

from __future__ import annotations

from typing import Any

from streams.errors import Invalid
from streams.sinks.index.elasticsearch.bulk import note_of, restored
from streams.sinks.index.elasticsearch.compiled import (
    MAPPED,
    any_of,
    compiled,
    during,
    is_one_of,
    places,
    read_at_search,
)
from streams.sinks.index.elasticsearch.templates import WHERE, paths
from streams.sinks.index.language_fields import LABEL, as_text
from streams.sinks.index.language_parser import DRAWN, tree
from streams.sinks.index.port import Hit, Kind, Page, Query, Top
from streams.sinks.index.query import COUNTED, FILTERS, cursor, limit, position

BUCKETS = 1000


def body(query: Query) -> dict[str, Any]:
    """The search request of one page. Raises Invalid("query")."""
    order = "asc" if query.oldest_first else "desc"
    out: dict[str, Any] = matching(query) | {
        "sort": [
            {f"{WHERE}.time": {"order": order, "unmapped_type": "date"}},
            {f"{WHERE}.offset": {"order": order, "unmapped_type": "long"}},
            {f"{WHERE}.partition": {"order": order, "unmapped_type": "integer"}},
        ],
        "size": limit(query) + 1,
        "track_total_hits": query.count,
    }
    if at := position(query.cursor):
        out["search_after"] = [at.time_ms, at.offset, at.partition]
    return out


def matching(query: Query) -> dict[str, Any]:
    """The parts of a request that say what is to be found. Raises Invalid("query")."""
    asked = tree(query)
    condition = conditions(query)
    if asked is not None:
        condition.append(compiled(query.kind, asked))
    out: dict[str, Any] = {"query": {"bool": {"filter": condition}}}
    if read := read_at_search(asked):
        out["runtime_mappings"] = read
    return out


def conditions(query: Query) -> list[dict[str, Any]]:
    out = [is_one_of(query.kind, field, getattr(query, field)) for field in FILTERS if getattr(query, field)]
    if query.start_ms > 0 or query.end_ms > 0:
        out.append(during(query.start_ms, query.end_ms))
    out += [
        {"term": {f"{WHERE}.{at}": getattr(query, at)}} for at in ("partition", "offset") if getattr(query, at) >= 0
    ]
    return out


def page(query: Query, answer: dict[str, Any]) -> Page:
    found = answer["hits"]
    items = [hit(each) for each in found["hits"][: limit(query)]]
    more = len(found["hits"]) > len(items) > 0
    total = found["total"]["value"] if query.count else -1
    return Page(items=items, total=total, next=cursor(items[-1]) if more else "")


def buckets(kind: Kind, by: tuple[str, ...], after: dict[str, Any] | None) -> dict[str, Any]:
    """The request of one page of counts by the fields `by`."""
    if not set(by) <= COUNTED:
        raise Invalid("query", f"counts are by {', '.join(sorted(COUNTED))}")
    sources = [{field: {"terms": {"field": paths(kind, field)[0], "missing_bucket": True}}} for field in by]
    composite: dict[str, Any] = {"size": BUCKETS, "sources": sources}
    if after:
        composite["after"] = after
    return {"size": 0, "aggs": {"by": {"composite": composite}}}


def hit(found: dict[str, Any]) -> Hit:
    source = found["_source"]
    where = source[WHERE]
    return Hit(
        id=found["_id"],
        time_ms=where["time"],
        topic=where["topic"],
        partition=where["partition"],
        offset=where["offset"],
        record=restored(source),
        note=note_of(where),
    )


def histogram(query: Query, step_ms: int) -> dict[str, Any]:
    by_time = {"field": f"{WHERE}.time", "fixed_interval": f"{step_ms}ms", "min_doc_count": 1}
    return matching(query) | {"size": 0, "track_total_hits": False, "aggs": {"time": {"date_histogram": by_time}}}


def top(query: Query, field: str, limit: int) -> dict[str, Any]:
    """The request of a field's values: `has` counts the documents that have it."""
    out = matching(query)
    found = places(query.kind, field)
    if not field.startswith(LABEL) and field not in DRAWN and not MAPPED.issuperset(found):
        out["runtime_mappings"] = {path: {"type": "keyword"} for path in found} | out.get("runtime_mappings", {})
    order = [{"_count": "desc"}, {"_key": "asc"}]
    aggs = {path: {"terms": {"field": path, "size": limit, "order": order}} for path in found}
    has = {"filter": any_of([{"exists": {"field": path}} for path in found])}
    aggs = {f"values{n}": each for n, each in enumerate(aggs.values())}
    return out | {"size": 0, "track_total_hits": False, "aggs": {"has": has, **aggs}}


def top_of(answer: dict[str, Any], limit: int) -> Top:
    found = answer.get("aggregations")
    if not found:
        return Top(records=0, values=[])
    counts: dict[str, int] = {}
    for each in (bucket for name, part in found.items() if name != "has" for bucket in part["buckets"]):
        value = each["key"] if isinstance(each["key"], str) else as_text(each["key"])
        counts[value] = counts.get(value, 0) + each["doc_count"]
    values = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Top(records=found["has"]["doc_count"], values=values[:limit])


def containers(query: Query, after: dict[str, Any] | None) -> dict[str, Any]:
    """The request of one page of the containers there are."""
    sources = [
        {field: {"terms": {"field": paths(Kind.LOGS, field)[0], "missing_bucket": True}}}
        for field in ("namespace", "pod", "container")
    ]
    composite: dict[str, Any] = {"size": BUCKETS, "sources": sources}
    if after:
        composite["after"] = after
    return matching(query) | {"size": 0, "track_total_hits": False, "aggs": {"by": {"composite": composite}}}
