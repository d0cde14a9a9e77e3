"""Rules stored by the API (`rules.documents`) as a worker evaluates them. Pure.

A tenant's rule is the tenant's whatever its text says: it sees records of that tenant alone, its alerts are that
tenant's, and its name is told apart from the same name elsewhere. A document may have a draft beside its live version:
that one is evaluated in shadow mode.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from schemas.alerts import NO_TENANT
from schemas.rule_document import Mode, Rule
from schemas.rules import RuleDocument
from streams.rules.conditions import conditions
from streams.rules.document import parse_rule
from streams.rules.lexer import SyntaxProblem

TOPIC = "rules.documents"
FILE = "stored"


class Read(NamedTuple):
    """The rules of a document, or what is wrong with it: `file:line: field: what is expected`."""

    rules: list[Rule]
    errors: list[str]


def read(document: RuleDocument) -> Read:
    """The live version, and the draft beside it. What is wrong with one does not stop the other."""
    rules: dict[str, Rule] = {}
    errors: list[str] = []
    for text, shadow in ((document.text, False), (document.draft, True)):
        if not text or document.deleted:
            continue
        rule, wrong = parsed(text, f"{FILE}/{document.key}", document.tenant)
        errors += wrong
        if rule is not None:
            mode = Mode.SHADOW if shadow else rule.mode
            rule = replace(rule, name=document.name, version=document.version, mode=mode)
            rules[rule.key] = rule
    return Read(list(rules.values()), errors)


def parsed(text: str, file: str, tenant: str) -> tuple[Rule | None, list[str]]:
    """The rule of a text as a rule of `tenant`, and what is wrong with it."""
    rule, errors = parse_rule(text, file)
    if rule is None or tenant == NO_TENANT:
        return rule, errors
    if rule.tenant not in (NO_TENANT, tenant):
        return None, [f"{file}:{rule.line}: tenant: yours is {tenant}"]
    if rule.query:
        return None, [f"{file}:{rule.line}: input: metrics are of all tenants: only rules of the platform may ask"]
    mine = within(rule, tenant)
    try:
        conditions(mine)
    except SyntaxProblem as problem:
        return None, [f"{file}:{rule.line}: where: {problem}"]
    return mine, errors


def within(rule: Rule, tenant: str) -> Rule:
    """The rule over the records of one tenant. `tenant` is a word: rules of others cannot be stored."""
    where = f'tenant == "{tenant}" && (\n{rule.where}\n)'
    return replace(rule, where=where, tenant=tenant, owner=tenant)


class Stored:
    """Reads each version of a document once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[RuleDocument, Read]] = {}

    def read(self, documents: Iterable[RuleDocument]) -> Read:
        """All rules of `documents`, and what is wrong with them."""
        known, rules, errors = {}, [], []
        for document in documents:
            before = self._known.get(document.key)
            found = before[1] if before is not None and before[0] == document else read(document)
            known[document.key] = document, found
            rules += found.rules
            errors += found.errors
        self._known = known
        return Read(rules, errors)
