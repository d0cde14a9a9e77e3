"""Dead letters as the gateway and the command line show them, and what a replay of one produces. Pure."""

from __future__ import annotations

from typing import Any

from gateway import records
from schemas.base import rfc3339
from schemas.catalogue import dlq_name
from streams.dead_letters import parse
from streams.record import Outgoing, Record

EXCERPT = 300


def shown(record: Record, *, whole: bool = False) -> dict[str, Any]:
    """A dead letter: why and where from; `whole` with its value (else the first characters of it)."""
    letter = parse(record)
    out: dict[str, Any] = {
        "id": f"{letter.topic}/{record.offset}",
        "topic": letter.topic,
        "offset": record.offset,
        "time": rfc3339(max(0, record.timestamp_ms)),
        "reason": letter.reason,
        "detail": letter.detail,
        "stage": letter.stage,
        "attempt": letter.attempt,
        "version": letter.version,
        "peer": letter.peer,
        "size": letter.size,
        "sha256": letter.sha256,
        "original": {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset},
        "replayable": not not_replayable(record),
        "why_not": not_replayable(record),
    }
    if whole:
        return out | records.value(letter.value) | {"headers": records.headers(letter.headers)}
    return out | {"excerpt": (letter.value or b"")[: EXCERPT * 4].decode("utf-8", "replace")[:EXCERPT]}


def not_replayable(record: Record) -> str:
    """Why a dead letter cannot be sent again, empty when it can."""
    letter = parse(record)
    if dlq_name(letter.topic) != record.topic:
        return f"it names another topic ({letter.topic[:64]})"
    if not letter.complete:
        return "only its beginning was kept"
    if letter.stage == "source" and not (letter.value or b"").lstrip().startswith(b"{"):
        return "it never was a record: these are the bytes a sender sent"
    return ""


def original(record: Record) -> Outgoing:
    """The original as it was produced: key, bytes, headers and time."""
    letter = parse(record)
    return Outgoing(letter.topic, letter.value, letter.key, letter.headers or None, max(0, letter.time_ms))
