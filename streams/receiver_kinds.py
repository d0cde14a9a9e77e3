"""Receivers' channels of further kinds (`slack_configs`, ...): by the kind's own schema (streams/sinks/kinds.py)."""

from __future__ import annotations

from typing import Any

import yaml

from schemas.alerting import Other
from streams.files import Files
from streams.yaml_nodes import Node

SUFFIX = "_configs"


def known(field: str) -> bool:
    """Whether `field` of a receiver is a kind's."""
    from streams.sinks.kinds import kinds

    return field.endswith(SUFFIX) and field.removesuffix(SUFFIX) in kinds()


def others(fields: dict[str, Node], files: Files) -> list[Other]:
    """Takes what is ours out of `fields`; what is wrong with it is said of its line."""
    ours = sorted(name for name in fields if name.endswith(SUFFIX) and known(name))
    return [found for name in ours for item in fields.pop(name).items() for found in _one(name, item, files)]


def _one(name: str, node: Node, files: Files) -> list[Other]:
    from streams.sinks.kinds import kinds

    kind = kinds()[name.removesuffix(SUFFIX)]
    given = {field: _plain(value) for field, value in node.fields().items()}
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
        return [Other(kind=kind.name, config=kind.read(given))]
    except ValueError as error:
        node.fail(str(error))
        return []


def _plain(node: Node) -> Any:
    try:
        return yaml.constructor.SafeConstructor().construct_document(node.node)
    except (yaml.YAMLError, RecursionError, ValueError):
        node.fail("not plain YAML")
        return None
