"""CloudEvents binary-mode headers (Kafka protocol binding 1.0) and `traceparent` for records we produce."""

from __future__ import annotations

from schemas.base import rfc3339

DATASCHEMA = "urn:eventsphere:schema:{topic}:1"


def cloud_headers(
    *,
    topic: str,
    id: str,  # noqa: A002 - the names of CloudEvents
    type: str,  # noqa: A002
    source: str,
    time_ms: int,
    subject: str = "",
    traceparent: str = "",
) -> list[tuple[str, bytes]]:
    """Headers of one record: the ce_* attributes, ce_dataschema with its version, content-type, traceparent."""
    out = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode()),
        ("ce_type", type.encode()),
        ("ce_source", source.encode()),
        ("ce_time", rfc3339(time_ms).encode()),
        ("ce_dataschema", DATASCHEMA.format(topic=topic).encode()),
        ("content-type", b"application/json"),
    ]
    if subject:
        out.append(("ce_subject", subject.encode()))
    if traceparent:
        out.append(("traceparent", traceparent.encode()))
    return out
