"""CloudEvents to records of a topic: checked against its schema, keyed as the catalogue says. All or nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec
import orjson

from gateway.cloudevents import CloudEvent
from gateway.problems import Problem
from schemas import jsonschema
from schemas.alerts import FUTURE_MS, Alert, fingerprint, wrong_times
from schemas.base import digest, parse_time
from schemas.catalogue import DLQ_SUFFIX, Topic, catalogue, declared
from schemas.headers import cloud_headers
from schemas.keys import key
from streams.envelope import trace
from streams.errors import Invalid
from streams.record import AHEAD_MS, Outgoing
from streams.sources.forward_values import MAX_DEPTH, brackets, depth

NAMED = 100
"""Bad events named in an error."""
MAX_REASON = 300


class Publisher(NamedTuple):
    """What is the same for all events of one request."""

    cluster: str
    tenant: str
    """Empty: may publish for any tenant."""
    key: str
    """`Idempotency-Key`."""


def open_topic(name: str, tenant: str = "") -> Topic:
    """The topic others may publish to. Raises 404, or 403 for an internal one, for one that is an output or has an API
    of its own, and to a tenant (empty: for any) for one whose records replace each other, whosever they are."""
    topic = catalogue().get(name)
    if topic is None:
        raise Problem(404, "Not found", f"there is no topic {name[:128]!r} in the catalogue")
    if not topic.public or name.endswith(DLQ_SUFFIX):
        raise Problem(403, "Forbidden", f"{name} is internal: nobody outside publishes to it")
    if not topic.publish:
        raise Problem(403, "Forbidden", f"{name} is not for publishing: it comes from {', '.join(topic.producers)}")
    if tenant and topic.cleanup == "compact":
        raise Problem(403, "Forbidden", f"{name} is one table for all tenants: only the platform publishes to it")
    return declared()[name]


def outgoing(topic: Topic, events: Sequence[CloudEvent | str], publisher: Publisher, now_ms: int) -> list[Outgoing]:
    """A record for each event, or Invalid whose `indexes` names the bad ones and why. A text: why it is no event."""
    out: list[Outgoing] = []
    wrong: dict[int, str] = {}
    for index, event in enumerate(events):
        if isinstance(event, str):
            wrong[index] = event[:MAX_REASON]
            continue
        try:
            out.append(_record(topic, event, publisher, index, now_ms))
        except ValueError as error:
            wrong[index] = str(error)[:MAX_REASON]
    if wrong:
        detail = f"{len(wrong)} of {len(events)} do not fit {topic.name}: {next(iter(wrong.values()))}"
        raise Invalid("schema", detail, dict(list(wrong.items())[:NAMED]))
    return out


def _record(topic: Topic, event: CloudEvent, publisher: Publisher, index: int, now_ms: int) -> Outgoing:
    """Raises ValueError saying what is wrong."""
    raw = event.payload()
    record = orjson.loads(raw)
    if not isinstance(record, dict):
        raise ValueError("data: expected a JSON object")
    if brackets(raw) > MAX_DEPTH and depth(record) > MAX_DEPTH:
        raise ValueError(f"data: more than {MAX_DEPTH} objects and arrays within each other")
    more = _completed(topic, record, publisher)
    validate(topic.name, record)
    value = orjson.dumps(record) if more else raw
    if len(value) > topic.max_message_mib << 20:
        raise ValueError(f"data: over the topic's {topic.max_message_mib} MiB")
    time_ms = _time(event, now_ms)
    written_ms = min(time_ms, now_ms + AHEAD_MS)
    if topic.name == "alerts":
        _check_alert(record, written_ms)
    its_key = key(topic.name, record) or _id(event, publisher, index).encode()
    return Outgoing(
        topic.name,
        value,
        its_key,
        _headers(topic, event, time_ms, its_key.decode()) if topic.headers else None,
        written_ms,
    )


def _check_alert(record: dict[str, Any], written_ms: int) -> None:
    """What keep-alert-state would refuse, at once. Raises ValueError with the field and the reason."""
    alert = msgspec.convert(record, Alert)
    if wrong := wrong_times(alert):
        raise ValueError(wrong)
    if not alert.labels:
        raise ValueError("labels: at least one is needed")
    if alert.observed_at_ms > written_ms + FUTURE_MS:
        raise ValueError("observed_at_ms: is more than an hour after the event's time")


def validate(topic: str, record: dict[str, Any]) -> None:
    """Raises ValueError with the place and the reason."""
    error = next(_validator(topic).iter_errors(record), None)
    if error is not None:
        where = ".".join(map(str, error.instance_path)) or "data"
        raise ValueError(f"{where}: {error.message}")


@cache
def _validator(topic: str) -> Any:
    return jsonschema_rs.validator_for(jsonschema.schema(declared()[topic]))


def _completed(topic: Topic, record: dict[str, Any], publisher: Publisher) -> bool:
    """Fill in what the publisher need not know: cluster, its tenant, an alert's fingerprint. True when it did."""
    known, before = jsonschema.fields(topic.name), dict(record)
    if not record.get("cluster") and (not known or "cluster" in known):
        record["cluster"] = publisher.cluster
    if publisher.tenant and record.setdefault("tenant", publisher.tenant) != publisher.tenant:
        raise ValueError(f"tenant: yours is {publisher.tenant}")
    if topic.name == "alerts" and _are_labels(record.get("labels")):
        print_ = fingerprint(record["labels"])
        if record.setdefault("fingerprint", print_) != print_:
            raise ValueError(f"fingerprint: that of its labels is {print_}; leave it out and it is filled in")
    return record != before


def _are_labels(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _id(event: CloudEvent, publisher: Publisher, index: int) -> str:
    """The record's id where the key is one (`logs`): of the request's key, else of the event (source and id)."""
    if publisher.key:
        return f"{digest('http', publisher.tenant, publisher.key)}-{index}"
    return digest("cloudevent", event.source, event.id)


def _time(event: CloudEvent, now_ms: int) -> int:
    if not event.time:
        return now_ms
    try:
        return max(0, parse_time(event.time))
    except (ValueError, OverflowError):
        raise ValueError(f"time: not an RFC 3339 time: {event.time!r}") from None


def _headers(topic: Topic, event: CloudEvent, time_ms: int, its_key: str) -> list[tuple[str, bytes]]:
    """`its_key` is the subject of an event that names none."""
    out = cloud_headers(
        topic=topic.name,
        id=event.id,
        type=event.type,
        source=event.source,
        time_ms=time_ms,
        subject=event.subject or its_key,
        traceparent=trace(event.traceparent),
    )
    return out + [(f"ce_{name}", value.encode()) for name, value in event.extensions.items()]
