"""A rule that was taken over, as it is written into a rule file; and why others were not. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from streams.rules.document import parse_document
from streams.rules.imports.conditions import Condition
from streams.rules.subject import LABELS
from streams.yaml_nodes import Node

ORDER = (
    "alert", "input", "where", "level", "group_by", "type", "field", "values", "match", "steps", "unless", "count",
    "times", "direction", "aggregate", "above", "below", "within", "learn", "forget", "for", "keep_firing_for",
    "severity", "labels", "annotations", "enabled", "tests",
)  # fmt: skip
"""How the fields of a rule are written."""
MAX_WORDS = 1000
"""Characters of a description that are kept."""
_NOT_NAME = re.compile(r"[^A-Za-z0-9_.:-]+")
RESERVED = frozenset({"alertname", "severity", *LABELS})


class Refused(Exception):
    """Why a rule cannot be taken over, and the line that says what cannot."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


@dataclass
class Draft:
    """`fields`: those of a rule document but for `alert`, `input` and `where`. `notes`: what its owner should know."""

    name: str
    input: str
    where: Condition
    fields: dict[str, Any] = field(default_factory=dict)
    origin: str = ""
    notes: list[str] = field(default_factory=list)

    def document(self, name: str) -> dict[str, Any]:
        known = {"alert": name, "input": self.input, "where": self.where.lines, **self.fields}
        return {key: known[key] for key in ORDER if known.get(key) not in (None, "", [], {})}


class Outcome(NamedTuple):
    """What became of one foreign rule: a draft, or the reason why not."""

    file: str
    line: int
    name: str
    draft: Draft | None
    reason: str = ""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def attempt(file: str, node: Node, name: str, make: Callable[[], Draft | list[Draft]]) -> list[Outcome]:
    """The outcomes of `make`, which raises Refused or complains through nodes. One rule there may be several here."""
    before = set(str(node.errors).splitlines())
    refused: Refused | None = None
    drafts: Draft | list[Draft] = []
    try:
        drafts = make()
    except Refused as found:
        refused = found
    except RecursionError:
        refused = Refused(node.line, "nested too deeply")
    for line in str(node.errors).splitlines():
        if line not in before:
            number, _, reason = line.removeprefix(f"{file}:").partition(":")
            return [Outcome(file, int(number), name, None, reason.strip())]
    if refused:
        return [Outcome(file, refused.line, name, None, str(refused))]
    return [Outcome(file, node.line, name, draft) for draft in ([drafts] if isinstance(drafts, Draft) else drafts)]


def checked(outcome: Outcome) -> Outcome:
    """Refused after all when our own reading of the rule finds something wrong with it."""
    if outcome.draft is None:
        return outcome
    _, errors = parse_document(written("check", [(slug(outcome.draft.name), outcome.draft)]), "rule")
    if not errors:
        return outcome
    reason = re.sub(r"^rule:\d+: (groups\[0\]\.rules\[0\]\.?)?", "", errors[0])
    return outcome._replace(draft=None, reason=f"cannot be said here: {reason}")


def slug(text: str, otherwise: str = "rule") -> str:
    """A name of letters, digits, _ . : - out of any text."""
    return _NOT_NAME.sub("_", text).strip("_-.:")[:120].rstrip("_-.:") or otherwise


def named(outcomes: Iterable[Outcome]) -> list[tuple[str, Outcome]]:
    """Names that differ: a second rule of the same name gets a number, in the order they are read."""
    taken: set[str] = set()
    out = []
    for outcome in outcomes:
        name = base = slug(outcome.draft.name) if outcome.draft else ""
        number = 2
        while name and name in taken:
            name = f"{base}-{number}"
            number += 1
        taken.add(name)
        out.append((name, outcome))
    return out


def written(group: str, drafts: Sequence[tuple[str, Draft]]) -> str:
    """A rule file with one group."""
    out = ["groups:", f"  - name: {group}", "    rules:"]
    for name, draft in drafts:
        remarks = [f"From {draft.origin}."] if draft.origin else []
        out += [f"      # {line}" for text in (*remarks, *draft.notes) for line in _one_line(text)]
        dumped = yaml.dump(
            [draft.document(name)], Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=1 << 20
        )  # fmt: skip
        out += [f"      {line}" for line in dumped.rstrip("\n").split("\n")]
    return "\n".join(out) + "\n"


def _one_line(text: str) -> Iterator[str]:
    printable = "".join(char if char.isprintable() else " " for char in text)
    yield printable[:400]


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


# fields that all formats have in common


def words(text: str) -> str:
    """Text for people as an annotation that holds no field of a template."""
    plain = re.sub(r"\{\{|\}\}", lambda found: f"{found[0][0]} {found[0][1]}", text.strip())
    return plain if len(plain) <= MAX_WORDS else plain[:MAX_WORDS].rstrip() + " …"


def labels_of(found: Mapping[str, str], line: int) -> dict[str, str]:
    """Labels as they are, but for what the rule engine sets itself."""
    out = {}
    for name, value in found.items():
        if name in RESERVED:
            raise Refused(line, f"sets the label {name}, which the rule engine sets itself")
        out[re.sub(r"\W", "_", name, flags=re.ASCII)] = value
    return out


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    return condition.parts if condition.op == "all" else (condition,)
