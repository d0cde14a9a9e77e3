"""The fields of a rule that belong to its detection type, read from YAML: which must be there, which may not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from schemas.rule_document import MOMENTARY, Aggregate, Detection, Direction, Windowing, Without
from streams.rules import nodes
from streams.rules.inputs import Input, check_fields
from streams.rules.lexer import SyntaxProblem
from streams.rules.macros import Definitions, Written
from streams.rules.parser import parse, parse_path
from streams.rules.types import MEANINGS, NEEDS, OWN, of_field, takes
from streams.yaml_nodes import Node, one_of

MAX_WINDOW_MS = 7 * 86_400_000
MAX_STEPS = 8
MAX_SEVERITIES = 8
MAX_HOPS = 1000
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
MAX_VALUES = 1000
MOMENT_MS = 300_000
"""How long an alert of a moment fires, unless the rule says."""
FORGET_MS = 86_400_000
LEARN_MS = 3_600_000
DAY = "expected at most 7d"
NONE = Definitions()


class TypedFields:
    """Complains through the nodes and goes on."""

    def __init__(
        self, node: Node, fields: Mapping[str, Node], sources: Sequence[Input], names: Definitions = NONE
    ) -> None:
        self._node = node
        self._fields = fields
        self._sources = sources
        self._names = names

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
            "match": condition(self._fields["match"], self._sources, self._names) if "match" in self._fields else "",
            **(self._counts() if type_ is Detection.EXPRESSION else self._steps()),
            **self._window(within),
            "on_no_data": self._on_no_data(),
            "aggregate": self._aggregate(type_),
            **self.bounds(),
            "times": self._times(),
            "direction": self._direction(),
            "learn_ms": self.duration("learn", min(within, LEARN_MS) if type_ is Detection.NEW_TERM else 0),
            "forget_ms": self.duration(
                "forget", FORGET_MS if type_ is Detection.FLATLINE or "on_no_data" in self._fields else 0
            ),
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
        return field_path(self._fields[name], self._sources, self._names) if name in self._fields else ""

    def _values(self) -> tuple[str, ...]:
        if "values" not in self._fields:
            return ()
        values = tuple(item.text() for item in self._fields["values"].items())
        if not 0 < len(values) <= MAX_VALUES:
            self._fields["values"].fail(f"expected 1 to {MAX_VALUES} values")
        return values

    def _steps(self) -> dict[str, Any]:
        """Conditions, each of any of the rule's inputs or of the one it names."""
        nodes = list(self._fields["steps"].items()) if "steps" in self._fields else []
        least = 1 if "unless" in self._fields else 2
        if "steps" in self._fields and not least <= len(nodes) <= MAX_STEPS:
            self._fields["steps"].fail(f"expected {least} to {MAX_STEPS} conditions")
        more = [self._fields["unless"]] if "unless" in self._fields else []
        found = [self._step(node) for node in nodes + more]
        inputs = tuple(topic for topic, _ in found)
        texts = [text for _, text in found]
        if any(inputs) and not all(inputs):
            for node in (node for node, topic in zip(nodes + more, inputs, strict=True) if not topic):
                node.fail("expected {input: ..., where: ...}, as the other steps have it")
        return {
            "steps": tuple(texts[: len(nodes)]),
            "unless": texts[-1] if more else "",
            "step_inputs": inputs if any(inputs) else (),
        }

    def _counts(self) -> dict[str, Any]:
        """Named conditions, and the expression over how often each was met."""
        fields = self._fields["counts"].fields() if "counts" in self._fields else {}
        if "counts" in self._fields and not 0 < len(fields) <= MAX_STEPS:
            self._fields["counts"].fail(f"expected 1 to {MAX_STEPS} names, each with a condition")
        found = {}
        for name, node in fields.items():
            if not _IDENTIFIER.fullmatch(name):
                node.fail("expected a name of letters, digits and _")
            found[name] = self._step(node)
        inputs = [topic for topic, _ in found.values()]
        if any(inputs) and not all(inputs):
            self._fields["counts"].fail("expected {input: ..., where: ...} for all of them, or for none")
        return {
            "steps": tuple(text for _, text in found.values()),
            "step_inputs": tuple(inputs) if any(inputs) else (),
            "counts": tuple(found),
            "expression": self._expression(found),
        }

    def _expression(self, names: Collection[str]) -> str:
        if "expression" not in self._fields:
            return ""
        node = self._fields["expression"]
        text = node.text()
        try:
            tree = parse(text)
            for path in nodes.paths([tree]):
                if len(path.parts) > 1 or path.parts[0] not in names:
                    raise SyntaxProblem(path.at, f"no count called {path.parts[0]}: there is {', '.join(names)}")
        except SyntaxProblem as problem:
            line, column = node.position(text, problem.at)
            node.errors.add(line, node.path, f"{problem} (character {column})")
        return text

    def _window(self, within_ms: int) -> dict[str, Any]:
        kind = Windowing.SLIDING
        if "window" in self._fields:
            kind = self._fields["window"].checked(one_of(Windowing), kind)
        for name, of in (("hop", Windowing.HOPPING), ("gap", Windowing.SESSION)):
            if name in self._fields and kind is not of:
                self._fields[name].fail(f"belongs to window: {of}")
            if name not in self._fields and kind is of:
                self._node.fail(
                    f"expected {name}: {'how often windows end' if name == 'hop' else 'what ends a session'}"
                )
        hop_ms = self.duration("hop", within_ms if kind is Windowing.TUMBLING else 0)
        gap_ms = self.duration("gap", 0)
        if "hop" in self._fields and not 0 < hop_ms <= within_ms <= hop_ms * MAX_HOPS:
            self._fields["hop"].fail(f"expected at most within, and at least a {MAX_HOPS}th of it")
        if kind is Windowing.SESSION and "gap" in self._fields and not 0 < gap_ms <= within_ms:
            self._fields["gap"].fail("expected more than 0, and at most within: the longest session")
        return {"window": kind, "hop_ms": hop_ms, "gap_ms": gap_ms}

    def _on_no_data(self) -> Without:
        if "on_no_data" not in self._fields:
            return Without.OK
        found = self._fields["on_no_data"].checked(one_of(Without), Without.OK)
        if found is Without.ERROR:
            self._fields["on_no_data"].fail("expected one of ok, keep, firing, no_data")
        return found

    def _step(self, node: Node) -> tuple[str, str]:
        """(its input, its condition)."""
        if node.is_text:
            return "", condition(node, self._sources, self._names)
        fields = node.known(("input", "where"))
        for name in ("input", "where"):
            if name not in fields:
                node.fail(f"expected {name}")
                return "", ""
        topic = fields["input"].text()
        mine = [source for source in self._sources if source.topic == topic]
        if not mine:
            fields["input"].fail(f"expected one of {', '.join(s.topic for s in self._sources)}, not {topic[:40]!r}")
        return topic, condition(fields["where"], mine, self._names)

    def _aggregate(self, type_: Detection) -> Aggregate:
        named = "aggregate" in self._fields
        aggregate = self._fields["aggregate"].checked(one_of(Aggregate), Aggregate.AVG) if named else Aggregate.AVG
        if type_ is Detection.METRIC and aggregate is not Aggregate.COUNT and "field" not in self._fields:
            self._node.fail(f"expected field: {MEANINGS['field']}")
        return aggregate

    def _direction(self) -> Direction:
        named = "direction" in self._fields
        return self._fields["direction"].checked(one_of(Direction), Direction.UP) if named else Direction.UP


def condition(node: Node, sources: Sequence[Input], names: Definitions = NONE) -> str:
    """The text of a condition with its names written out; complained about where it is none on records of `sources`."""
    return _written(node, node.text(), sources, names, parse, "")


def field_path(node: Node, sources: Sequence[Input], names: Definitions = NONE) -> str:
    """The text of a field, complained about where records of `sources` have none such."""
    return _written(node, node.text(), sources, names, parse_path, "expected a field of the record: ")


def _written(
    node: Node,
    text: str,
    sources: Sequence[Input],
    names: Definitions,
    read: Callable[[str, dict[str, tuple[str, ...]] | None], nodes.Node],
    said: str,
) -> str:
    written = Written(text)
    try:
        written = names.written(text)
        for source in sources or (None,):
            tree = read(written.text, source.aliases if source else None)
            check_fields(tree, source.struct if source else None)
    except SyntaxProblem as problem:
        at, name = written.place(problem.at)
        line, column = node.position(text, at)
        within = f" in {name}" if name else ""
        node.errors.add(line, node.path, f"{said}{problem} (character {column}{within})")
        return text
    return written.text


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a number, not {text[:40]!r}")
    return value
