"""Which records a live stream lets through: `filter=` in the rules' CEL subset, places by name, the caller's tenant,
and `q`: in the query language for topics that are searched, words anywhere in the record for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from gateway.lists import sees
from gateway.principal import Principal
from gateway.problems import bad_parameter
from schemas.alerts import NO_TENANT
from streams.envelope import content
from streams.rules.compiler import compile_all
from streams.rules.inputs import INPUTS
from streams.rules.lexer import SyntaxProblem
from streams.rules.parser import parse as parse_condition
from streams.sinks.index.language import And, Node, Words
from streams.sinks.index.language_parser import parse
from streams.sinks.index.port import Kind

Keep = Callable[[bytes | None, int], bool]
"""Of a record's value and its time in ms."""
SEARCHED = {
    "logs": Kind.LOGS,
    "kube.events": Kind.EVENTS,
    "kube.objects": Kind.OBJECTS,
    "gaps": Kind.GAPS,
    "platform.audit": Kind.AUDIT,
    "notifications": Kind.NOTIFICATIONS,
    "notifications.outcomes": Kind.OUTCOMES,
}
PLACES: dict[str, tuple[tuple[str, ...], ...]] = {
    "cluster": (("cluster",),),
    "namespace": (("kubernetes", "namespace_name"), ("namespace",), ("labels", "namespace")),
    "pod": (("kubernetes", "pod_name"), ("pod",), ("labels", "pod")),
    "container": (("kubernetes", "container_name"), ("container",), ("labels", "container")),
}
"""Where a record of any topic says where it is from."""


def keep(topic: str, who: Principal, *, condition: str, places: dict[str, str], text: str) -> Keep | None:
    """What decides of a record's bytes; None when every record passes. Raises 422 naming what is wrong in `filter`."""
    tests: list[Callable[[dict[str, Any]], bool]] = []
    if who.tenant != NO_TENANT:
        tests.append(lambda record: sees(who, str(record.get("tenant", ""))))
    for name, wanted in places.items():
        if wanted:
            tests.append(_is_at(PLACES[name], frozenset(wanted.split(","))))
    if condition:
        tests.append(_compiled(topic, condition))
    kind = SEARCHED.get(topic)
    asked = parse(text, own_fields=kind is Kind.LOGS) if kind is not None else None
    words = _needed(asked) if kind is not None else [word.lower().encode() for word in text.split()]
    if not tests and not words and asked is None:
        return None
    matches = _matching(kind, asked) if kind is not None and asked is not None else None

    def decide(value: bytes | None, time_ms: int) -> bool:
        if value is None or not _all_in(words, value):
            return False
        if not tests and matches is None:
            return True
        try:
            record = orjson.loads(content(value))
        except orjson.JSONDecodeError:
            return False
        if not isinstance(record, dict) or not all(test(record) for test in tests):
            return False
        return matches is None or matches(record, time_ms)

    return decide


def _matching(kind: Kind, asked: Node) -> Callable[[dict[str, Any], int], bool]:
    from streams.sinks.index.fields import draw
    from streams.sinks.index.language_match import Matcher

    matcher = Matcher(asked)
    return lambda record, time_ms: matcher(draw(kind, record), time_ms)


def _needed(asked: Node | None) -> list[bytes]:
    """Words without which no record matches, in lower case: most records need not be parsed to be left out."""
    parts = asked.parts if isinstance(asked, And) else (asked,)
    words = [part.keyword for part in parts if isinstance(part, Words)]
    return [word.text.lower().encode() for word in words if word.is_word and word.text.isascii()]


def _all_in(words: list[bytes], value: bytes) -> bool:
    if not words:
        return True
    lower = value.lower()
    return all(word in lower for word in words) or b"\\u" in lower  # letters may be written by their numbers


def _compiled(topic: str, condition: str) -> Callable[[dict[str, Any]], bool]:
    known = INPUTS.get(topic)
    try:
        evaluate = compile_all([parse_condition(condition, known.aliases if known else None)])
    except SyntaxProblem as error:
        raise bad_parameter("filter", f"at position {error.at}: {error}") from None
    return lambda record: bool(evaluate(record))


def _is_at(paths: tuple[tuple[str, ...], ...], wanted: frozenset[str]) -> Callable[[dict[str, Any]], bool]:
    def test(record: dict[str, Any]) -> bool:
        return any(_at(record, path) in wanted for path in paths)

    return test


def _at(record: Any, path: tuple[str, ...]) -> str:
    for part in path:
        record = record.get(part) if isinstance(record, dict) else None
    return record if isinstance(record, str) else ""
