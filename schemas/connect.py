"""Kafka Connect's form of every topic's schema: what `JsonConverter` takes as `schema.content` (Kafka 4.2 and newer).

Records stay as they are: a sink that wants a schema (JDBC, Parquet, ...) gets it by its converter's configuration. A
field whose content is anybody's (`object` of a Kubernetes object) has no type Connect could state; it is left out, and
so are fields added later: the converter takes only what the schema names.
Source: org.apache.kafka.connect.json.JsonSchema (types, `optional`, `default`, `field`), KIP-1054.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from schemas.catalogue import Topic
from schemas.jsonschema import record_type

Schema = dict[str, Any]
SCALARS: dict[type, str] = {str: "string", int: "int64", float: "double", bool: "boolean"}
TEXT: Schema = {"type": "string", "optional": True}
WORDS: Schema = {"type": "map", "keys": {"type": "string"}, "values": TEXT, "optional": True}
PLACE = ("namespace_name", "pod_name", "container_name", "pod_id", "host")
LOG: Schema = {
    "type": "struct",
    "name": "eventsphere.logs",
    "optional": True,
    "fields": [
        {"field": "@timestamp"} | TEXT,
        {"field": "log"} | TEXT,
        {"field": "stream"} | TEXT,
        {"field": "cluster"} | TEXT,
        {
            "type": "struct",
            "field": "kubernetes",
            "optional": True,
            "fields": [*({"field": name} | TEXT for name in PLACE), {"field": "labels"} | WORDS],
        },
    ],
}
"""What is usual in a log record. A number where a text is stated reads as null, so a time given as a number does:
take Kafka's timestamp instead (`InsertField` with `timestamp.field`), it is the record's time."""


def connect_schema(topic: Topic) -> Schema:
    """The Connect schema of the topic's values. They may be tombstones, so it is optional."""
    if topic.schema == "log":
        return LOG
    return _struct(record_type(topic)) | {"name": f"eventsphere.{topic.name}", "optional": True}


def _struct(kind: type[msgspec.Struct]) -> Schema:
    hints = get_type_hints(kind, include_extras=True)
    fields = []
    for field in msgspec.structs.fields(kind):
        schema = _typed(hints[field.name])
        if schema is None:
            continue
        if not field.required:
            schema |= {"optional": True}
            if isinstance(field.default, str | int | float | bool):
                schema |= {"default": field.default}
        fields.append({"field": field.encode_name} | schema)
    return {"type": "struct", "fields": fields}


def _typed(hint: Any) -> Schema | None:
    """None: anything may be there, which Connect cannot state."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _typed(arguments[0])
    if origin in (Union, types.UnionType):
        known = [each for each in arguments if each is not type(None)]
        inner = _typed(known[0]) if len(known) == 1 else None
        return None if inner is None else inner | {"optional": True}
    if origin is list:
        items = _typed(arguments[0])
        return None if items is None else {"type": "array", "items": items}
    if origin is dict:
        values = _typed(arguments[1])
        return None if values is None else {"type": "map", "keys": {"type": "string"}, "values": values}
    if not isinstance(hint, type):
        return None
    if issubclass(hint, msgspec.Struct):
        return _struct(hint)
    if issubclass(hint, enum.Enum):
        return {"type": "string"}
    return {"type": SCALARS[hint]} if hint in SCALARS else None


def table_schema(topic: Topic, columns: Iterable[str] = ()) -> Schema:
    """The same for a table: what `Flatten` makes one column each of. Texts by name (`labels`) become a struct of those
    `columns` name (`labels.severity`); lists have no column. Raises ValueError for a column that cannot be."""
    wanted: dict[str, list[str]] = {}
    for column in columns:
        field, _, name = column.partition(".")
        wanted.setdefault(field, []).append(name)
    schema = connect_schema(topic)
    maps = {field["field"] for field in schema["fields"] if field["type"] == "map"}
    for field, names in wanted.items():
        if field not in maps or not all(names):
            raise ValueError(f"{field}: {topic.name} has no such texts by name (it has: {', '.join(sorted(maps))})")
    return schema | {"fields": list(_columns(schema["fields"], wanted))}


def _columns(fields: Iterable[Schema], wanted: Mapping[str, list[str]]) -> Iterator[Schema]:
    for field in fields:
        name = field["field"]
        if name in wanted:
            texts = [{"field": each} | TEXT for each in wanted[name]]
            yield {"field": name, "type": "struct", "optional": True, "fields": texts}
        elif field["type"] == "struct":
            if inner := list(_columns(field["fields"], {})):
                yield field | {"fields": inner}
        elif field["type"] not in ("array", "map"):
            yield field
