"""Which records a live stream lets through: `filter=` in the rules' CEL subset, places by name, the caller's tenant."""

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
from streams.rules.parser import parse

Keep = Callable[[bytes | None], bool]
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
    words = [word.lower().encode() for word in text.split()]
    if not tests and not words:
        return None

    def decide(value: bytes | None) -> bool:
        if value is None or (words and not all(word in value.lower() for word in words)):
            return False
        if not tests:
            return True
        try:
            record = orjson.loads(content(value))
        except orjson.JSONDecodeError:
            return False
        return isinstance(record, dict) and all(test(record) for test in tests)

    return decide


def _compiled(topic: str, condition: str) -> Callable[[dict[str, Any]], bool]:
    known = INPUTS.get(topic)
    try:
        evaluate = compile_all([parse(condition, known.aliases if known else None)])
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
