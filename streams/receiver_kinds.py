"""Receivers' channels of further kinds (`slack_configs`, ...): by the kind's own schema (streams/sinks/kinds.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from schemas.alerting import Other
from streams.config_templates import Templates
from streams.files import Files
from streams.sinks.slack_attachment import Attachment
from streams.yaml_nodes import Node

SUFFIX = "_configs"
PRIVATE = "__"
"""How fields begin that only we set."""
NO_TEMPLATES = frozenset({"api_url", "api_url_file", "template", "language", "send_resolved"})


def known(field: str) -> bool:
    """Whether `field` of a receiver is a kind's."""
    from streams.sinks.kinds import kinds

    return field.endswith(SUFFIX) and field.removesuffix(SUFFIX) in kinds()


def others(fields: dict[str, Node], files: Files, templates: Templates, slack: Mapping[str, Node]) -> list[Other]:
    """Takes what is ours out of `fields`; what is wrong with it is said of its line."""
    ours = sorted(name for name in fields if name.endswith(SUFFIX) and known(name))
    return [
        found
        for name in ours
        for item in fields.pop(name).items()
        for found in _one(name, item, files, templates, slack)
    ]


def _one(name: str, node: Node, files: Files, templates: Templates, slack: Mapping[str, Node]) -> list[Other]:
    from streams.sinks.kinds import kinds

    kind = kinds()[name.removesuffix(SUFFIX)]
    nodes = node.fields()
    if kind.name == "slack" and not nodes.keys() & {"api_url", "api_url_file"}:
        nodes = {**nodes, **slack}
    given = {field: _plain(value) for field, value in nodes.items()}
    if private := [field for field in given if field.startswith(PRIVATE)]:
        nodes[private[0]].fail("no such field")
    for secret in kind.secrets & {field.removesuffix("_file") for field in given if field.endswith("_file")}:
        path = given.pop(f"{secret}_file")
        if secret in given:
            node.fail(f"expected {secret} or {secret}_file, not both")
            return []
        try:
            given[secret] = files.read(str(path))
        except ValueError as error:
            node.fail(str(error))
            return []
    try:
        config = kind.read(given)
    except ValueError as error:
        node.fail(str(error))
        return []
    if isinstance(config, Attachment):
        for field in nodes.keys() - NO_TEMPLATES:
            _check(nodes[field], templates)
        config = msgspec.structs.replace(config, files=templates.files)
    return [Other(kind=kind.name, config=config)]


def _check(node: Node, templates: Templates) -> None:
    """The Go templates of a field, or within it."""
    if node.is_text:
        templates.field(node)
    elif node.is_list:
        for item in node.items():
            _check(item, templates)
    elif not node.is_null:
        for inner in node.fields().values():
            _check(inner, templates)


def _plain(node: Node) -> Any:
    try:
        return yaml.constructor.SafeConstructor().construct_document(node.node)
    except (yaml.YAMLError, RecursionError, ValueError):
        node.fail("not plain YAML")
        return None
