"""KubeSphere's `Rule` objects -> drafts: events.kubesphere.io (kube-events) and auditing.kubesphere.io (kube-auditing).

Source: github.com/kubesphere/kube-events, pkg/apis/v1alpha1/rule_types.go and pkg/ruler/types/types.go; KubeSphere's
documentation of auditing rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from streams.rules.imports import conditions as c
from streams.rules.imports.conditions import Condition
from streams.rules.imports.draft import Draft, Outcome, Refused, attempt, conjuncts, labels_of, words
from streams.rules.imports.event_rules import Both, Test, Tree, Without, Wrong, parse
from streams.rules.imports.kube_fields import Field, audit_field, event_field
from streams.rules.parser import pattern
from streams.yaml_nodes import Node

Named = Callable[[str, int], Field]
GROUPS = ("events.kubesphere.io", "auditing.kubesphere.io")
EVENT_RULE = ("name", "condition", "labels", "annotations", "enable", "type")
AUDIT_RULE = ("name", "desc", "condition", "macro", "list", "alias", "enable", "output", "priority", "type")
MAX_EXPANDED = 32_768
_WORD = re.compile(r"%([0-9A-Za-z_.]+)")
_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_.-]+)\}")


def is_rule(fields: Mapping[str, Node]) -> bool:
    version = fields["apiVersion"].text() if "apiVersion" in fields and fields["apiVersion"].is_text else ""
    return version.split("/")[0] in GROUPS and "spec" in fields


def objects(root: Node) -> list[Node]:
    """The `Rule` objects of a document: itself, or the items of a `List` as kubectl prints them."""
    fields = {} if root.is_list or root.is_text else root.fields()
    if "kind" in fields and "items" in fields and fields["kind"].is_text and fields["kind"].text() == "List":
        return [each for item in fields["items"].items() for each in objects(item)]
    return [root] if is_rule(fields) else []


def outcomes(file: str, root: Node) -> Iterator[Outcome]:
    fields = root.fields()
    spec = fields["spec"].fields()
    audits = fields["apiVersion"].text().startswith("auditing.")
    rules = list(spec["rules"].items()) if "rules" in spec else []
    meta = fields["metadata"].fields() if "metadata" in fields else {}
    if not audits:
        for node in rules:
            found = node.fields()
            name = found["name"].text() if "name" in found else "rule"
            yield from attempt(file, node, name, lambda node=node: _event_rule(file, node))  # type: ignore[misc]
        return
    named = {each["name"].text(): each for node in rules if "name" in (each := node.fields())}
    archives = "labels" in meta and meta["labels"].texts().get("type") in ("archiving", "persistence")
    owner = meta["name"].text() if "name" in meta else ""
    for node in rules:
        found = node.fields()
        if "type" not in found or found["type"].text() == "rule":
            name = found["name"].text() if "name" in found else "rule"
            references = _References(named, owner, node.line)
            yield from attempt(file, node, name, lambda n=node, r=references: _audit_rule(file, n, r, archives))  # type: ignore[misc]


def _event_rule(file: str, node: Node) -> Draft:
    fields = node.known(EVENT_RULE)
    kind = fields["type"].text() if "type" in fields else ""
    if kind not in ("alert", "notification"):
        raise Refused(node.line, "expected type: alert or notification")
    where = condition(fields, "condition", node, event_field)
    level, group = _about(where)
    labels = fields["labels"].texts() if "labels" in fields else {}
    severity = labels.pop("severity", "warning" if kind == "alert" else "info")
    draft = Draft(fields["name"].text() if "name" in fields else "", "kube.events", where, origin=f"{file}:{node.line}")
    draft.fields = {
        "level": level,
        "group_by": group,
        "severity": severity,
        "labels": {"alerttype": "event"} | labels_of(labels, node.line),
        "enabled": None if "enable" in fields and fields["enable"].flag() else False,
    }
    texts = fields["annotations"].texts() if "annotations" in fields else {}
    draft.fields["annotations"] = {
        name: _said(text, draft, lambda name: event_field(name, node.line)) for name, text in texts.items()
    }
    return draft


def _about(where: Condition) -> tuple[str | None, list[str]]:
    """One alert an object, as kube-events has them."""
    for kind, level, group in (("Pod", "pod", ["container"]), ("Node", "node", list[str]())):
        if c.same("involved.kind", kind) in conjuncts(where):
            return level, group
    return None, ["namespace", "involved.kind", "involved.name", "container"]


def _said(text: str, draft: Draft, named: Callable[[str], Field], fields: re.Pattern[str] = _WORD) -> str:
    """A text for people, its fields as ours: what alerts do not carry becomes a label that tells them apart."""

    def field(found: re.Match[str]) -> str:
        known = named(found[1])
        if known.name == "message":
            return "{{ message }}"
        if known.name == "count":
            draft.notes.append(f"{found[0]} is the number of matches since the alert began")
            return "{{ count }}"
        carried = _CARRIED.get(draft.fields.get("level"), {})
        if known.name in carried:
            return f"{{{{ labels.{carried[known.name]} }}}}"
        group = draft.fields["group_by"]
        if known.name not in group:
            group.append(known.name)
        return f"{{{{ labels.{known.name.rpartition('.')[2]} }}}}"

    return fields.sub(field, re.sub(r"\{\{|\}\}", lambda braces: " ".join(braces[0]), text))


_CARRIED = {
    "pod": {"involved.name": "pod", "involved.namespace": "namespace", "namespace": "namespace"},
    "node": {"involved.name": "node"},
    None: {"involved.namespace": "namespace"},
}
"""Labels that alerts of a level have anyhow, by field."""


def _audit_rule(file: str, node: Node, references: _References, archives: bool) -> Draft:
    fields = node.known(AUDIT_RULE)
    if archives:
        raise Refused(node.line, "decides what is archived, it makes no alert: kube.audit keeps all of its retention")
    priority = fields["priority"].text() if "priority" in fields else ""
    where = condition(fields, "condition", node, audit_field, references)
    draft = Draft(fields["name"].text() if "name" in fields else "", "kube.audit", where, origin=f"{file}:{node.line}")
    draft.fields = {
        "group_by": ["user.username", "verb", "objectRef.resource", "objectRef.namespace", "objectRef.name"],
        "severity": priority.lower() or "warning",
        "labels": {"alerttype": "auditing"},
        "enabled": None if "enable" not in fields or fields["enable"].flag() else False,
        "annotations": {},
    }
    if "output" in fields:
        said = _said(
            fields["output"].text(), draft, lambda name: audit_field(references.alias(name), node.line), _REFERENCE
        )
        draft.fields["annotations"]["summary"] = said
    if "desc" in fields:
        draft.fields["annotations"]["description"] = words(fields["desc"].text())
    return draft


class _References:
    """`${name}` of macros, lists and aliases of the same object."""

    def __init__(self, named: Mapping[str, Mapping[str, Node]], owner: str, line: int) -> None:
        self._named = named
        self._owner = owner
        self._line = line

    def _found(self, name: str) -> Mapping[str, Node]:
        local = name.removeprefix(f"{self._owner}.")
        if local not in self._named:
            raise Refused(self._line, f"${{{name}}}: no macro, list or alias of this name in this object")
        return self._named[local]

    def alias(self, name: str) -> str:
        found = self._found(name)
        return found["alias"].text() if "alias" in found else name

    def expanded(self, text: str, depth: int = 0) -> str:
        if depth > 8 or len(text) > MAX_EXPANDED:
            raise Refused(self._line, "macros that name each other without end, or too long")

        def one(match: re.Match[str]) -> str:
            found = self._found(match[1])
            if "macro" in found:
                return f"({self.expanded(found['macro'].text(), depth + 1)})"
            if "alias" in found:
                return self.expanded(found["alias"].text(), depth + 1)
            items = found["list"].items() if "list" in found else ()
            return "(" + ",".join('"{}"'.format(item.text().strip('"')) for item in items) + ")"

        return _REFERENCE.sub(one, text)


def condition(
    fields: Mapping[str, Node], name: str, node: Node, named: Named, references: _References | None = None
) -> Condition:
    if name not in fields:
        raise Refused(node.line, f"expected {name}")
    text = fields[name].text()
    line, _ = fields[name].position(text, 0)
    try:
        tree = parse(references.expanded(text) if references else text)
    except Wrong as wrong:
        line = fields[name].position(text, min(wrong.at, len(text)))[0]
        raise Refused(line, f"{wrong} (character {wrong.at + 1} of the condition)") from None
    return _translated(tree, named, (lambda _: line) if references else lambda at: fields[name].position(text, at)[0])


def _translated(tree: Tree, named: Named, line_of: Callable[[int], int]) -> Condition:
    match tree:
        case Both(op=op, left=left, right=right):
            return (c.all_of if op == "and" else c.any_of)(
                [_translated(left, named, line_of), _translated(right, named, line_of)]
            )
        case Without(operand=operand):
            return c.negated(_translated(operand, named, line_of))
        case Test():
            return _test(tree, named, line_of(tree.at))


def _test(test: Test, named: Named, line: int) -> Condition:
    word = test.op.removeprefix("not ")
    if word == "exists":
        return _exists(test, named, line)
    return _in_lists(_of_field(test, word, named(test.field, line), line), named(test.field, line))


def _in_lists(found: Condition, field: Field) -> Condition:
    """One item of a list for which the whole test holds, also a negated one."""
    for items, name in reversed(field.lists):
        found = Condition(f"{items}.exists({name}, {found.text})")
    return found


def _of_field(test: Test, word: str, field: Field, line: int) -> Condition:
    if field.items:
        if word != "contains":
            raise Refused(line, f"{test.field} is a list: expected contains or not contains")
        inner = f"{field.name}.exists(item, item.contains({c.literal(test.values[0])}))"
        found = Condition(inner)
        return found if test.op == word else c.all_of([c.has(field.name), c.negated(found)])
    if isinstance(field.default, (int, float)):
        found = _number_test(test, word, field, line)
    else:
        found = _text_test(test, word, field, line)
    if test.op != word:  # false of a record that lacks the field, as the operator itself
        found = c.all_of([c.has(field.name), c.negated(found)])
    return _with_default(found, test, word, field)


def _exists(test: Test, named: Named, line: int) -> Condition:
    field = named(test.field, line) if test.field not in ("related", "involvedObject") else Field(test.field, None)
    if field.name == "involvedObject" or (field.default is not None and not field.within):
        found = c.ALWAYS
    else:
        found = c.has(field.within or field.name)
    found = _in_lists(found, field)
    return c.negated(found) if test.op.startswith("not ") else found


def _with_default(found: Condition, test: Test, word: str, field: Field) -> Condition:
    """Records leave out a field that has its default."""
    if field.default is None or not _of_default(test, word, field.default):
        return found
    absent = c.negated(c.has(field.name))
    return c.any_of([found, c.all_of([c.has(field.within), absent]) if field.within else absent])


def _of_default(test: Test, word: str, default: str | float) -> bool:
    """Whether the test is true of the default value."""
    shown, value = str(default), test.values[0]
    if word in ("like", "regex"):
        try:
            result = pattern(_like(value) if word == "like" else value).search(shown) is not None
        except ValueError:
            return False  # what is wrong with it is said when the whole rule is read
    elif word in ("contains", "in"):
        result = value in shown if word == "contains" else shown in test.values
    elif test.number:
        result = _ordered(word, float(default), float(value))
    else:
        result = _ordered(word, shown, value)
    return result != test.op.startswith("not ")


def _ordered(op: str, left: float | str, right: float | str) -> bool:
    return {
        "=": left == right, "!=": left != right, ">": left > right, "<": left < right,  # type: ignore[operator]
        ">=": left >= right, "<=": left <= right,  # type: ignore[operator]
    }[op]  # fmt: skip


def _number_test(test: Test, word: str, field: Field, line: int) -> Condition:
    if word in ("contains", "like", "regex"):
        return _text_of(f"string({field.name})", test, word, line)
    if word == "is":
        raise Refused(line, f"{test.field} is a number, not true or false")
    if word == "in" or (not test.number and word in ("=", "!=")):
        numbers = [int(value) for value in test.values if re.fullmatch(r"0|-?[1-9]\d*", value)]
        found = c.among(field.name, numbers) if numbers else c.NEVER
        return c.negated(found) if word == "!=" else found
    if not test.number:
        raise Refused(line, f"{test.field} is a number: {word} compares it with text")
    value = float(test.values[0])
    number = int(value) if value.is_integer() else value
    return c.same(field.name, number) if word == "=" else c.compared(field.name, word, number)


def _text_test(test: Test, word: str, field: Field, line: int) -> Condition:
    value = test.values[0] if test.values else ""
    if word == "is":
        if field.default is not None:
            raise Refused(line, f"{test.field} is text, not true or false")
        return c.same(field.name, value != "false")
    if word == "in":
        return c.among(field.name, test.values)
    if word in ("contains", "like", "regex"):
        return _text_of(field.name, test, word, line)
    if test.number:
        if field.default is not None:
            raise Refused(line, f"{test.field} is text: {word} compares it with a number")
        return c.compared(field.name, "==" if word == "=" else word, float(value))
    return c.same(field.name, value) if word == "=" else c.compared(field.name, word, value)


def _text_of(field: str, test: Test, word: str, line: int) -> Condition:
    value = test.values[0]
    if word == "contains":
        return c.text_test(field, "contains", value)
    return c.text_test(field, "matches", _like(value) if word == "like" else value)


def _like(value: str) -> str:
    """As the original has it: looks anywhere, and other characters of patterns keep their meaning."""
    return re.sub(r"\*+", "(.*)", value.replace("?", "."))
