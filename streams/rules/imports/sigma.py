"""Sigma rules -> drafts: single ones here, correlations in sigma_correlation.

Source: github.com/SigmaHQ/sigma-specification, version 2.1. A rule looks at the records that its `logsource` names: a
mapping says which these are; without one, records that say so themselves in `logsource.product`, `.category`,
`.service`; Kubernetes' audit events are kube.audit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from streams.rules.imports import conditions as c
from streams.rules.imports import sigma_values
from streams.rules.imports.conditions import Condition
from streams.rules.imports.draft import Draft, Outcome, Refused, attempt, words
from streams.rules.imports.mapping import Mapped, Source
from streams.rules.imports.sigma_condition import Wrong, combined
from streams.rules.inputs import INPUTS
from streams.yaml_nodes import Node

LOGSOURCE = ("product", "category", "service")
SEVERITY = {
    "informational": "info", "low": "info", "medium": "warning", "high": "critical", "critical": "critical",
}  # fmt: skip
MAX_DEPTH = 10


def is_rule(fields: Mapping[str, Node]) -> bool:
    return "detection" in fields or "correlation" in fields


class Document(NamedTuple):
    file: str
    root: Node
    fields: dict[str, Node]

    def text(self, name: str) -> str:
        return self.fields[name].text() if name in self.fields and self.fields[name].is_text else ""

    @property
    def names(self) -> list[str]:
        return [name for key in ("id", "name") if (name := self.text(key))]


def outcomes(documents: Iterable[tuple[str, Node]], mapped: Mapped) -> list[Outcome]:
    """Of all documents together: correlations name others. Rules they name are part of them, unless they `generate`."""
    from streams.rules.imports import sigma_correlation

    found = [Document(file, root, root.fields()) for file, root in documents]
    by_name = {name: each for each in reversed(found) for name in each.names}
    within = {id(by_name[name].root) for each in found for name in sigma_correlation.alone(each) if name in by_name}
    out: list[Outcome] = []
    for each in found:
        if id(each.root) in within:
            continue
        title = each.text("title")
        if "correlation" in each.fields:
            out += attempt(each.file, each.root, title, lambda: sigma_correlation.draft(each, by_name, mapped))  # noqa: B023
        else:
            out += attempt(each.file, each.root, title, lambda: draft(each, mapped))  # noqa: B023
    return out


def draft(document: Document, mapped: Mapped) -> Draft:
    search = Search(document, mapped)
    out = Draft(document.text("title"), search.source.input, search.condition(), origin=origin(document))
    out.notes = search.notes
    out.fields = {"group_by": list(search.source.group_by), **described(document)}
    return out


def origin(document: Document) -> str:
    identity = document.text("id")
    return f"{document.file}:{document.root.line}" + (f", id {identity}" if identity else "")


def described(document: Document) -> dict[str, Any]:
    """Severity, labels and texts."""
    level = document.text("level") or "medium"
    if level not in SEVERITY:
        raise Refused(document.fields["level"].line, f"level: expected one of {', '.join(SEVERITY)}, not {level}")
    annotations = {"summary": words(document.text("title")), "description": words(document.text("description"))}
    if identity := document.text("id"):
        annotations["sigma_id"] = words(identity)
    return {
        "severity": SEVERITY[level],
        "labels": {"sigma_level": level},
        "annotations": {name: text for name, text in annotations.items() if text},
    }


class Search:
    """What one rule looks for, in which records."""

    def __init__(self, document: Document, mapped: Mapped) -> None:
        self._document = document
        self._mapped = mapped
        self.notes: list[str] = []
        self.source = self._source()
        self._names = {**mapped.fields, **self.source.fields}

    def _source(self) -> Source:
        fields = self._document.fields
        if "logsource" not in fields:
            raise Refused(self._document.root.line, "expected logsource")
        said = {name: node.text().lower() for name, node in fields["logsource"].fields().items() if name in LOGSOURCE}
        if not said:
            raise Refused(fields["logsource"].line, "logsource: expected product, category or service")
        if found := self._mapped.of_logsource(said):
            return found
        if said.get("product") == "kubernetes" and said.get("service", "audit") == "audit":
            return Source("kube.audit")
        return Source("logs", c.all_of([c.same(f"logsource.{name}", value) for name, value in sorted(said.items())]))

    def path(self, name: str) -> str:
        return self._path(self._names.get(name, name))

    def _path(self, name: str) -> str:
        return c.path(name.split("."), INPUTS[self.source.input].aliases if self.source.input in INPUTS else ())

    def condition(self) -> Condition:
        fields = self._document.fields
        if "detection" not in fields:
            raise Refused(self._document.root.line, "expected detection")
        detection = fields["detection"].fields()
        if "condition" not in detection:
            raise Refused(fields["detection"].line, "detection: expected condition")
        asked = detection.pop("condition")
        if "timeframe" in detection:
            raise Refused(
                detection["timeframe"].line, "timeframe: belongs to aggregations: a correlation says that now"
            )
        searches = {name: self._search(node) for name, node in detection.items()}
        out = []
        for each in asked.items() if asked.is_list else [asked]:
            try:
                out.append(combined(each.text(), searches))
            except Wrong as wrong:
                raise Refused(each.line, f"condition: {wrong}") from None
        return c.all_of([self.source.where, c.any_of(out)])

    def _search(self, node: Node, depth: int = 0) -> Condition:
        if depth > MAX_DEPTH:
            raise Refused(node.line, f"nested deeper than {MAX_DEPTH}")
        if node.is_text:
            return self._field("", node, [node.value()])
        if not node.is_list:
            fields = node.fields()
            if not fields:
                raise Refused(node.line, "a search for nothing")
            return c.all_of([self._field(name, child, _values(child)) for name, child in fields.items()])
        items = list(node.items())
        if not items:
            raise Refused(node.line, "a search for nothing")
        words_ = [item.value() for item in items if item.is_text]
        found = [self._search(item, depth + 1) for item in items if not item.is_text]
        return c.any_of([*found, self._field("", node, words_)] if words_ else found)

    def _field(self, key: str, node: Node, values: Sequence[Any]) -> Condition:
        name, *modifiers = key.split("|")
        if name:
            paths = [self.path(name)]
            if "fieldref" in modifiers:
                values = [self.path(str(value)) for value in values]
        else:
            paths = [self._path(each) for each in self._mapped.text]
            self._note(f"words without a field are looked for in {', '.join(self._mapped.text)}, not in every field")
            if not set(modifiers) & {*sigma_values.PLACES, "re"}:
                modifiers.append("contains")
            if None in values:
                raise Refused(node.line, "null is no word to look for")
        return sigma_values.condition(paths, modifiers, values, self._mapped.placeholders, node.line)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _values(node: Node) -> list[Any]:
    items = list(node.items()) if node.is_list else [node]
    if not items:
        raise Refused(node.line, f"{node.path}: expected a value")
    for item in items:
        if not item.is_text:
            raise Refused(item.line, f"{item.path}: expected text, a number, true, false or null")
    return [item.value() for item in items]
