"""Index templates: mappings that never grow and refuse as little as can be. Pure.

`dynamic: false` everywhere: a field we do not search is kept in the source and costs nothing. Labels are `flattened`,
so that `app` and `app.kubernetes.io/name` live side by side. Logs are searched by the fields Fluent Bit writes, the
other kinds by what `streams/sinks/index/fields.py` drew of them into `_where` (ours; a record's own field of that name
makes the document refused and stored in its fallback form). Only what every build of Elasticsearch has is used.
"""

from __future__ import annotations

from typing import Any

from streams.sinks.index.fields import APP_LABELS, MAX_WORD
from streams.sinks.index.language_fields import LEVELS, MAX_VALUE, NAMED, TEXTS
from streams.sinks.index.port import Kind

WHERE = "_where"
WORDS = "words"
VERSION = 2
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


def template(prefix: str, kind: Kind) -> dict[str, Any]:
    """The index template of one kind. Replicas: as many as there are nodes for, one at most."""
    return {
        "index_patterns": [f"{prefix}-{kind.value}-*"],
        "priority": 200,
        "version": VERSION,
        "_meta": {"managed_by": "eventsphere"},
        "template": {
            "settings": {
                "index": {"number_of_shards": 1, "auto_expand_replicas": "0-1", "refresh_interval": "1s"},
            },
            "mappings": {"dynamic": False, "properties": _properties(kind)},
        },
    }


def _properties(kind: Kind) -> dict[str, Any]:
    where: dict[str, Any] = {
        "time": {"type": "date", "format": "epoch_millis"},
        "offset": {"type": "long"},
        "partition": {"type": "integer", "index": False},
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
