"""The examples of the docs are what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.rules import nodes
from streams.rules.compiler import compile_all
from streams.rules.document import parse_document
from streams.rules.parser import parse

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(.+?)` \| `(\{.+\})` \| (true|false|neither) \|$", re.MULTILINE)
EXAMPLES = ROW.findall((DOCS / "reference/rule-conditions.md").read_text("utf-8"))
BLOCKS = re.findall(r"```yaml\n(.*?)```", (DOCS / "how-to/write-a-rule.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize(("text", "record", "said"), EXAMPLES)
def test_a_condition_is_what_the_reference_says(text: str, record: str, said: str) -> None:
    tree = parse(text.replace("\\|", "|"))
    found = compile_all([tree, nodes.Not(tree)])(json.loads(record))
    assert {(0,): "true", (1,): "false", (): "neither"}[tuple(found)] == said


def test_the_reference_has_examples() -> None:
    assert len(EXAMPLES) > 20
    assert {said for _, _, said in EXAMPLES} == {"true", "false", "neither"}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_rule_of_the_how_to_is_right(block: str) -> None:
    found: Any = yaml.safe_load(block)
    if isinstance(found, list):
        found = {"groups": [{"name": "docs", "rules": found}]}
    if any(set(rule) <= {"alert", "tests"} for group in found["groups"] for rule in group["rules"]):
        found["groups"][0]["rules"][0] |= {"input": "logs", "where": "true"}
    _, errors = parse_document(yaml.safe_dump(found), "docs.yaml")
    assert not errors
