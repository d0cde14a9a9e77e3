"""Sigma's correlations -> drafts. Source: sigma-correlation-rules-specification.md, version 2.1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from streams.rules.imports import conditions as c
from streams.rules.imports.draft import Draft, Refused
from streams.rules.imports.mapping import Mapped
from streams.rules.imports.sigma import Document, Search, described, origin
from streams.yaml_nodes import Node

_SPAN = re.compile(r"([1-9]\d{0,8})([smhd])")
_FIELDS = ("type", "rules", "group-by", "timespan", "condition", "aliases", "generate")
_COUNTS = ("gt", "gte", "lt", "lte", "eq", "neq")
METRICS = {"value_sum": "sum", "value_avg": "avg", "value_percentile": "p"}


def alone(document: Document) -> list[str]:
    """Names of the rules that make no alerts of their own, since this correlation names them."""
    if "correlation" not in document.fields or document.fields["correlation"].is_text:
        return []
    fields = document.fields["correlation"].fields()
    generates = fields.get("generate") or document.fields.get("generate")
    if generates is not None and generates.is_text and generates.text() in ("true", "True"):
        return []
    return [node.text() for node in _items(fields.get("rules")) if node.is_text]


def _items(node: Node | None) -> list[Node]:
    return [] if node is None else list(node.items()) if node.is_list else [node]


def draft(document: Document, by_name: Mapping[str, Document], mapped: Mapped) -> Draft:
    node = document.fields["correlation"]
    fields = node.known(_FIELDS)
    for name in ("type", "rules", "timespan"):
        if name not in fields:
            raise Refused(node.line, f"correlation: expected {name}")
    searches = [_search(each, by_name, mapped) for each in _items(fields["rules"])]
    inputs = {search.source.input for search in searches}
    if len(inputs) != 1:
        raise Refused(fields["rules"].line, f"rules over {' and '.join(sorted(inputs))}: a rule has one input here")
    span = _SPAN.fullmatch(fields["timespan"].text())
    if span is None:
        raise Refused(fields["timespan"].line, "timespan: expected a number and s, m, h or d")
    out = Draft(document.text("title"), inputs.pop(), c.ALWAYS, origin=origin(document))
    out.notes = [f"stands for the rules {', '.join(each.text() for each in _items(fields['rules']))}"]
    out.notes += list(dict.fromkeys(note for search in searches for note in search.notes))
    own = _detected(fields["type"], fields.get("condition"), searches, out)
    out.fields = {"group_by": _groups(fields, searches), "within": span[0], **own, **described(document)}
    return out


def _search(node: Node, by_name: Mapping[str, Document], mapped: Mapped) -> Search:
    found = by_name.get(node.text())
    if found is None:
        raise Refused(node.line, f"rules: no rule {node.text()} in these files")
    if "correlation" in found.fields:
        raise Refused(node.line, f"rules: {node.text()} is a correlation itself: there are none of these here")
    return Search(found, mapped)


def _groups(fields: Mapping[str, Node], searches: list[Search]) -> list[str]:
    """Paths. An alias names a field for each rule: here it has to be one and the same."""
    aliases = fields["aliases"].fields() if "aliases" in fields else {}
    out = []
    for node in _items(fields.get("group-by")):
        name = node.text()
        theirs = aliases[name].texts().values() if name in aliases else [name]
        paths = {search.path(each) for search in searches for each in theirs}
        if len(paths) != 1:
            raise Refused(node.line, f"group-by {name}: fields of different names cannot be one group here")
        out.append(paths.pop())
    return out


def _detected(type_: Node, condition: Node | None, searches: list[Search], out: Draft) -> dict[str, Any]:
    """The fields of the detection type; sets the draft's condition."""
    kind = type_.text()
    found = [search.condition() for search in searches]
    if kind in ("temporal", "temporal_ordered"):
        if condition is not None and _count(condition) not in (("gte", len(found)), ("eq", len(found))):
            raise Refused(condition.line, "condition: all of the rules have to match here")
        return {"type": "join" if kind == "temporal" else "sequence", "steps": [each.text for each in found]}
    if condition is None:
        raise Refused(type_.line, "correlation: expected condition")
    out.where = c.any_of(found)
    op, count = _count(condition)
    if kind == "event_count":
        return _counted(op, count, condition, out)
    if kind not in ("value_count", *METRICS):
        raise Refused(type_.line, f"type {kind}: not known here")
    fields = condition.fields()
    if "field" not in fields or not fields["field"].is_text:
        raise Refused(condition.line, "condition: expected field, one of them")
    paths = {search.path(fields["field"].text()) for search in searches}
    if len(paths) != 1:
        raise Refused(fields["field"].line, "field: it has different names in these rules")
    if kind == "value_count":
        return {"type": "cardinality", "field": paths.pop(), **_bound(op, count, condition)}
    aggregate = METRICS[kind]
    if aggregate == "p":
        percentile = fields["percentile"].text() if "percentile" in fields else "50"
        aggregate = f"p{percentile}"
    if op not in ("gt", "lt"):
        raise Refused(condition.line, f"condition: {op}: of a measure there is gt and lt")
    return {"type": "metric", "field": paths.pop(), "aggregate": aggregate, "above" if op == "gt" else "below": count}


def _count(condition: Node) -> tuple[str, int]:
    found = [(op, node) for op, node in condition.fields().items() if op in _COUNTS]
    if len(found) != 1:
        raise Refused(condition.line, f"condition: expected one of {', '.join(_COUNTS)}")
    return found[0][0], found[0][1].number()


def _counted(op: str, count: int, condition: Node, out: Draft) -> dict[str, Any]:
    if op in ("gt", "gte"):
        return {"type": "frequency", "count": count + (op == "gt")}
    if op in ("lt", "lte"):
        out.notes.append("begins when a first record of a group was seen, and is given up after a day without any")
        return {"type": "flatline", "count": count + (op == "lte")}
    raise Refused(condition.line, f"condition: {op}: a count is a least or a greatest one here")


def _bound(op: str, count: int, condition: Node) -> dict[str, Any]:
    bounds = {"gt": ("above", count), "gte": ("above", count - 1), "lt": ("below", count), "lte": ("below", count + 1)}
    if op not in bounds:
        raise Refused(condition.line, f"condition: {op}: a count is a least or a greatest one here")
    name, value = bounds[op]
    return {name: value}
