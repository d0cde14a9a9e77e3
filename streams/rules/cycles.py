"""Rules over alerts that would feed themselves: whose alerts may match whose conditions, and what goes round. Pure.

What is known of a rule's alert before there is one: its name, severity, labels, tenant and source. A condition that
cannot be true of it is no way; one that may be (it looks at what only a record can say) is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from schemas.rule_document import LEVEL_LABELS, Rule
from streams.rules import nodes
from streams.rules.conditions import asked
from streams.rules.general import general
from streams.rules.inputs import INPUTS, METRICS
from streams.rules.lexer import SyntaxProblem
from streams.rules.nodes import Node
from streams.rules.parser import parse_path

OF_ALERTS = ("alerts", "alerts.state")
_KNOWN = frozenset({"source", "tenant"})


def cycles(rules: Iterable[Rule]) -> list[tuple[Rule, str]]:
    """Rules without which no way leads back to itself, each with the way it was on: `A -> B -> A`."""
    found = list(rules)
    readers = [rule for rule in found if any(topic in OF_ALERTS for topic in rule.topics)]
    if not readers:
        return []
    feeds = {rule.key: [each for each in readers if _feeds(rule, each)] for rule in readers}
    out, gone = [], set[str]()
    for rule in readers:
        if way := _way_back(rule, feeds, gone):
            gone.add(rule.key)
            out.append((rule, " -> ".join(each.name for each in (*way, rule))))
    return out


def complaint(rule: Rule, way: str) -> str:
    return (
        f"{rule.file}:{rule.line}: where: its alerts would match again: {way}; "
        f'leave them out: labels.alertname != "{rule.name}"'
    )


def _way_back(rule: Rule, feeds: dict[str, list[Rule]], gone: set[str]) -> list[Rule]:
    """The shortest way from a rule back to itself, without its end; empty where there is none."""
    ways, seen = [[rule]], {rule.key, *gone}
    while ways:
        way = ways.pop(0)
        for after in feeds[way[-1].key]:
            if after.key == rule.key:
                return way
            if after.key not in seen:
                seen.add(after.key)
                ways.append([*way, after])
    return []


def _feeds(maker: Rule, reader: Rule) -> bool:
    """Whether an alert of `maker` may be a match of `reader`."""
    trees = [tree for topic in OF_ALERTS if topic in reader.topics for _, tree in asked(reader, topic)]
    return any(_may_be(tree, record, open_, truth=True) for tree in trees for record, open_ in _alerts(maker))


def _alerts(rule: Rule) -> Iterable[tuple[dict[str, Any], Collection[str] | None]]:
    """What is surely so of the rule's alerts, one for each severity; and its labels that only a record tells (None: any
    there may be)."""
    open_ = None if rule.input == METRICS else _labels_of_records(rule)
    for severity in [severity for severity, _ in rule.severities] or [rule.severity]:
        labels = rule.labels | {"alertname": rule.name, "severity": severity}
        yield {"labels": labels, "source": f"rule/{rule.key}", "tenant": rule.tenant}, open_


def _labels_of_records(rule: Rule) -> set[str]:
    out = {*LEVEL_LABELS[rule.level], *(label for label, _ in rule.keys)}
    for name in rule.group_by:
        out.add(name)
        try:
            out.add(str(parse_path(name, INPUTS[rule.input].aliases).parts[-1]))
        except SyntaxProblem:
            continue
    return out


def _may_be(node: Node, record: dict[str, Any], open_: Collection[str] | None, *, truth: bool) -> bool:
    match node:
        case nodes.Not(operand=operand):
            return _may_be(operand, record, open_, truth=not truth)
        case nodes.All(operands=operands):
            some = all if truth else any
            return some(_may_be(each, record, open_, truth=truth) for each in operands)
        case nodes.Any(operands=operands):
            some = any if truth else all
            return some(_may_be(each, record, open_, truth=truth) for each in operands)
    if not all(_is_known(path.parts, record, open_) for path in nodes.paths([node])):
        return True
    return general(node)(record) is truth


def _is_known(parts: tuple[str | int, ...], record: dict[str, Any], open_: Collection[str] | None) -> bool:
    if len(parts) == 2 and parts[0] == "labels":
        return parts[1] in record["labels"] or (open_ is not None and parts[1] not in open_)
    return len(parts) == 1 and parts[0] in _KNOWN
