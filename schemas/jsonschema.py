"""JSON Schema of every topic's record, from the structs. `python -m schemas.generate` writes `schemas/generated/`.

The schemas say what a record must hold; unknown fields are always allowed and kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

import msgspec

from schemas.catalogue import Topic, declared
from schemas.headers import DATASCHEMA

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LOG: Mapping[str, Any] = {
    "type": "object",
    "title": "Log",
    "description": "One log record as Fluent Bit writes it. Any object is accepted; these fields are understood.",
    "properties": {
        "@timestamp": {"description": "RFC 3339, or seconds since the epoch."},
        "log": {"description": "The line; any type."},
        "stream": {"description": "stdout or stderr."},
        "cluster": {"type": "string"},
        "kubernetes": {
            "description": "namespace_name, pod_name, container_name, labels: as Fluent Bit's filter has them."
        },
    },
}


def schema(topic: Topic) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the topic's records."""
    if topic.schema == "log":
        body = dict(LOG)
    else:
        body = msgspec.json.schema(record_type(topic))
    about = {"$schema": DIALECT, "$id": DATASCHEMA.format(topic=topic.name)}
    return about | body | ({"examples": [json.loads(topic.example)]} if topic.example else {})


def record_type(topic: Topic) -> type[msgspec.Struct]:
    """The struct of the topic's records: `kube.KubeEvent` is class KubeEvent of schemas/kube.py."""
    module, _, name = topic.schema.partition(".")
    found: type[msgspec.Struct] = getattr(import_module(f"schemas.{module}"), name)
    return found


@cache
def fields(topic_name: str) -> frozenset[str]:
    """The record's top-level fields; none for `logs`, which takes any."""
    topic = declared()[topic_name]
    return frozenset() if topic.schema == "log" else frozenset(record_type(topic).__struct_encode_fields__)
