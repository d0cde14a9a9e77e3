"""A rule file (YAML) -> rules. All errors of a file are told, each with line, field and what is expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from schemas.alerts import NO_TENANT
from schemas.rule_document import LEVEL_LABELS, Detection, Level, Mode, Rule
from streams.rules import nodes, templates
from streams.rules.cases import tests_of
from streams.rules.inputs import INPUTS, METRICS, Input
from streams.rules.lexer import SyntaxProblem
from streams.rules.macros import DEFINITIONS, Definitions
from streams.rules.metric_fields import METRIC_FIELDS, MetricFields
from streams.rules.parser import parse_path
from streams.rules.subject import LABELS
from streams.rules.typed_fields import NONE, TypedFields, condition, field_path
from streams.rules.types import OWN
from streams.yaml_nodes import Errors, Node, one_of, read

C = TypeVar("C", bound=StrEnum)

MAX_RULES = 2000
MAX_LABELS = 32
MAX_LIMIT = 100_000
MAX_OWNER = 256
ALL = (*INPUTS, METRICS)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}")
_FIELDS = (
    "alert", "name", "input", "where", "level", "group_by", "type", "for", "keep_firing_for",
    "lateness", "severity", "labels", "annotations", "tenant", "enabled", "mode", "tests", "owner", "limit",
    *DEFINITIONS, *METRIC_FIELDS, *OWN,
)  # fmt: skip


def parse_document(text: str, file: str) -> tuple[list[Rule], list[str]]:
    """The rules of one file (or the one that is written there by itself, without groups), and what is wrong with it as
    `file:line: field: what is expected`."""
    errors = Errors(file)
    root = read(text, file, errors)
    rules: list[Rule] = []
    if root is not None and "alert" in (fields := root.fields()) and "groups" not in fields:
        rules += filter(None, [_Reader(root).rule("", file)])
    elif root is not None:
        fields = root.known(("groups", *DEFINITIONS))
        names = NONE.read(fields)
        if "groups" not in fields and not errors:
            root.fail("expected groups: a list of groups, each with name and rules")
        for group in fields["groups"].items() if "groups" in fields else ():
            rules += _group(group, file, names)
    _distinct(rules, errors)
    return ([] if errors else rules), str(errors).splitlines()


def parse_rule(text: str, file: str) -> tuple[Rule | None, list[str]]:
    """The one rule of a file: raises nothing, several are an error."""
    rules, errors = parse_document(text, file)
    if len(rules) != 1 and not errors:
        errors = [f"{file}:1: expected one rule, not {len(rules)}"]
    return (None if errors else rules[0]), errors


def _group(node: Node, file: str, names: Definitions) -> list[Rule]:
    fields = node.known(("name", "rules"))
    name = fields["name"].text() if "name" in fields else ""
    if not name:
        node.fail("expected a name")
    out = []
    for count, item in enumerate(fields["rules"].items() if "rules" in fields else ()):
        if count >= MAX_RULES:
            item.fail(f"more than {MAX_RULES} rules in a group")
            break
        if rule := _Reader(item, names).rule(name, file):
            out.append(rule)
    return out


def _distinct(rules: list[Rule], errors: Errors) -> None:
    seen: dict[str, Rule] = {}
    for rule in rules:
        if rule.key in seen:
            errors.add(rule.line, rule.name, f"the name is taken by the rule in line {seen[rule.key].line}")
        seen.setdefault(rule.key, rule)


class _Reader:
    """Reads one rule; complains through its nodes and goes on."""

    def __init__(self, node: Node, names: Definitions = NONE) -> None:
        self._node = node
        self._fields = node.known(_FIELDS)
        self._names = names.read(self._fields) if any(name in self._fields for name in DEFINITIONS) else names

    def rule(self, group: str, file: str) -> Rule | None:
        fields = self._fields
        if not fields:
            self._node.fail("expected a rule: alert, input, where, ...")
            return None
        name = self._name()
        return Rule(
            name=name,
            **self._over_metrics() if self._is_over_metrics() else self._over_records(),
            severity=self._word("severity", "warning"),
            limit=self._limit(),
            contact=self._contact(),
            labels=self._labels(),
            annotations=self._annotations(),
            tenant=self._word("tenant", NO_TENANT),
            enabled=fields["enabled"].flag() if "enabled" in fields else True,
            mode=self._choice("mode", Mode, Mode.LIVE),
            group=group,
            file=file,
            line=self._node.line,
            tests=tests_of(fields["tests"]) if "tests" in fields else (),
        )

    def _is_over_metrics(self) -> bool:
        return "input" in self._fields and self._fields["input"].is_text and self._fields["input"].text() == METRICS

    def _over_metrics(self) -> dict[str, Any]:
        return MetricFields(self._node, self._fields).read()

    def _over_records(self) -> dict[str, Any]:
        sources = self._inputs()
        for name in METRIC_FIELDS:
            if name in self._fields:
                self._fields[name].fail(f"belongs to input: {METRICS}")
        typed = TypedFields(self._node, self._fields, sources, self._names)
        level = self._choice("level", Level, Level.CLUSTER)
        return {
            "input": sources[0].topic if sources else "",
            "inputs": tuple(source.topic for source in sources) if len(sources) > 1 else (),
            **self._where(sources),
            "level": level,
            **self._group_by(level, sources),
            **typed.read(self._type()),
            "for_ms": typed.duration("for", 0),
            "lateness_ms": typed.duration("lateness", -1),
        }

    def _limit(self) -> int:
        if "limit" not in self._fields:
            return 0
        limit = self._fields["limit"].number()
        if not 0 < limit <= MAX_LIMIT:
            self._fields["limit"].fail(f"expected 1 to {MAX_LIMIT}")
        return limit

    def _contact(self) -> str:
        return self._fields["owner"].checked(_at_most(MAX_OWNER), "") if "owner" in self._fields else ""

    def _name(self) -> str:
        field = self._fields.get("alert") or self._fields.get("name")
        if field is None:
            self._node.fail("expected alert: the name of the alert")
            return ""
        if "alert" in self._fields and "name" in self._fields:
            self._fields["name"].fail("alert and name are the same field: give one")
        return field.checked(_matching(_NAME, "a name of letters, digits, _ . : -"), "")

    def _word(self, name: str, default: str) -> str:
        if name not in self._fields:
            return default
        return self._fields[name].checked(_matching(_NAME, "a word of letters, digits, _ . : -"), default)

    def _choice(self, name: str, kinds: type[C], default: C) -> C:
        if name not in self._fields:
            return default

        return self._fields[name].checked(one_of(kinds), default)

    def _inputs(self) -> list[Input]:
        """Of `input`, one or a list; without it, those that the steps name."""
        nodes = self._named_inputs()
        if not nodes:
            self._node.fail(f"expected input: one of {', '.join(ALL)}")
        out: dict[str, Input] = {}
        for node in nodes:
            text = node.text()
            if text and text not in INPUTS:
                node.fail(f"expected one of {', '.join(ALL)}, not {text[:40]!r}")
            if text in INPUTS:
                out[text] = INPUTS[text]
        return list(out.values())

    def _named_inputs(self) -> list[Node]:
        if "input" in self._fields:
            node = self._fields["input"]
            return list(node.items()) if node.is_list else [node]
        nodes: list[Node] = []
        for name in ("steps", "counts", "unless"):
            if name in self._fields:
                node = self._fields[name]
                nodes += node.items() if node.is_list else [node] if name == "unless" else node.fields().values()
        fields = [node.fields() for node in nodes if not node.is_text]
        return [each["input"] for each in fields if "input" in each]

    def _where(self, sources: list[Input]) -> dict[str, Any]:
        """One condition, or one for each input. Rules whose steps name their inputs need none."""
        if "where" not in self._fields:
            if "input" in self._fields:
                self._node.fail("expected where: a condition on the record")
            return {"where": "true"}
        node = self._fields["where"]
        if node.is_text:
            return {"where": condition(node, sources, self._names)}
        of = node.known([source.topic for source in sources])
        for source in sources:
            if source.topic not in of:
                node.fail(f"expected a condition for {source.topic} as well")
        wheres = tuple((name, condition(each, [INPUTS[name]], self._names)) for name, each in of.items())
        return {"where": "true", "wheres": wheres}

    def _type(self) -> Detection:
        windowed = "count" in self._fields or "within" in self._fields
        return self._choice("type", Detection, Detection.FREQUENCY if windowed else Detection.ANY)

    def _group_by(self, level: Level, sources: list[Input]) -> dict[str, Any]:
        out: list[str] = []
        keys: list[tuple[str, tuple[tuple[str, str], ...]]] = []
        names = set(LEVEL_LABELS[level])
        for item in self._fields["group_by"].items() if "group_by" in self._fields else ():
            if not item.is_text:
                keys += self._keys(item, names, sources)
                continue
            text = item.text()
            name = text
            if text not in LABELS:
                text = field_path(item, sources, self._names)
                name = self._label_of(text, sources)
            if name in names and text not in LEVEL_LABELS[level]:
                item.fail(f"would give the label {name} twice")
            if name not in names:
                out.append(text)
            names.add(name)
        if len(out) + len(keys) > MAX_LABELS:
            self._fields["group_by"].fail(f"more than {MAX_LABELS} labels")
        return {"group_by": tuple(out), "keys": tuple(keys)}

    def _label_of(self, text: str, sources: list[Input]) -> str:
        try:
            return label_name(parse_path(text, sources[0].aliases if sources else None))
        except SyntaxProblem:
            return text  # it was complained about

    def _keys(self, item: Node, names: set[str], sources: list[Input]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
        """`{label: field}`, or `{label: {input: field, ...}}`."""
        out = []
        for name, node in item.fields().items():
            if not _LABEL.fullmatch(name) or name in ("alertname", "severity", *LABELS):
                node.fail("expected the name of a label that is no other's: letters, digits and _")
            if name in names:
                node.fail(f"would give the label {name} twice")
            names.add(name)
            if node.is_text:
                text = field_path(node, sources, self._names)
                out.append((name, tuple((source.topic, text) for source in sources)))
                continue
            of = node.known([source.topic for source in sources])
            for source in sources:
                if source.topic not in of:
                    node.fail(f"expected a field for {source.topic} as well")
            out.append((name, tuple((t, field_path(each, [INPUTS[t]], self._names)) for t, each in of.items())))
        return out

    def _labels(self) -> dict[str, str]:
        out = {}
        for name, node in self._fields["labels"].fields().items() if "labels" in self._fields else ():
            if not _LABEL.fullmatch(name):
                node.fail("expected a label name: letters, digits and _, not beginning with a digit")
            if name in ("alertname", "severity", *LABELS):
                node.fail(f"{name} is set by the rule engine; for severity there is the field severity")
            out[name] = node.checked(_at_most(templates.MAX_VALUE), "")
        if len(out) > MAX_LABELS:
            self._fields["labels"].fail(f"more than {MAX_LABELS} labels")
        return out

    def _annotations(self) -> dict[str, str]:
        out = {}
        for name, node in self._fields["annotations"].fields().items() if "annotations" in self._fields else ():
            if not _LABEL.fullmatch(name):
                node.fail("expected an annotation name: letters, digits and _, not beginning with a digit")
            out[name] = node.text()
            if wrong := templates.check(out[name]):
                node.fail(wrong)
        if len(out) > MAX_LABELS:
            self._fields["annotations"].fail(f"more than {MAX_LABELS} annotations")
        return out


def label_name(path: nodes.Path) -> str:
    """The label a field gives: its last key, with what a label cannot hold as _."""
    name = re.sub(r"\W", "_", str(path.parts[-1]), flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() else name


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"expected {what}, not {text[:40]!r}")
        return text

    return check


def _at_most(limit: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if len(text) > limit:
            raise ValueError(f"longer than {limit} characters")
        return text

    return check
