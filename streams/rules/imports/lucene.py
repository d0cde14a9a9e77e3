"""Lucene's query syntax, as Elasticsearch's `query_string` has it -> conditions. Pure.

AND and OR are not operators there: AND makes both neighbours required, OR leaves them optional, and what is optional
beside something required does not matter. That is kept (QueryParserBase.addClause).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from streams.rules.imports import conditions as c
from streams.rules.imports import elastic
from streams.rules.imports.conditions import Condition
from streams.rules.imports.draft import Refused
from streams.rules.imports.elastic import Fields, Value
from streams.yaml_nodes import Node

MAX_TEXT = 16_384
MAX_DEPTH = 20
_OPTIONS = ("query", "default_field", "fields", "default_operator", "analyze_wildcard", "lenient", "boost")
_TERM = re.compile(r"(?:\\.|[^\s\\()\[\]{}\":^~<>=!/]|(?<=[^\s(:])[/!=<>])+")
_FIELD = re.compile(r"((?:\\.|[^\s\\()\[\]{}\":^~!+/-])(?:\\.|[^\s\\()\[\]{}\":^~])*)\s*:\s*")
_PHRASE = re.compile(r'"((?:\\.|[^"\\])*)"')
_PATTERN = re.compile(r"/((?:\\.|[^/\\])*)/")
_RANGE = re.compile(r"([\[{])\s*(\S+|\"[^\"]*\")\s+TO\s+(\"[^\"]*\"|[^\s\]}]+)\s*([\]}])")
_ORDER = re.compile(r"(>=|<=|>|<)\s*(\S+?)(?=[\s)]|$)")
_BOOST = re.compile(r"\^[0-9.]+")


class _Clause(NamedTuple):
    condition: Condition
    required: bool
    prohibited: bool


def query_string(node: Node, fields: Fields) -> Condition:
    """The body of a `query_string` query: its text, or a mapping with `query` and options."""
    if node.is_text:
        return parse(node.text(), fields, node)
    options = node.fields()
    for option, body in options.items():
        if option not in _OPTIONS:
            raise Refused(body.line, f"query_string: {option} is not known here")
    if "query" not in options:
        raise Refused(node.line, "query_string: expected query")
    named = [options["default_field"].text()] if "default_field" in options else []
    named += [item.text() for item in options["fields"].items()] if "fields" in options else []
    every = "default_operator" in options and options["default_operator"].text().upper() == "AND"
    return parse(options["query"].text(), fields, options["query"], [n for n in named if n != "*"], every=every)


def parse(text: str, fields: Fields, node: Node, default: list[str] | None = None, *, every: bool = False) -> Condition:
    if len(text) > MAX_TEXT:
        raise Refused(node.line, f"a query longer than {MAX_TEXT} characters")
    parser = _Parser(text, fields, node, [name.split("^")[0] for name in default or []], every=every)
    out = parser.clauses("")
    parser.expect_end()
    return out


class _Parser:
    def __init__(self, text: str, fields: Fields, node: Node, default: list[str], *, every: bool) -> None:
        self._text = text
        self._fields = fields
        self._node = node
        self._default = default
        self._every = every
        self._at = 0
        self._depth = 0

    def _wrong(self, message: str) -> Refused:
        return Refused(self._node.position(self._text, self._at)[0], f"query: {message} (character {self._at + 1})")

    def _space(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _take(self, *words: str) -> str:
        self._space()
        for word in words:
            end = self._at + len(word)
            ended = not word.isalpha() or end >= len(self._text) or self._text[end] in " \t\r\n("
            if self._text.startswith(word, self._at) and ended:
                self._at = end
                return word
        return ""

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()
        return found

    def expect_end(self) -> None:
        self._space()
        if self._at < len(self._text):
            raise self._wrong(f"unexpected {self._text[self._at]!r}")

    def clauses(self, field: str) -> Condition:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"nested deeper than {MAX_DEPTH}")
        found: list[_Clause] = []
        while True:
            self._space()
            if self._at >= len(self._text) or self._text[self._at] == ")":
                break
            joined = self._take("AND", "OR", "&&", "||")
            joined = {"&&": "AND", "||": "OR"}.get(joined, joined)
            sign = {"!": "NOT", "-": "NOT"}.get(mark := self._take("NOT", "+", "-", "!"), mark)
            self._add(found, joined, sign, self._clause(field))
        self._depth -= 1
        return self._decided(found)

    def _add(self, found: list[_Clause], joined: str, sign: str, condition: Condition) -> None:
        if found and not found[-1].prohibited:
            if joined == "AND":
                found[-1] = found[-1]._replace(required=True)
            elif joined == "OR" and self._every:
                found[-1] = found[-1]._replace(required=False)
        prohibited = sign == "NOT"
        wanted = joined != "OR" if self._every else joined == "AND"
        found.append(_Clause(condition, not prohibited and (sign == "+" or wanted), prohibited))

    def _decided(self, found: list[_Clause]) -> Condition:
        if not found:
            raise self._wrong("expected something to look for")
        required = [each.condition for each in found if each.required]
        if not required:
            optional = [each.condition for each in found if not each.prohibited]
            required = [c.any_of(optional)] if optional else []
        return c.all_of(required + [c.negated(each.condition) for each in found if each.prohibited])

    def _clause(self, field: str) -> Condition:
        self._space()
        if named := self._match(_FIELD):
            field = _plain(named[1])
        if self._take("("):
            out = self.clauses(field)
            if not self._take(")"):
                raise self._wrong("expected ')'")
            self._match(_BOOST)
            return out
        out = self._leaf(field)
        self._match(_BOOST)
        if self._at < len(self._text) and self._text[self._at] == "~":
            raise self._wrong("similar words (~) cannot be looked for here")
        return out

    def _leaf(self, field: str) -> Condition:
        start = self._at
        if found := self._match(_PHRASE):
            phrase = _plain(found[1])
            return self._each(field, lambda name: self._words(name, phrase, row=True))
        if found := self._match(_PATTERN):
            pattern, line = found[1], self._node.line
            return self._each(field, lambda name: elastic.regexp(self._fields, name, pattern, line))
        if found := self._match(_RANGE):
            low = ("gte" if found[1] == "[" else "gt", found[2])
            high = ("lte" if found[4] == "]" else "lt", found[3])
            return self._between(field, [each for each in (low, high) if each[1] != "*"])
        if field and (found := self._match(_ORDER)):
            return self._between(field, [({">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}[found[1]], found[2])])
        if found := self._match(_TERM):
            return self._term(field, found[0])
        self._at = start
        shown = self._text[start : start + 1] or "the end"
        raise self._wrong(f"expected something to look for, not {shown!r}")

    def _between(self, field: str, bounds: list[tuple[str, str]]) -> Condition:
        if not field:
            raise self._wrong("a range of no field")
        line = self._node.line
        given: list[tuple[str, Value]] = [(op, value.strip('"')) for op, value in bounds]
        return elastic.between(self._fields, field, given, line) if given else elastic.exists(self._fields, field)

    def _term(self, field: str, text: str) -> Condition:
        if text in ("AND", "OR", "NOT"):
            raise self._wrong(f"{text} joins nothing")
        if field == "_exists_":
            return elastic.exists(self._fields, _plain(text))
        if text == "*":
            return elastic.exists(self._fields, field) if field else c.ALWAYS
        if re.search(r"(?<!\\)[*?]", text):
            return self._each(field, lambda name: elastic.wildcard(self._fields, name, text))
        return self._each(field, lambda name: self._words(name, _plain(text)))

    def _words(self, name: str, text: str, *, row: bool = False) -> Condition:
        """A term that is several words of a text is one phrase."""
        if not self._fields.is_text(name):
            return elastic.exact(self._fields, name, text)
        return elastic.words(self._fields, name, text, row=True) if row or text else c.NEVER

    def _each(self, field: str, make: Callable[[str], Condition]) -> Condition:
        if field in ("_type", "_index", "_id") or field.startswith("@timestamp"):
            raise self._wrong(f"{field}: records here do not have it as a field")
        if "*" in field:
            raise self._wrong(f"{field}: a pattern of field names cannot be said here")
        names = [field] if field else self._default
        if not names:
            names = list(self._fields.text)
            note = f"words without a field are looked for in {', '.join(names)}, not in every field"
            if note not in self._fields.notes:
                self._fields.notes.append(note)
        return c.any_of([make(name) for name in names])


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
