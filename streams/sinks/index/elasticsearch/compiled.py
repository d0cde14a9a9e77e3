"""A tree of the query language as Elasticsearch's query DSL. Pure.

A field the mapping does not have is read from the documents at search time (a runtime field without a script, which
every build has): slower than an indexed one, but only what the other conditions leave is read.
"""

from __future__ import annotations

import re
from typing import Any

from streams.sinks.index.elasticsearch.templates import WHERE, WORDS, paths
from streams.sinks.index.fields import SUFFIX
from streams.sinks.index.language import And, Between, During, Has, Is, Like, Node, Not, Or, Word, Words, leaves
from streams.sinks.index.language_fields import LABEL, LEVELS, NAMED
from streams.sinks.index.language_parser import DRAWN
from streams.sinks.index.language_pattern import lucene
from streams.sinks.index.port import Kind
from streams.sinks.index.query import Keyword

_SPECIAL = re.compile(r'([.?+*|{}\[\]()"\\#@&<>~^$-])')
"""Characters Lucene's regular expressions give a meaning."""
MAX_REGEXP = 800
LABELS = "kubernetes.labels."
MAPPED = frozenset(
    {*LEVELS, *NAMED, "cluster", "tenant", *(f"kubernetes.{n}_name" for n in ("namespace", "pod", "container"))}
)
Dsl = dict[str, Any]


def compiled(kind: Kind, node: Node) -> Dsl:
    if isinstance(node, And):
        return {"bool": {"filter": [compiled(kind, part) for part in node.parts]}}
    if isinstance(node, Or):
        return any_of([compiled(kind, part) for part in node.parts])
    if isinstance(node, Not):
        return {"bool": {"must_not": [compiled(kind, node.part)]}}
    if isinstance(node, Words):
        return any_of(_keyword(kind, node.keyword))
    if isinstance(node, Word):
        pattern = {"value": lucene(node.pattern), "flags": "NONE"}
        return any_of(
            [{"regexp": {path + ending: pattern}} for path in paths(kind, "text") for ending in ("", f".{WORDS}")]
        )
    if isinstance(node, During):
        return during(node.start_ms, node.end_ms)
    if isinstance(node, Is):
        return is_one_of(kind, node.field, node.values)
    if isinstance(node, Like):
        return _like(kind, node)
    if isinstance(node, Has):
        return any_of([{"exists": {"field": path}} for path in _having(kind, node.field)])
    if isinstance(node, Between):
        return _between(node)
    raise TypeError(type(node))


def read_at_search(node: Node | None) -> Dsl:
    """The runtime fields a tree needs: path -> type."""
    out: Dsl = {}
    for leaf in leaves(node):
        if isinstance(leaf, Between):
            out[places(Kind.LOGS, leaf.field)[0]] = {"type": "double"}
        elif isinstance(leaf, Is | Like | Has) and leaf.field not in DRAWN:
            is_label = leaf.field.startswith(LABEL)
            for path in places(Kind.LOGS, leaf.field):
                if path not in MAPPED and (not is_label or isinstance(leaf, Like)):
                    out.setdefault(path, {"type": "keyword"})
        elif isinstance(leaf, Like) and leaf.field == "workload":
            out |= {path: {"type": "keyword"} for path in paths(Kind.LOGS, "workload")}
    return out


def places(kind: Kind, field: str) -> tuple[str, ...]:
    """Where a field of the language is in a document."""
    if field in DRAWN:
        return paths(kind, field)
    if field == "level":
        return LEVELS
    return (LABELS + field.removeprefix(LABEL) if field.startswith(LABEL) else field,)


def during(start_ms: int, end_ms: int) -> Dsl:
    times: Dsl = {"gte": start_ms} if start_ms > 0 else {}
    if end_ms > 0:
        times["lt"] = end_ms
    return {"range": {f"{WHERE}.time": times | {"format": "epoch_millis"}}}


def is_one_of(kind: Kind, field: str, values: tuple[str, ...]) -> Dsl:
    out: list[Dsl] = [{"terms": {path: list(values)}} for path in places(kind, field)]
    if kind is Kind.LOGS and field == "workload":
        pod = paths(kind, "pod")[0]
        out += [{"regexp": {pod: {"value": pods_of(value)}}} for value in values if len(value) <= MAX_REGEXP]
    return any_of(out)


def pods_of(workload: str) -> str:
    """Lucene's regular expression of the names of a workload's pods."""
    return _SPECIAL.sub(r"\\\1", workload) + f"(-{SUFFIX})?"


def _like(kind: Kind, node: Like) -> Dsl:
    pattern = lucene(node.pattern)
    out: list[Dsl] = [_regexp(path, pattern) for path in places(kind, node.field)]
    if kind is Kind.LOGS and node.field == "workload":
        out.append(_regexp(paths(kind, "pod")[0], f"({pattern})(-{SUFFIX})?"))
    return any_of(out)


def _regexp(path: str, pattern: str) -> Dsl:
    return {"regexp": {path: {"value": pattern, "flags": "NONE"}}}


def _having(kind: Kind, field: str) -> tuple[str, ...]:
    out = places(kind, field)
    return (*out, paths(kind, "pod")[0]) if kind is Kind.LOGS and field == "workload" else out


def _between(node: Between) -> Dsl:
    path = places(Kind.LOGS, node.field)[0]
    bounds: Dsl = {}
    if node.low is not None:
        bounds["gt" if node.low_open else "gte"] = node.low
    if node.high is not None:
        bounds["lt" if node.high_open else "lte"] = node.high
    return {"range": {path: bounds}} if bounds else {"exists": {"field": path}}


def _keyword(kind: Kind, keyword: Keyword) -> list[Dsl]:
    out: list[Dsl] = []
    for path in paths(kind, "text"):
        if keyword.is_word:
            out.append({"match": {f"{path}.{WORDS}": keyword.text}})
        if not keyword.is_word or not keyword.text.isascii():
            out.append({"match_phrase": {path: keyword.text}})
    return out


def any_of(alternatives: list[Dsl]) -> Dsl:
    if not alternatives:
        return {"match_none": {}}
    if len(alternatives) == 1:
        return alternatives[0]
    return {"bool": {"should": alternatives, "minimum_should_match": 1}}
