"""Foreign rules taken over in tests, and evaluated by the real code."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from schemas.rule_document import Rule
from streams.rules.compiler import compile_all
from streams.rules.conditions import conditions
from streams.rules.document import parse_document
from streams.rules.imports.draft import Outcome
from streams.rules.imports.formats import Format
from streams.rules.imports.importing import Text, documents, imported

Matches = Callable[[dict[str, Any]], bool]


def taken(text: str, format_: Format | None = None, **options: Any) -> list[Outcome]:
    return imported([Text("given.yaml", textwrap.dedent(text))], format_, **options)


def rules_of(text: str, format_: Format | None = None, **options: Any) -> dict[str, Rule]:
    """By name. None may be refused, and the file they make must be right."""
    outcomes = taken(text, format_, **options)
    assert [outcome.reason for outcome in outcomes if outcome.draft is None] == []
    (document,) = documents(outcomes)
    rules, errors = parse_document(document.text, document.name)
    assert errors == [], document.text
    return {rule.name: rule for rule in rules}


def refusals(text: str, format_: Format | None = None, **options: Any) -> list[tuple[int, str]]:
    """(line, reason) of each rule that was refused."""
    return [(each.line, each.reason) for each in taken(text, format_, **options) if each.draft is None]


def matcher(rule: Rule) -> Matches:
    """Whether a record matches the rule's condition (its first, of several)."""
    evaluate = compile_all(conditions(rule))
    return lambda record: 0 in evaluate(record)
