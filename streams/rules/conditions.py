"""What a rule asks of one record, by its type: conditions to be compiled, and the value a match carries. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from schemas.rule_document import Aggregate, Detection, Rule
from streams.rules.inputs import INPUTS
from streams.rules.nodes import All, Literal, Node
from streams.rules.parser import parse, parse_path
from streams.rules.paths import at
from streams.rules.subject import text


class Carried(NamedTuple):
    """What of a record a match carries besides its place and labels."""

    value: float = 0.0
    term: str = ""


ALWAYS = Literal(True)
Read = Callable[[Mapping[str, Any], list[int]], Carried | None]
"""(record, which conditions of the rule are true of it) -> what the match carries; None: it is no match."""


def conditions(rule: Rule) -> list[Node]:
    """All of them, over all its topics: what can go wrong with any, goes wrong here."""
    return [tree for topic in rule.topics for _, tree in asked(rule, topic)]


def asked(rule: Rule, topic: str) -> list[tuple[int, Node]]:
    """What is asked of records of one topic: (which of the rule's conditions, as in `Match.steps`; the condition)."""
    aliases = INPUTS[topic].aliases
    where = parse(rule.where, aliases)
    for of, text_ in rule.wheres:
        if of == topic:
            where = _both(where, parse(text_, aliases))
    if rule.type is Detection.PERCENTAGE_MATCH:
        return [(0, where), (1, _both(where, parse(rule.match, aliases)))]
    if rule.steps:
        steps = [*rule.steps, *([rule.unless] if rule.unless else [])]
        of_topic = [step for step in range(len(steps)) if not rule.step_inputs or rule.step_inputs[step] == topic]
        return [(step, _both(where, parse(steps[step], aliases))) for step in of_topic]
    return [(0, where)]


def _both(left: Node, right: Node) -> Node:
    if left == ALWAYS or right == ALWAYS:
        return right if left == ALWAYS else left
    operands: list[Node] = []
    for each in (left, right):
        operands += each.operands if isinstance(each, All) else (each,)
    return All(tuple(operands))


def reader(rule: Rule, topic: str) -> Read:
    if rule.type is Detection.PERCENTAGE_MATCH:
        return lambda _record, steps: Carried(value=100.0 if 1 in steps else 0.0) if 0 in steps else None
    if not rule.field:
        return lambda _record, _steps: Carried()
    parts = parse_path(rule.field, INPUTS[topic].aliases).parts
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
