"""Index templates: mappings that never grow and refuse as little as can be. Pure.

`dynamic: false` everywhere: a field we do not search is kept in the source and costs nothing. Labels are `flattened`,
so that `app` and `app.kubernetes.io/name` live side by side. Logs are searched by the fields Fluent Bit writes, the
other kinds by what `streams/sinks/index/fields.py` drew of them into `_where` (ours; a record's own field of that name
makes the document refused and stored in its fallback form). Only what every build of Elasticsearch has is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from streams.settings import Tier
from streams.sinks.index.fields import APP_LABELS, MAX_WORD
from streams.sinks.index.language_fields import LEVELS, MAX_VALUE, NAMED, TEXTS
from streams.sinks.index.port import Kind

WHERE = "_where"
WORDS = "words"
VERSION = 3
"""Of the templates. Goes up with every change of a mapping; an index keeps the one it was made with."""
PRIORITY = 200
CODEC = "best_compression"
"""Three tenths less disk than Elasticsearch's default, measured by `python -m tests.bench.size`."""
_KEYWORD: dict[str, Any] = {"type": "keyword", "ignore_above": MAX_WORD}
_VALUE: dict[str, Any] = {"type": "keyword", "ignore_above": MAX_VALUE}
_TEXT: dict[str, Any] = {
    "type": "text",
    "analyzer": "standard",
    "norms": False,
    "fields": {WORDS: {"type": "text", "analyzer": "simple", "norms": False, "index_options": "docs"}},
}
"""Tokens by Unicode's word boundaries, with positions; and beside it every run of letters."""

PATHS: dict[str, tuple[str, ...]] = {
    "cluster": ("cluster",),
    "namespace": ("kubernetes.namespace_name",),
    "pod": ("kubernetes.pod_name",),
    "container": ("kubernetes.container_name",),
    "workload": tuple(f"kubernetes.labels.{label}" for label in APP_LABELS),
    "names": (),
    "tenants": ("tenant",),
    "text": TEXTS,
}
"""Where the fields of `Query` are in a log record."""


def paths(kind: Kind, field: str) -> tuple[str, ...]:
    return PATHS[field] if kind is Kind.LOGS else (f"{WHERE}.{field}",)


def templates(prefix: str, tiers: Sequence[Tier] = ()) -> dict[str, dict[str, Any]]:
    """Index templates by name: one a kind, and one a tier of the logs."""
    out = {f"{prefix}-{kind.value}": _template(f"{prefix}-{kind.value}-*", kind) for kind in Kind}
    for tier in tiers:
        name = f"{prefix}-{Kind.LOGS.value}-{tier.name}"
        out[name] = _template(f"{name}-*", Kind.LOGS, priority=PRIORITY + 1, replicas=tier.replicas)
    return out


def version_of(answer: dict[str, Any]) -> int:
    """The version of the template in an answer of `GET _index_template/<name>`; 0 when there is none."""
    for each in answer.get("index_templates", ()):
        version = each.get("index_template", {}).get("version")
        return version if isinstance(version, int) else 0
    return 0


def _template(pattern: str, kind: Kind, *, priority: int = PRIORITY, replicas: int = -1) -> dict[str, Any]:
    """Replicas when not said: as many as there are nodes for, one at most."""
    copies = {"auto_expand_replicas": "0-1"} if replicas < 0 else {"number_of_replicas": replicas}
    return {
        "index_patterns": [pattern],
        "priority": priority,
        "version": VERSION,
        "_meta": {"managed_by": "eventsphere"},
        "template": {
            "settings": {"index": {"number_of_shards": 1, "refresh_interval": "1s", "codec": CODEC} | copies},
            "mappings": {"dynamic": False, "properties": _properties(kind)},
        },
    }


def _properties(kind: Kind) -> dict[str, Any]:
    where: dict[str, Any] = {
        "time": {"type": "date", "format": "epoch_millis"},
        "offset": {"type": "long"},
        "partition": {"type": "integer", "index": False},
        "fallback": {"dynamic": False, "properties": {"field": _KEYWORD}},
    }
    if kind is not Kind.LOGS:
        drawn = {name: _KEYWORD for name in PATHS if name != "text"} | {"text": _TEXT}
        return {WHERE: {"dynamic": False, "properties": where | drawn}}
    kubernetes = {
        "namespace_name": _KEYWORD,
        "pod_name": _KEYWORD,
        "container_name": _KEYWORD,
        "labels": {"type": "flattened", "ignore_above": MAX_WORD, "depth_limit": 5},
    }
    return {
        "cluster": _KEYWORD,
        "tenant": _KEYWORD,
        **dict.fromkeys(TEXTS, _TEXT),
        **{name: _VALUE | {"normalizer": "lowercase"} for name in LEVELS},
        **dict.fromkeys(NAMED, _VALUE),
        "kubernetes": {"dynamic": False, "properties": kubernetes},
        WHERE: {"dynamic": False, "properties": where},
    }


def _names(properties: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, mapped in properties.items():
        yield above + name
        yield from _names(mapped.get("properties", {}), f"{above}{name}.")


SEARCHED = frozenset(name for kind in Kind for name in _names(_properties(kind)))
"""Every field a document can be refused for."""
