"""A file of processing documents (YAML) -> documents. All errors are told, with line, field and what is expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from schemas.process_document import (
    MAX_JOINED_BYTES,
    MAX_JOINED_LINES,
    REPLACEMENT,
    Document,
    Drop,
    Form,
    Join,
    Mask,
    Parse,
    Preset,
    Sample,
    Select,
    Step,
    Traces,
)
from streams.process import patterns
from streams.process.parsing import named
from streams.process.selectors import condition
from streams.rules.lexer import SyntaxProblem
from streams.yaml_nodes import Errors, Node, read

C = TypeVar("C", bound=StrEnum)

MAX_DOCUMENTS = 500
MAX_STEPS = 20
MAX_VALUES = 200
MAX_OF = 1_000_000
MAX_REPLACEMENT = 200
LINES_LIMIT = 10_000
BYTES_LIMIT = 900 << 10
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}")
_FIELDS = ("name", "select", "steps", "enabled")
_SELECT = ("cluster", "namespace", "workload", "pod", "container", "labels", "where")


def parse_document(text: str, file: str) -> tuple[list[Document], list[str]]:
    """The documents of one file, and what is wrong with it as `file:line: field: what is expected`."""
    errors = Errors(file)
    root = read(text, file, errors)
    out: list[Document] = []
    if root is not None:
        fields = root.known(("documents",))
        if "documents" not in fields and not errors:
            root.fail("expected documents: a list of documents, each with name, select and steps")
        for count, item in enumerate(fields["documents"].items() if "documents" in fields else ()):
            if count >= MAX_DOCUMENTS:
                item.fail(f"more than {MAX_DOCUMENTS} documents in a file")
                break
            out.append(_document(item, file))
    seen: dict[str, Document] = {}
    for document in out:
        if document.name and document.name in seen:
            first = seen[document.name].line
            errors.add(document.line, document.name, f"the name is taken by the document in line {first}")
        seen.setdefault(document.name, document)
    return ([] if errors else out), str(errors).splitlines()


def _document(node: Node, file: str) -> Document:
    fields = node.known(_FIELDS)
    name = ""
    if "name" in fields:
        name = fields["name"].checked(_name, "")
    else:
        node.fail("expected name: letters, digits, _ . : -")
    join, steps = _steps(fields["steps"]) if "steps" in fields else (None, ())
    if "steps" not in fields or not (join or steps or node.errors):
        node.fail(f"expected steps: a list of {', '.join(Step)}")
    return Document(
        name=name,
        select=_select(fields["select"]) if "select" in fields else Select(),
        join=join,
        steps=steps,
        enabled=fields["enabled"].flag() if "enabled" in fields else True,
        file=file,
        line=node.line,
    )


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"expected a name of letters, digits, _ . : -, not {text[:40]!r}")
    return text


# select


def _select(node: Node) -> Select:
    fields = node.known(_SELECT)
    lists = {name: _values(fields[name]) for name in _SELECT[:5] if name in fields}
    labels = {name: _values(child) for name, child in fields["labels"].fields().items()} if "labels" in fields else {}
    return Select(**lists, labels=labels, where=_where(fields["where"]) if "where" in fields else "")


def _values(node: Node) -> tuple[str, ...]:
    """One value or a list of them: exact, or globs."""
    found = tuple(_value(each) for each in (node.items() if node.is_list else [node]))
    if not 0 < len(found) <= MAX_VALUES:
        node.fail(f"expected a name, a glob with * and ?, or a list of 1 to {MAX_VALUES}")
    return found


def _value(node: Node) -> str:
    def short(text: str) -> str:
        if not 0 < len(text) <= 253:
            raise ValueError("expected 1 to 253 characters")
        return text

    return node.checked(short, "")


def _where(node: Node) -> str:
    text = node.text()
    try:
        condition(Select(where=text))
    except SyntaxProblem as problem:
        line, column = node.position(text, problem.at)
        node.errors.add(line, node.path, f"{problem} (character {column})")
    return text


# steps


def _steps(node: Node) -> tuple[Join | None, tuple[Drop | Sample | Mask | Parse, ...]]:
    join: Join | None = None
    steps: list[Drop | Sample | Mask | Parse] = []
    for count, item in enumerate(node.items()):
        if count >= MAX_STEPS:
            item.fail(f"more than {MAX_STEPS} steps")
            break
        found = _step(item)
        if found is None:
            continue
        step, body = found
        if step is Step.JOIN:
            if count:
                item.fail("join comes first: it is done where records come in")
            join = _join(body)
        else:
            steps.append(_READ[step](body))
    return join, tuple(steps)


def _step(node: Node) -> tuple[Step, Node] | None:
    """`- drop`, or `- mask: {...}`: which step, and what is said of it."""
    if node.is_text:
        if node.text() == Step.DROP:
            return Step.DROP, node
        node.fail(f"expected one of {', '.join(Step)}, with its fields: - mask: {{...}}")
        return None
    if len(node.fields()) != 1:
        node.fail(f"expected one step: {', '.join(Step)}")
        return None
    return next(((Step(name), body) for name, body in node.known(tuple(Step)).items()), None)


def _drop(node: Node) -> Drop:
    if not node.is_text:
        node.known(())
    return Drop()


def _sample(node: Node) -> Sample:
    fields = node.known(("keep", "of"))
    keep = fields["keep"].number() if "keep" in fields else 1
    of = fields["of"].number() if "of" in fields else 0
    if "of" not in fields:
        node.fail("expected of: 1 record of how many is kept")
    elif not 1 <= keep < of <= MAX_OF:
        node.fail(f"expected keep and of such as 1 and 10: keep from 1, less than of, which is at most {MAX_OF}")
    return Sample(keep=keep, of=of)


def _mask(node: Node) -> Mask:
    fields = node.known(("patterns", "own", "replacement", "fields"))
    presets = tuple(_chosen(each, Preset) for each in fields["patterns"].items()) if "patterns" in fields else ()
    own = tuple(_pattern(each) for each in fields["own"].items()) if "own" in fields else ()
    if not presets and not own:
        node.fail(f"expected patterns: a list of {', '.join(Preset)}; or own: a list of RE2 patterns")
    replacement = fields["replacement"].text() if "replacement" in fields else REPLACEMENT
    if len(replacement) > MAX_REPLACEMENT:
        fields["replacement"].fail(f"longer than {MAX_REPLACEMENT} characters")
    names = tuple(_value(each) for each in fields["fields"].items()) if "fields" in fields else ()
    return Mask(presets=tuple(each for each in presets if each), patterns=own, replacement=replacement, fields=names)


def _pattern(node: Node) -> str:
    def compiled(text: str) -> str:
        if not text:
            raise ValueError("expected an RE2 pattern")
        if patterns.compiled(text).search(b"") is not None:
            raise ValueError("matches empty text")
        return text

    return node.checked(compiled, "")


def _parse(node: Node) -> Parse:
    fields = node.known(("as", "pattern", "from", "into"))
    form = _chosen(fields["as"], Form) if "as" in fields else None
    if "as" not in fields:
        node.fail(f"expected as: one of {', '.join(Form)}")
    pattern = ""
    if "pattern" in fields:
        pattern = fields["pattern"].checked(_named, "")
        if form not in (None, Form.PATTERN):
            fields["pattern"].fail("belongs to as: pattern")
    elif form is Form.PATTERN:
        node.fail("expected pattern: RE2 with named groups")
    source = _value(fields["from"]) if "from" in fields else "log"
    into = fields["into"].checked(_field, "parsed") if "into" in fields else "parsed"
    return Parse(form=form or Form.JSON, pattern=pattern, source=source, into=into)


def _named(text: str) -> str:
    named(text)
    return text


def _field(text: str) -> str:
    taken = ("log", "message", "kubernetes", "cluster", "tenant", "@timestamp", "_where")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", text) or text in taken:
        raise ValueError("expected a name of letters, digits and _, not that of a field log records have")
    return text


def _join(node: Node) -> Join:
    fields = node.known(("partial", "traces", "start", "max_lines", "max_bytes"))
    traces = tuple(_chosen(each, Traces) for each in fields["traces"].items()) if "traces" in fields else ()
    partial = fields["partial"].flag() if "partial" in fields else True
    start = _pattern(fields["start"]) if "start" in fields else ""
    if not partial and not traces and not start:
        node.fail(f"expected partial: true, traces: a list of {', '.join(Traces)}, or start: an RE2 pattern")
    return Join(
        partial=partial,
        traces=tuple(each for each in traces if each),
        start=start,
        max_lines=_limit(fields, "max_lines", MAX_JOINED_LINES, LINES_LIMIT),
        max_bytes=_limit(fields, "max_bytes", MAX_JOINED_BYTES, BYTES_LIMIT),
    )


def _limit(fields: dict[str, Node], name: str, default: int, most: int) -> int:
    if name not in fields:
        return default
    value = fields[name].number()
    if not 2 <= value <= most:
        fields[name].fail(f"expected 2 to {most}")
    return value


def _chosen(node: Node, kinds: type[C]) -> C | None:
    def chosen(text: str) -> C:
        try:
            return kinds(text)
        except ValueError:
            raise ValueError(f"expected one of {', '.join(kinds)}, not {text[:40]!r}") from None

    return node.checked(chosen, None)


_READ: dict[Step, Callable[[Node], Drop | Sample | Mask | Parse]] = {
    Step.DROP: _drop,
    Step.SAMPLE: _sample,
    Step.MASK: _mask,
    Step.PARSE: _parse,
}
