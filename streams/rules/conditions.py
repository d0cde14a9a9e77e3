"""What a rule asks of one record, by its type: conditions to be compiled, and the value a match carries. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from schemas.rule_document import Aggregate, Detection, Rule
from streams.rules.inputs import INPUTS
from streams.rules.nodes import All, Node
from streams.rules.parser import parse, parse_path
from streams.rules.paths import at
from streams.rules.subject import text


class Carried(NamedTuple):
    """What of a record a match carries besides its place and labels."""

    value: float = 0.0
    term: str = ""


Read = Callable[[Mapping[str, Any], list[int]], Carried | None]
"""(record, which conditions of the rule are true of it) -> what the match carries; None: it is no match."""


def conditions(rule: Rule) -> list[Node]:
    """In the order of `Match.steps`."""
    aliases = INPUTS[rule.input].aliases
    where = parse(rule.where, aliases)
    if rule.type is Detection.PERCENTAGE_MATCH:
        return [where, _both(where, parse(rule.match, aliases))]
    if rule.steps:
        steps = [*rule.steps, *([rule.unless] if rule.unless else [])]
        return [_both(where, parse(step, aliases)) for step in steps]
    return [where]


def _both(left: Node, right: Node) -> Node:
    operands: list[Node] = []
    for each in (left, right):
        operands += each.operands if isinstance(each, All) else (each,)
    return All(tuple(operands))


def reader(rule: Rule) -> Read:
    if rule.type is Detection.PERCENTAGE_MATCH:
        return lambda _record, steps: Carried(value=100.0 if 1 in steps else 0.0) if 0 in steps else None
    if not rule.field:
        return lambda _record, _steps: Carried()
    parts = parse_path(rule.field, INPUTS[rule.input].aliases).parts
    if rule.type is Detection.METRIC and rule.aggregate is not Aggregate.COUNT:
        return lambda record, _steps: _number(at(record, parts))
    values = frozenset(rule.values)

    def term(record: Mapping[str, Any], _steps: list[int]) -> Carried | None:
        found = text(at(record, parts))
        if not found or (rule.type is Detection.BLACKLIST and found not in values):
            return None
        return None if rule.type is Detection.WHITELIST and found in values else Carried(term=found)

    return term


def _number(value: Any) -> Carried | None:
    """Numbers, also those that came as text; a field that is none is no match."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return Carried(value=number) if math.isfinite(number) else None
