"""The fields of a rule that belong to its detection type, read from YAML: which must be there, which may not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from schemas.rule_document import MOMENTARY, Aggregate, Detection, Direction
from streams.rules.inputs import Input, check_fields
from streams.rules.lexer import SyntaxProblem
from streams.rules.parser import parse, parse_path
from streams.rules.types import MEANINGS, NEEDS, OWN, of_field, takes
from streams.yaml_nodes import Node, one_of

MAX_WINDOW_MS = 7 * 86_400_000
MAX_STEPS = 8
MAX_SEVERITIES = 8
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
MAX_VALUES = 1000
MOMENT_MS = 300_000
"""How long an alert of a moment fires, unless the rule says."""
FORGET_MS = 86_400_000
LEARN_MS = 3_600_000
DAY = "expected at most 7d"


class TypedFields:
    """Complains through the nodes and goes on."""

    def __init__(self, node: Node, fields: Mapping[str, Node], source: Input | None) -> None:
        self._node = node
        self._fields = fields
        self._source = source

    def read(self, type_: Detection) -> dict[str, Any]:
        """Fields of `schemas.rule_document.Rule`."""
        self._require(type_)
        within = self.duration("within", 0)
        moment = MOMENT_MS if type_ in MOMENTARY else 0
        return {
            "type": type_,
            "count": self._count(type_),
            "within_ms": within,
            "field": self._path("field"),
            "values": self._values(),
            "match": condition(self._fields["match"], self._source) if "match" in self._fields else "",
            "steps": self._steps(),
            "unless": condition(self._fields["unless"], self._source) if "unless" in self._fields else "",
            "aggregate": self._aggregate(type_),
            **self.bounds(),
            "times": self._times(),
            "direction": self._direction(),
            "learn_ms": self.duration("learn", min(within, LEARN_MS) if type_ is Detection.NEW_TERM else 0),
            "forget_ms": self.duration("forget", FORGET_MS if type_ is Detection.FLATLINE else 0),
            "keep_firing_for_ms": self.duration("keep_firing_for", moment),
        }

    def _require(self, type_: Detection) -> None:
        needs, mine = NEEDS[type_], takes(type_)
        for name in needs.required:
            if name not in self._fields:
                self._node.fail(f"expected {name}: {MEANINGS[name]}")
        for name in OWN:
            if name in self._fields and name not in mine:
                self._fields[name].fail(f"belongs to type: {of_field(name)}")
        if needs.bound and ("above" in self._fields) == ("below" in self._fields):
            self._node.fail("expected one of above and below: a number")
        if "within" in needs.required and "within" in self._fields and self.duration("within", 1) < 1:
            self._fields["within"].fail("expected more than 0")

    def duration(self, name: str, default: int) -> int:
        if name not in self._fields:
            return default
        value = self._fields[name].duration_ms(default)
        if value > MAX_WINDOW_MS:
            self._fields[name].fail(DAY)
        return value

    def _count(self, type_: Detection) -> int:
        if "count" not in self._fields:
            return 1
        count = self._fields["count"].number()
        if count < 1:
            self._fields["count"].fail("expected 1 or more")
        return count

    def bounds(self) -> dict[str, Any]:
        """`above` or `below`: a number, or one for each severity."""
        out: dict[str, Any] = {}
        for name in ("above", "below"):
            node = self._fields.get(name)
            if node is None:
                continue
            if node.is_text:
                out[name] = node.checked(_finite, 0.0)
                continue
            if "severity" in self._fields:
                self._fields["severity"].fail(f"{name} says it by value: give one")
            of = {word: child.checked(_finite, 0.0) for word, child in node.fields().items()}
            if not 0 < len(of) <= MAX_SEVERITIES:
                node.fail(f"expected a number, or 1 to {MAX_SEVERITIES} severities, each with one")
                continue
            out["severities"] = tuple(sorted(of.items(), key=lambda each: each[1], reverse=name == "above"))
            out[name] = out["severities"][-1][1]
            for word, child in node.fields().items():
                if not WORD.fullmatch(word):
                    child.fail("expected a severity of letters, digits, _ . : -")
        return out

    def _times(self) -> float:
        if "times" not in self._fields:
            return 0.0
        times = self._fields["times"].checked(_finite, 1.0)
        if times < 1:
            self._fields["times"].fail("expected 1 or more")
        return times

    def _path(self, name: str) -> str:
        if name not in self._fields:
            return ""
        node = self._fields[name]
        text = node.text()
        try:
            path = parse_path(text, self._source.aliases if self._source else None)
            check_fields(path, self._source.struct if self._source else None)
        except SyntaxProblem as problem:
            node.fail(f"expected a field of the record: {problem}")
        return text

    def _values(self) -> tuple[str, ...]:
        if "values" not in self._fields:
            return ()
        values = tuple(item.text() for item in self._fields["values"].items())
        if not 0 < len(values) <= MAX_VALUES:
            self._fields["values"].fail(f"expected 1 to {MAX_VALUES} values")
        return values

    def _steps(self) -> tuple[str, ...]:
        if "steps" not in self._fields:
            return ()
        steps = tuple(condition(item, self._source) for item in self._fields["steps"].items())
        least = 1 if "unless" in self._fields else 2
        if not least <= len(steps) <= MAX_STEPS:
            self._fields["steps"].fail(f"expected {least} to {MAX_STEPS} conditions")
        return steps

    def _aggregate(self, type_: Detection) -> Aggregate:
        named = "aggregate" in self._fields
        aggregate = self._fields["aggregate"].checked(one_of(Aggregate), Aggregate.AVG) if named else Aggregate.AVG
        if type_ is Detection.METRIC and aggregate is not Aggregate.COUNT and "field" not in self._fields:
            self._node.fail(f"expected field: {MEANINGS['field']}")
        return aggregate

    def _direction(self) -> Direction:
        named = "direction" in self._fields
        return self._fields["direction"].checked(one_of(Direction), Direction.UP) if named else Direction.UP


def condition(node: Node, source: Input | None) -> str:
    """The text of a condition, complained about where it is none on records of `source`."""
    text = node.text()
    try:
        tree = parse(text, source.aliases if source else None)
        check_fields(tree, source.struct if source else None)
    except SyntaxProblem as problem:
        line, column = node.position(text, problem.at)
        node.errors.add(line, node.path, f"{problem} (character {column})")
    return text


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a number, not {text[:40]!r}")
    return value
