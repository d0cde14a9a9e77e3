"""Elasticsearch's query DSL -> conditions: the parts that rules of ElastAlert use. Pure.

Fields are exact values, as Elasticsearch has them as `keyword`; but those that `Fields.text` names are looked into word
by word, in either case, as it does with `text`. A field that holds a list matches where one of its items does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.rules.imports import conditions as c
from streams.rules.imports.conditions import Condition
from streams.rules.imports.draft import Refused
from streams.rules.imports.mapping import TEXT
from streams.rules.inputs import INPUTS
from streams.yaml_nodes import Node

MAX_DEPTH = 20
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,9})?")
_WORD = re.compile(r"\w+")
_SUFFIXES = (".keyword", ".raw")
Value = str | int | float | bool


@dataclass
class Fields:
    """`names`: what theirs are called here; `notes`: what the owner of the rule should know."""

    input: str = "logs"
    names: dict[str, str] = field(default_factory=dict)
    text: Sequence[str] = TEXT
    notes: list[str] = field(default_factory=list)

    def path(self, name: str) -> str:
        plain = self.names.get(name) or self.names.get(self._plain(name)) or self._plain(name)
        return c.path(plain.split("."), INPUTS[self.input].aliases)

    def is_text(self, name: str) -> bool:
        return name in self.text

    def _plain(self, name: str) -> str:
        for suffix in _SUFFIXES:
            name = name.removesuffix(suffix)
        return name


def exact(fields: Fields, name: str, value: Value) -> Condition:
    """One value, however it is written: a number also where it is text."""
    path = fields.path(name)
    forms = _forms(value)
    return c.any_of(
        [c.among(path, forms) if len(forms) > 1 else c.same(path, forms[0])]
        + [Condition(f"{c.literal(form)} in {path}") for form in forms[:1]]
    )


def _forms(value: Value) -> list[Any]:
    if isinstance(value, bool):
        return [value, str(value).lower()]
    if isinstance(value, (int, float)):
        return [value, str(value)]
    if value in ("true", "false"):
        return [value, value == "true"]
    return [value, float(value) if "." in value else int(value)] if _NUMBER.fullmatch(value) else [value]


def words(fields: Fields, name: str, value: Value, *, every: bool = False, row: bool = False) -> Condition:
    """Of a text: one of its words, `every` one, or all in a `row`."""
    found = _WORD.findall(str(value))
    if not found:
        return c.NEVER
    path = fields.path(name)
    if row:
        return c.matching(path, [r"\W+".join(map(_word, found))], flags="i")
    each = [c.matching(path, [_word(word)], flags="i") for word in found]
    return c.all_of(each) if every else c.any_of(each)


def _word(word: str) -> str:
    quoted = c.quoted(word)
    left = r"\b" if word[0].isascii() else ""
    return left + quoted + (r"\b" if word[-1].isascii() else "")


def wildcard(fields: Fields, name: str, value: str, *, folded: bool = False) -> Condition:
    """`*` any characters, `?` one; of a text it is one of its words that must match."""
    path = fields.path(name)
    parts = re.findall(r"\\.|[*?]|[^\\*?]+|\\$", value, re.DOTALL)
    if fields.is_text(name):
        inside = "".join({"*": r"\w*", "?": r"\w"}.get(part) or c.quoted(_plain(part)) for part in parts)
        left = "" if value.startswith("*") else r"\b"
        right = "" if value.endswith("*") else r"\b"
        return c.matching(path, [left + inside.removeprefix(r"\w*").removesuffix(r"\w*") + right], flags="i")
    pattern = "".join({"*": ".*", "?": "."}.get(part) or c.quoted(_plain(part)) for part in parts)
    return c.matching(path, [pattern], flags="is" if folded else "s", whole=True)


def _plain(part: str) -> str:
    return part[1:] if part.startswith("\\") and len(part) == 2 else part


def exists(fields: Fields, name: str) -> Condition:
    """Present, and not null."""
    return Condition(f"{fields.path(name)} != null")


def between(fields: Fields, name: str, bounds: Iterable[tuple[str, Value]], line: int) -> Condition:
    """(`gt`, `gte`, `lt` or `lte`, value) each."""
    out = []
    for op, value in bounds:
        sign = {"gt": ">", "gte": ">=", "from": ">=", "lt": "<", "lte": "<=", "to": "<="}.get(op)
        if sign is None:
            raise Refused(line, f"range: {op} is not known here")
        if isinstance(value, str):
            if not _NUMBER.fullmatch(value):
                raise Refused(line, f"range over {value[:40]!r}: only numbers have an order here, not dates and text")
            value = float(value) if "." in value else int(value)
        out.append(c.compared(fields.path(name), sign, value))
    return c.all_of(out)


def query(node: Node, fields: Fields, depth: int = 0) -> Condition:
    """One query: a mapping with one key, its kind."""
    if depth > MAX_DEPTH:
        raise Refused(node.line, f"nested deeper than {MAX_DEPTH}")
    kinds = node.fields()
    if len(kinds) != 1:
        raise Refused(node.line, f"expected one kind of query, not {', '.join(kinds) or 'none'}")
    ((kind, body),) = kinds.items()
    if kind in ("query", "filter", "constant_score", "filtered"):
        return every(body, fields, depth + 1)
    if kind in ("bool", "not", "and", "or", "must", "must_not", "should"):
        return _combined(kind, body, fields, depth)
    if kind == "query_string":
        from streams.rules.imports import lucene

        return lucene.query_string(body, fields)
    if kind == "match_all":
        return c.ALWAYS
    if kind in ("exists", "missing"):
        present = exists(fields, _named(body, "field"))
        return c.negated(present) if kind == "missing" else present
    if kind not in _LEAVES:
        raise Refused(body.line, f"{kind}: queries of this kind cannot be said as a condition on one record")
    found = [
        _leaf(kind, name, value, fields) for name, value in body.fields().items() if name not in ("boost", "_name")
    ]
    return c.all_of(found)


def every(node: Node, fields: Fields, depth: int = 0) -> Condition:
    """A query, or a list of queries that all must hold."""
    items = list(node.items()) if node.is_list else [node]
    return c.all_of([query(item, fields, depth) for item in items])


def _combined(kind: str, body: Node, fields: Fields, depth: int) -> Condition:
    if kind in ("not", "must_not"):
        return c.negated(every(body, fields, depth + 1))
    if kind in ("and", "must"):
        return every(body, fields, depth + 1)
    if kind in ("or", "should"):
        return c.any_of([query(item, fields, depth + 1) for item in body.items()])
    parts = body.known(("must", "filter", "should", "must_not", "minimum_should_match", "boost"))
    out = [every(parts[name], fields, depth + 1) for name in ("must", "filter") if name in parts]
    if "must_not" in parts:
        node = parts["must_not"]
        items = list(node.items()) if node.is_list else [node]
        out += [c.negated(query(item, fields, depth + 1)) for item in items]
    if "should" in parts:
        node = parts["should"]
        options = [query(item, fields, depth + 1) for item in (list(node.items()) if node.is_list else [node])]
        least = 0 if "must" in parts or "filter" in parts else 1
        if "minimum_should_match" in parts:
            said = parts["minimum_should_match"].text()
            least = int(said) if said.isdigit() else -1
        if least not in (0, 1, len(options)):
            raise Refused(node.line, "minimum_should_match: only one or all of them can be asked for here")
        out += [c.any_of(options) if least == 1 else c.all_of(options)] if least else []
    return c.all_of(out)


def _named(body: Node, name: str) -> str:
    fields = body.fields()
    if name not in fields:
        raise Refused(body.line, f"expected {name}")
    return fields[name].text()


def _leaf(kind: str, name: str, body: Node, fields: Fields) -> Condition:
    if name in ("_type", "_index", "_id") or name.startswith("@timestamp"):
        raise Refused(body.line, f"{name}: records here do not have it as a field")
    return _LEAVES[kind](name, body, fields)


def _value(body: Node, *names: str) -> tuple[Any, dict[str, Node]]:
    """The value of a query, given by itself or below one of `names`; and its other options."""
    if body.is_text:
        return body.value(), {}
    fields = body.fields()
    for name in names:
        if name in fields:
            return fields.pop(name).value(), fields
    raise Refused(body.line, f"expected {names[0]}")


def _scalar(value: Any, line: int) -> Value:
    if isinstance(value, (str, int, float)):
        return value
    raise Refused(line, "expected text, a number, true or false")


def _term(name: str, body: Node, fields: Fields) -> Condition:
    value, options = _value(body, "value", "term")
    value = _scalar(value, body.line)
    if fields.is_text(name):
        if len(_WORD.findall(str(value))) != 1:
            raise Refused(body.line, f"term: {name} is a text, none of its words is {value!r}")
        return words(fields, name, value)
    if "case_insensitive" in options and options["case_insensitive"].flag():
        return c.matching(fields.path(name), [c.quoted(str(value))], flags="i", whole=True)
    return exact(fields, name, value)


def _terms(name: str, body: Node, fields: Fields) -> Condition:
    if not body.is_list:
        raise Refused(body.line, "terms: expected a list of values")
    return c.any_of([_term(name, item, fields) for item in body.items()])


def _match(name: str, body: Node, fields: Fields) -> Condition:
    value, options = _value(body, "query")
    value = _scalar(value, body.line)
    for option in options:
        if option not in ("operator", "boost", "type", "zero_terms_query", "lenient"):
            raise Refused(options[option].line, f"match: {option} is not known here")
    if not fields.is_text(name):
        return exact(fields, name, value)
    phrase = "type" in options and options["type"].text() == "phrase"
    every_ = "operator" in options and options["operator"].text().lower() == "and"
    return words(fields, name, value, every=every_, row=phrase)


def _phrase(name: str, body: Node, fields: Fields) -> Condition:
    value, options = _value(body, "query")
    if options.keys() - {"boost"}:
        raise Refused(body.line, f"match_phrase: {', '.join(options)} is not known here")
    value = _scalar(value, body.line)
    return words(fields, name, value, row=True) if fields.is_text(name) else exact(fields, name, value)


def _prefix(name: str, body: Node, fields: Fields) -> Condition:
    value = str(_value(body, "value", "prefix")[0])
    if fields.is_text(name):
        return wildcard(fields, name, re.sub(r"([\\*?])", r"\\\1", value) + "*")
    return c.text_test(fields.path(name), "startsWith", value)


def _wildcard(name: str, body: Node, fields: Fields) -> Condition:
    value, options = _value(body, "value", "wildcard")
    folded = "case_insensitive" in options and options["case_insensitive"].flag()
    return wildcard(fields, name, str(value), folded=folded)


def _regexp(name: str, body: Node, fields: Fields) -> Condition:
    return regexp(fields, name, str(_value(body, "value")[0]), body.line)


def regexp(fields: Fields, name: str, value: str, line: int) -> Condition:
    """Lucene's patterns are of the whole value; its own operators are not RE2's."""
    if fields.is_text(name):
        raise Refused(line, f"regexp over {name}: a pattern over single words of a text cannot be said here")
    if re.search(r"(?<!\\)[~&#@<>\"]", value):
        raise Refused(line, "regexp: one of Lucene's own operators ~ & # @ < > \" is not known here")
    return c.text_test(fields.path(name), "matches", f"(?s)^(?:{value})$")


def _range(name: str, body: Node, fields: Fields) -> Condition:
    bounds = body.fields()
    for option in ("format", "time_zone"):
        if option in bounds:
            raise Refused(body.line, f"range: {option}: dates have no order here")
    given = [(op, _scalar(node.value(), node.line)) for op, node in bounds.items() if op != "boost"]
    return between(fields, name, given, body.line)


_LEAVES: dict[str, Callable[[str, Node, Fields], Condition]] = {
    "term": _term,
    "terms": _terms,
    "match": _match,
    "match_phrase": _phrase,
    "prefix": _prefix,
    "wildcard": _wildcard,
    "regexp": _regexp,
    "range": _range,
}
