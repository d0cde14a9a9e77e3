"""Selectors of processing documents -> conditions on a record, and the bytes a record must hold for them. Pure.

A selector becomes a tree of the rules' condition language: all documents are then one compiled function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from schemas.process_document import Select
from streams.rules import nodes
from streams.rules.inputs import INPUTS
from streams.rules.literals import Literals, required
from streams.rules.nodes import Node
from streams.rules.parser import parse
from streams.sinks.index.fields import APP_LABELS, SUFFIX

PATHS: dict[str, tuple[str, ...]] = {
    "cluster": ("cluster",),
    "namespace": ("kubernetes", "namespace_name"),
    "pod": ("kubernetes", "pod_name"),
    "container": ("kubernetes", "container_name"),
}
LABELS = ("kubernetes", "labels")
ALIASES = INPUTS["logs"].aliases
_PLAIN = re.compile(r"[ !#-.0-\[\]-~]*")
"""What JSON writes in one way only."""
_WILD = re.compile(r"([*?])")
MIN_LENGTH = 3
EVERY: Node = nodes.Literal(True)

Values = tuple[str, ...]


def condition(select: Select) -> Node:
    """True of the records `select` names. Raises SyntaxProblem for a `where` that is none."""
    parts: list[Node] = [_is(nodes.Path(path), values) for path, values in _exact(select)]
    if select.workload:
        paths = [nodes.Path((*LABELS, label)) for label in APP_LABELS]
        owner = nodes.TextTest("matches", nodes.Path(PATHS["pod"]), nodes.Literal(_pods(select.workload)))
        parts.append(nodes.Any((*(_is(path, select.workload) for path in paths), owner)))
    if select.where:
        parts.append(parse(select.where, ALIASES))
    if len(parts) > 1:
        return nodes.All(tuple(parts))
    return parts[0] if parts else EVERY


def literals(select: Select) -> Literals | None:
    """Bytes of which one is in every record the selector names (unless it writes characters as \\u00xx); None when
    there is no such need."""
    needs = [_quoted(values) for _, values in _exact(select)]
    if select.workload:
        needs.append(_union(_pieces(value, ('"', "-")) for value in select.workload))
    if select.where:
        needs.append(required(parse(select.where, ALIASES)))
    found = [need for need in needs if need]
    return max(found, key=lambda need: (min(map(len, need)), -len(need), sorted(need)), default=None)


def names_in(trees: Iterable[Node]) -> frozenset[str] | None:
    """The fields of a record's top level that conditions look at; None: at the record as a whole."""
    tops = [path.parts[:1] for path in nodes.paths(trees)]
    names = frozenset(top[0] for top in tops if top and isinstance(top[0], str))
    return names if all(top and isinstance(top[0], str) for top in tops) else None


def _exact(select: Select) -> Iterable[tuple[tuple[str, ...], Values]]:
    for name, path in PATHS.items():
        if values := getattr(select, name):
            yield path, values
    for label, values in select.labels.items():
        yield (*LABELS, label), values


def _is(path: nodes.Path, values: Values) -> Node:
    """Whether the field is one of `values`."""
    plain = tuple(value for value in values if not _WILD.search(value))
    globs = [value for value in values if _WILD.search(value)]
    tests: list[Node] = [nodes.Compare("in", path, nodes.Items(plain))] if plain else []
    if globs:
        pattern = f"^(?s:{'|'.join(map(_regex, globs))})$"
        tests.append(nodes.TextTest("matches", path, nodes.Literal(pattern)))
    return nodes.Any(tuple(tests)) if len(tests) > 1 else tests[0]


def _regex(glob: str) -> str:
    """RE2 for a glob: `*` any characters, `?` one."""
    signs = {"*": ".*", "?": "."}
    return "".join(signs.get(part) or re.escape(part) for part in _WILD.split(glob))


def _pods(workloads: Values) -> str:
    """RE2 for the names of pods that such workloads may own."""
    return f"^(?s:{'|'.join(map(_regex, workloads))})(?:-{SUFFIX})?$"


def _quoted(values: Values) -> Literals | None:
    return _union(_pieces(value, ('"',)) for value in values)


def _pieces(value: str, ends: Sequence[str]) -> Literals | None:
    """The longest run of `value` that is in the JSON text as it is, with the quote before it and what may follow it."""
    parts = re.split(r"[*?]", value)
    last = len(parts) - 1
    runs: list[tuple[str, bool]] = []
    for number, part in enumerate(parts):
        if _PLAIN.fullmatch(part):
            runs.append((f'"{part}' if number == 0 else part, number == last))
    if not runs:
        return None
    text, at_end = max(runs, key=lambda run: len(run[0]))
    found = [text + end for end in ends] if at_end else [text]
    return frozenset(each.encode() for each in found) if len(text) >= MIN_LENGTH or at_end else None


def _union(found: Iterable[Literals | None]) -> Literals | None:
    out: set[bytes] = set()
    for each in found:
        if each is None:
            return None
        out |= each
    return frozenset(out)
