"""The AsyncAPI 3 document of the public topics: channels, messages with their schemas and keys, and who does what.

Seen from Eventsphere: it `send`s what it produces and `receive`s what others may publish.
Source: AsyncAPI 3.0.0; Kafka bindings 0.5.0; schemas are JSON Schema 2020-12.
"""

from __future__ import annotations

import json
from typing import Any

from schemas.catalogue import Topic, declared
from schemas.jsonschema import DIALECT, schema

SCHEMA_FORMAT = f"application/schema+json;version={DIALECT.split('/')[4]}"
BINDING = "0.5.0"
CONTENT_TYPE = "application/json"
HEADERS = (
    "ce_specversion",
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_time",
    "ce_subject",
    "ce_dataschema",
    "content-type",
    "traceparent",
)


def document(title: str = "Eventsphere", version: str = "1") -> dict[str, Any]:
    """The document; the same for the same code."""
    public = [topic for topic in declared().values() if topic.public]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": title,
            "version": version,
            "description": "Topics others may read, and those they may publish to. Unknown fields are always allowed.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {_name(topic): _channel(topic) for topic in public},
        "operations": dict(operation for topic in public for operation in _operations(topic)),
        "components": {"messages": {_name(topic): _message(topic) for topic in public}},
    }


def _name(topic: Topic) -> str:
    """AsyncAPI's keys have no dots."""
    return topic.name.replace(".", "-")


def _channel(topic: Topic) -> dict[str, Any]:
    config: dict[str, Any] = {"cleanup.policy": [topic.cleanup], "max.message.bytes": topic.max_message_mib << 20}
    if topic.cleanup == "delete":
        config |= {"retention.ms": topic.retention_hours * 3_600_000, "retention.bytes": topic.retention_gib << 30}
    return {
        "address": topic.name,
        "description": topic.record,
        "messages": {_name(topic): {"$ref": f"#/components/messages/{_name(topic)}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": config,
                "bindingVersion": BINDING,
            }
        },
    }


def _operations(topic: Topic) -> list[tuple[str, dict[str, Any]]]:
    channel = {"$ref": f"#/channels/{_name(topic)}"}
    out = [(f"send-{_name(topic)}", {"action": "send", "channel": channel, "summary": ", ".join(topic.producers)})]
    if topic.publish:
        receive = {"action": "receive", "channel": channel, "summary": ", ".join(topic.consumers)}
        out.append((f"receive-{_name(topic)}", receive))
    return out


def _message(topic: Topic) -> dict[str, Any]:
    out: dict[str, Any] = {
        "name": topic.name,
        "contentType": CONTENT_TYPE,
        "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": schema(topic)},
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": BINDING}},
    }
    if topic.example:
        out["examples"] = [{"payload": json.loads(topic.example)}]
    if topic.headers:
        texts: dict[str, Any] = {name: {"type": "string"} for name in HEADERS}
        out["headers"] = {"type": "object", "properties": texts}
    return out
