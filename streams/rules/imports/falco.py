"""Falco's rule files over Kubernetes' audit events -> drafts over kube.audit.

Source: falco.org's documentation of rules, macros, lists, exceptions, `append` and `override`; files are read in their
order, and what a later one says of a name replaces or extends what was said before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from streams.rules.imports import conditions as c
from streams.rules.imports.conditions import Condition
from streams.rules.imports.draft import Draft, Outcome, Refused, attempt, words
from streams.rules.imports.falco_checks import checked
from streams.rules.imports.falco_condition import Check, Joined, Macro, Not, Tree, Value, Wrong, parse
from streams.rules.imports.falco_fields import FIELDS
from streams.yaml_nodes import Node

SOURCES = ("k8s_audit",)
SEVERITY = {
    "emergency": "critical", "alert": "critical", "critical": "critical", "error": "critical", "warning": "warning",
    "notice": "info", "info": "info", "informational": "info", "debug": "info",
}  # fmt: skip
KINDS = ("rule", "macro", "list")
OTHERS = ("required_engine_version", "required_plugin_versions")
RULE = (
    "rule", "desc", "condition", "output", "priority", "source", "tags", "enabled", "exceptions", "append", "override",
    "skip-if-unknown-filter", "warn_evttypes", "capture", "capture_duration",
)  # fmt: skip
GROUP = ["user.username", "verb", "objectRef.resource", "objectRef.namespace", "objectRef.name"]
MAX_ITEMS = 1000
MAX_DEPTH = 12
MAX_CHECKS = 2000
_FIELD = re.compile(r"%((?:ka|jevt)\.[A-Za-z0-9_.]*[A-Za-z0-9_](?:\[[^\]]*\])?)")


def is_rules(root: Node) -> bool:
    if not root.is_list:
        return False
    first = next(root.items(), None)
    return first is not None and not first.is_list and not first.is_text and bool(
        first.fields().keys() & {*KINDS, *OTHERS}
    )  # fmt: skip


@dataclass
class Known:
    """A rule as it is after all that was said of it. `said`: texts by field."""

    file: str
    node: Node
    condition: str = ""
    exceptions: list[Node] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    enabled: bool = True
    wrong: Refused | None = None


class Rules:
    """Everything of some files, in their order."""

    def __init__(self) -> None:
        self.rules: dict[str, Known] = {}
        self.macros: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}

    def read(self, file: str, node: Node) -> None:
        fields = node.fields()
        kind = next((kind for kind in KINDS if kind in fields), None)
        if kind is None:
            if not fields.keys() & set(OTHERS):
                raise Refused(node.line, f"expected one of {', '.join(KINDS)}")
            return
        name = fields[kind].text()
        override = fields["override"].texts() if "override" in fields else {}
        appends = "append" in fields and fields["append"].flag()
        if kind == "list":
            items = [item.text() for item in fields["items"].items()] if "items" in fields else []
            more = appends or override.get("items") == "append"
            self.lists[name] = (self.lists.get(name, []) if more else []) + items
        elif kind == "macro":
            text = fields["condition"].text() if "condition" in fields else ""
            more = appends or override.get("condition") == "append"
            self.macros[name] = f"{self.macros.get(name, '')} {text}" if more else text
        else:
            self._rule(file, node, name, fields, override, appends=appends)

    def _rule(
        self, file: str, node: Node, name: str, fields: dict[str, Node], override: dict[str, str], *, appends: bool
    ) -> None:
        node.known(RULE)
        known = self.rules.get(name)
        if known is None or not (appends or override or fields.keys() <= {"rule", "enabled"}):
            if appends or override:
                raise Refused(node.line, f"{name}: changes a rule that is not there")
            known = self.rules[name] = Known(file, node)
        if "condition" in fields:
            text = fields["condition"].text()
            more = appends or override.get("condition") == "append"
            known.condition = f"{known.condition} {text}" if more else text
        if "exceptions" in fields:
            more = appends or override.get("exceptions") == "append"
            known.exceptions = (known.exceptions if more else []) + list(fields["exceptions"].items())
        for each in ("desc", "output", "priority", "source"):
            if each in fields:
                text = fields[each].text()
                known.said[each] = f"{known.said.get(each, '')} {text}" if override.get(each) == "append" else text
        if "enabled" in fields:
            known.enabled = fields["enabled"].flag()

    def items(self, value: str, depth: int = 0) -> list[str]:
        """What a bare word in a list stands for: itself, or the items of the list of this name."""
        if value not in self.lists:
            return [value]
        if depth > MAX_DEPTH:
            raise Wrong(f"{value}: lists that name each other without end")
        out = [more for each in self.lists[value] for more in self.items(each, depth + 1)]
        if len(out) > MAX_ITEMS:
            raise Wrong(f"{value}: more than {MAX_ITEMS} items")
        return out


def outcomes(documents: Iterable[tuple[str, Node]]) -> list[Outcome]:
    rules = Rules()
    out: list[Outcome] = []
    for file, root in documents:
        for node in root.items():
            out += [each for each in attempt(file, node, "", lambda: _read(rules, file, node))]  # noqa: B023, C416
    for name, known in rules.rules.items():
        out += attempt(known.file, known.node, name, lambda: _draft(name, known, rules))  # noqa: B023
    return out


def _read(rules: Rules, file: str, node: Node) -> list[Draft]:
    rules.read(file, node)
    return []


def _draft(name: str, known: Known, rules: Rules) -> Draft:
    line = known.node.line
    source = known.said.get("source", "syscall")
    if source not in SOURCES:
        raise Refused(line, f"source {source}: only Kubernetes' audit events are records here")
    try:
        where = _Translation(rules).condition(_with_exceptions(parse(known.condition), known.exceptions))
    except Wrong as wrong:
        raise Refused(line, str(wrong)) from None
    if where == c.NEVER:
        raise Refused(line, "its condition is never true as it stands: a macro of it is to be filled in first")
    priority = known.said.get("priority", "").lower()
    if priority not in SEVERITY:
        raise Refused(line, f"priority: expected one of {', '.join(SEVERITY)}, not {priority or 'nothing'}")
    draft = Draft(name, "kube.audit", where, origin=f"{known.file}:{line}")
    draft.fields = {
        "group_by": list(GROUP),
        "severity": SEVERITY[priority],
        "labels": {"falco_priority": priority},
        "annotations": {
            "summary": _output(known.said.get("output", name), draft),
            "description": words(known.said.get("desc", "")),
        },
        "enabled": None if known.enabled else False,
    }
    if not draft.fields["annotations"]["description"]:
        del draft.fields["annotations"]["description"]
    return draft


def _output(text: str, draft: Draft) -> str:
    """Fields that alerts carry as labels; others are left out and told of."""
    left_out: list[str] = []

    def label(found: re.Match[str]) -> str:
        known = FIELDS.get(found[1])
        if known is not None and known.last in GROUP:
            return f"{{{{ labels.{known.last.rpartition('.')[2]} }}}}"
        left_out.append(found[0])
        return "-"

    plain = re.sub(r"\{\{|\}\}", lambda braces: " ".join(braces[0]), text.strip())
    out = _FIELD.sub(label, plain)
    if left_out:
        draft.notes.append(f"left out of the text: {', '.join(dict.fromkeys(left_out))}")
    return out


def _with_exceptions(tree: Tree, exceptions: list[Node]) -> Tree:
    """Each row of values of an exception is what the rule is not about."""
    parts: list[Tree] = [tree]
    rows: dict[str, tuple[Node, Node | None]] = {}
    for node in exceptions:
        fields = node.known(("name", "fields", "comps", "values"))
        name = fields["name"].text() if "name" in fields else ""
        if "fields" in fields:
            rows[name] = (fields["fields"], fields.get("comps"))
        if name not in rows:
            raise Wrong(f"exceptions: {name}: expected fields")
        if "values" in fields:
            parts += [Not(_row(*rows[name], each)) for each in _values(rows[name][0], fields["values"])]
    return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))


def _values(fields: Node, values: Node) -> list[list[Node]]:
    if fields.is_list:
        return [list(row.items()) for row in values.items()]
    return [[values]]


def _row(fields: Node, comps: Node | None, row: list[Node]) -> Tree:
    names = [item.text() for item in fields.items()] if fields.is_list else [fields.text()]
    default = "=" if fields.is_list else "in"
    ops = [item.text() for item in (comps.items() if comps.is_list else [comps])] if comps else [default] * len(names)
    if not len(names) == len(ops) == len(row):
        raise Wrong(f"exceptions: expected {len(names)} values and as many comps")
    checks: list[Tree] = []
    for name, op, node in zip(names, ops, row, strict=True):
        values = [item.text() for item in node.items()] if node.is_list else [node.text()]
        found = re.fullmatch(r"([A-Za-z0-9_.]+)(?:\[(.*)\])?", name)
        if found is None:
            raise Wrong(f"exceptions: {name}: not a field")
        bare = tuple(Value(value.strip("\"'"), False) for value in values)
        checks.append(Check(found[1], found[2] or "", op, bare, listed=op in ("in", "intersects", "pmatch")))
    return checks[0] if len(checks) == 1 else Joined("and", tuple(checks))


class _Translation:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._checks = 0

    def condition(self, tree: Tree, depth: int = 0) -> Condition:
        if depth > 2 * MAX_DEPTH:
            raise Wrong("macros that name each other without end")
        match tree:
            case Joined(op=op, parts=parts):
                return (c.all_of if op == "and" else c.any_of)([self.condition(part, depth) for part in parts])
            case Not(operand=operand):
                return c.negated(self.condition(operand, depth))
            case Macro(name=name):
                if name not in self._rules.macros:
                    raise Wrong(f"no macro {name}")
                return self.condition(parse(self._rules.macros[name]), depth + 1)
            case Check():
                self._checks += 1
                if self._checks > MAX_CHECKS:
                    raise Wrong(f"more than {MAX_CHECKS} tests in all its macros")
                return checked(replace(tree, values=tuple(self._values(tree))))

    def _values(self, check: Check) -> Iterable[Value]:
        for value in check.values:
            named = not value.quoted and check.listed
            yield from (Value(each, True) for each in self._rules.items(value.text)) if named else (value,)
