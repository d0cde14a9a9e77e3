"""What records foreign rules look at: `--mapping`, a document of one's own, complained about by line.

sources:                      # the first that fits
  - index: metricbeat-*       # of ElastAlert: names with * and ?
    input: logs
    where: agent == "metricbeat"
    fields: {beat.hostname: host.name}
  - logsource: {product: windows, service: security}      # of Sigma
    input: logs
    where: Channel == "Security"
fields: {source.ip: client.ip}      # of all of them
text: [message, log]                # fields that are looked into word by word, and for words that name no field
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.rules.imports import conditions as c
from streams.rules.imports.conditions import Condition
from streams.rules.inputs import INPUTS
from streams.yaml_nodes import Errors, Node, read

TEXT = ("log", "message", "msg")
"""Where the words of a log record are."""
LOGS = ("logstash-*", "filebeat-*", "fluentd-*", "fluentd.*", "fluent-bit*", "logs-*", "logs", "*")
"""Indexes that hold log records by the habit of their shippers."""


class Source(NamedTuple):
    """`logsource`: what a rule must say of itself, by name; `indexes`: a pattern of their names."""

    input: str
    where: Condition = c.ALWAYS
    fields: Mapping[str, str] = {}
    group_by: tuple[str, ...] = ()
    indexes: str = ""
    logsource: Mapping[str, str] = {}

    def of_index(self, name: str) -> bool:
        return bool(self.indexes) and (name == self.indexes or fnmatch.fnmatchcase(name, self.indexes))

    def of_logsource(self, said: Mapping[str, str]) -> bool:
        return not self.indexes and all(said.get(name, "").lower() == value for name, value in self.logsource.items())


@dataclass(frozen=True)
class Mapped:
    sources: tuple[Source, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    text: tuple[str, ...] = TEXT
    placeholders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of_index(self, name: str) -> Source | None:
        found = next((source for source in self.sources if source.of_index(name)), None)
        return found or (Source("logs") if name in LOGS else None)

    def of_logsource(self, said: Mapping[str, str]) -> Source | None:
        return next((source for source in self.sources if source.of_logsource(said)), None)


def parse_mapping(text: str, file: str) -> tuple[Mapped, list[str]]:
    """The mapping, and what is wrong with it as `file:line: field: what is expected`."""
    errors = Errors(file)
    root = read(text, file, errors)
    if root is None:
        return Mapped(), str(errors).splitlines()
    fields = root.known(("sources", "fields", "text", "placeholders"))
    out = Mapped(
        sources=tuple(_source(item) for item in fields["sources"].items()) if "sources" in fields else (),
        fields=fields["fields"].texts() if "fields" in fields else {},
        text=tuple(item.text() for item in fields["text"].items()) if "text" in fields else TEXT,
        placeholders={
            name: tuple(item.text() for item in node.items())
            for name, node in (fields["placeholders"].fields() if "placeholders" in fields else {}).items()
        },
    )
    return out, str(errors).splitlines()


def _source(node: Node) -> Source:
    fields = node.known(("index", "logsource", "input", "where", "fields", "group_by"))
    if ("index" in fields) == ("logsource" in fields):
        node.fail("expected index or logsource")
    input_ = fields["input"].text() if "input" in fields else "logs"
    if input_ not in INPUTS:
        node.fail(f"expected input: one of {', '.join(INPUTS)}")
    where = fields["where"].text().strip() if "where" in fields else ""
    said = fields["logsource"].texts() if "logsource" in fields else {}
    return Source(
        input=input_,
        where=Condition(f"({where})") if where else c.ALWAYS,
        fields=fields["fields"].texts() if "fields" in fields else {},
        group_by=tuple(item.text() for item in fields["group_by"].items()) if "group_by" in fields else (),
        indexes=fields["index"].text() if "index" in fields else "",
        logsource={name: value.lower() for name, value in said.items()},
    )
