"""The topics rules can look at: how a record of each is read. A new input is one more entry of `INPUTS`."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from schemas.kube import KubeEvent
from streams.rules import nodes
from streams.rules.lexer import SyntaxProblem
from streams.rules.nodes import Node
from streams.rules.subject import MAX_MESSAGE, Owned, of_event, of_log, text


class Input(NamedTuple):
    """`time_ms(record, Kafka's timestamp)` is the event time; `weight` how many occurrences a record stands for."""

    topic: str
    aliases: dict[str, tuple[str, ...]]
    struct: type[msgspec.Struct] | None
    """What its records are, where that is declared: fields in rules are checked against it."""
    subject: Callable[[dict[str, Any], str, Owned], dict[str, str]]
    message: Callable[[dict[str, Any]], str]
    time_ms: Callable[[dict[str, Any], int], int]
    weight: Callable[[dict[str, Any]], int]
    id: Callable[[dict[str, Any], bytes | str | None], object]
    """Its id (of the record and its Kafka key), the same however often it is told; nothing where it has none."""


def _event_time(record: dict[str, Any], timestamp_ms: int) -> int:
    value = record.get("time_ms")
    return value if type(value) is int and value > 0 else timestamp_ms


def _event_weight(record: dict[str, Any]) -> int:
    value = record.get("count_delta", 1)
    return value if type(value) is int and value > 0 else 1


INPUTS: dict[str, Input] = {
    "logs": Input(
        topic="logs",
        aliases={
            "message": ("log",),
            "namespace": ("kubernetes", "namespace_name"),
            "pod": ("kubernetes", "pod_name"),
            "container": ("kubernetes", "container_name"),
            "node": ("kubernetes", "host"),
            "labels": ("kubernetes", "labels"),
        },
        struct=None,
        subject=of_log,
        message=lambda record: text(record.get("log") or record.get("message"), MAX_MESSAGE),
        time_ms=lambda record, timestamp_ms: timestamp_ms,
        weight=lambda record: 1,
        id=lambda record, key: key,
    ),
    "kube.events": Input(
        topic="kube.events",
        aliases={},
        struct=KubeEvent,
        subject=of_event,
        message=lambda record: text(record.get("message"), MAX_MESSAGE),
        time_ms=_event_time,
        weight=_event_weight,
        id=lambda record, key: record.get("id"),
    ),
}


def check_fields(tree: Node, struct: type[msgspec.Struct] | None) -> None:
    """Raise SyntaxProblem for the first field in `tree` that records of `struct` cannot have."""
    if struct is not None:
        for path in nodes.paths([tree]):
            _check_path(path.parts, struct, path.at)


def _check_path(parts: tuple[str | int, ...], struct: type[msgspec.Struct], at: int) -> None:
    current: Any = struct
    for part in parts:
        if not (isinstance(current, type) and issubclass(current, msgspec.Struct)):
            return
        hints = get_type_hints(current)
        if part not in hints:
            close = difflib.get_close_matches(str(part), hints, 1)
            hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(sorted(hints))}"
            raise SyntaxProblem(at, f"no field {part!r} in {current.__name__}: {hint}")
        current = _plain(hints[str(part)])


def _plain(hint: Any) -> Any:
    """`X | None` -> X."""
    if get_origin(hint) in (Union, types.UnionType):
        return next((a for a in get_args(hint) if a is not type(None)), hint)
    return hint
