"""A `Query` as Elasticsearch's query DSL, and its answers as hits. Pure."""

from __future__ import annotations

import re
from typing import Any

from streams.errors import Invalid
from streams.sinks.index.elasticsearch.bulk import restored
from streams.sinks.index.elasticsearch.templates import WHERE, WORDS, paths
from streams.sinks.index.fields import SUFFIX
from streams.sinks.index.port import Hit, Kind, Page, Query
from streams.sinks.index.query import COUNTED, FILTERS, Keyword, cursor, keywords, limit, position

_SPECIAL = re.compile(r'([.?+*|{}\[\]()"\\#@&<>~^$-])')
"""Characters Lucene's regular expressions give a meaning."""
MAX_REGEXP = 800
BUCKETS = 1000


def body(query: Query) -> dict[str, Any]:
    """The search request of one page. Raises Invalid("query")."""
    order = "asc" if query.oldest_first else "desc"
    out: dict[str, Any] = {
        "query": {"bool": {"filter": conditions(query)}},
        "sort": [
            {f"{WHERE}.time": {"order": order, "unmapped_type": "date"}},
            {f"{WHERE}.offset": {"order": order, "unmapped_type": "long"}},
            {f"{WHERE}.partition": {"order": order, "unmapped_type": "integer"}},
        ],
        "size": limit(query) + 1,
        "track_total_hits": True,
    }
    if at := position(query.cursor):
        out["search_after"] = [at.time_ms, at.offset, at.partition]
    return out


def conditions(query: Query) -> list[dict[str, Any]]:
    out = [_any(_filter(query.kind, field, getattr(query, field))) for field in FILTERS if getattr(query, field)]
    out += [_any(_keyword(query.kind, keyword)) for keyword in keywords(query.text)]
    times = {"gte": query.start_ms} if query.start_ms > 0 else {}
    if query.end_ms > 0:
        times["lt"] = query.end_ms
    if times:
        out.append({"range": {f"{WHERE}.time": times | {"format": "epoch_millis"}}})
    out += [
        {"term": {f"{WHERE}.{at}": getattr(query, at)}} for at in ("partition", "offset") if getattr(query, at) >= 0
    ]
    return out


def page(query: Query, answer: dict[str, Any]) -> Page:
    found = answer["hits"]
    items = [hit(each) for each in found["hits"][: limit(query)]]
    more = len(found["hits"]) > len(items) > 0
    return Page(items=items, total=found["total"]["value"], next=cursor(items[-1]) if more else "")


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
    )


def _filter(kind: Kind, field: str, values: tuple[str, ...]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [{"terms": {path: list(values)}} for path in paths(kind, field)]
    if kind is Kind.LOGS and field == "workload":
        pod = paths(kind, "pod")[0]
        out += [{"regexp": {pod: {"value": pods_of(value)}}} for value in values if len(value) <= MAX_REGEXP]
    return out or [{"match_none": {}}]


def pods_of(workload: str) -> str:
    """Lucene's regular expression of the names of a workload's pods."""
    return _SPECIAL.sub(r"\\\1", workload) + f"(-{SUFFIX})?"


def _keyword(kind: Kind, keyword: Keyword) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for path in paths(kind, "text"):
        if keyword.is_word:
            out.append({"match": {f"{path}.{WORDS}": keyword.text}})
        if not keyword.is_word or not keyword.text.isascii():
            out.append({"match_phrase": {path: keyword.text}})
    return out


def _any(alternatives: list[dict[str, Any]]) -> dict[str, Any]:
    if len(alternatives) == 1:
        return alternatives[0]
    return {"bool": {"should": alternatives, "minimum_should_match": 1}}
