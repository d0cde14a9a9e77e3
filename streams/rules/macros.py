"""Names a rule file gives to conditions (`macros`), lists of constants (`lists`) and fields (`aliases`). Pure.

Rules are stored with the names written out, so that each rule stands for itself. A name that leads back to itself is
refused with the way it goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from streams.rules.lexer import MAX_TEXT, SyntaxProblem, Token, tokens
from streams.rules.parser import ROOT, parse, parse_path
from streams.yaml_nodes import Node

DEFINITIONS = ("macros", "lists", "aliases")
MAX_NAMES = 1000
MAX_VALUES = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = frozenset({ROOT, "has", "size", "in", "true", "false", "null", "duration", "timestamp"})


class Written(NamedTuple):
    """A text with the names written out, and from which place of the first text each part came."""

    text: str
    places: tuple[tuple[int, int, str], ...] = ()
    """(where in `text` a part begins, where it was in the first text, the name it was, or empty)."""

    def place(self, at: int) -> tuple[int, str]:
        """Where in the first text position `at` comes from, and the name it lies within."""
        begins, was, name = 0, 0, ""
        for part in self.places:
            if part[0] > at:
                break
            begins, was, name = part
        return (was, name) if name else (was + at - begins, "")


class Definitions:
    """`values`: what each name is written out as, with everything in it written out."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def __bool__(self) -> bool:
        return bool(self._values)

    def written(self, text: str) -> Written:
        """Raises SyntaxProblem where `text` is none, or becomes too long."""
        if not self._values:
            return Written(text)
        out, places, end = "", [], 0
        for token, free in _names(tokens(text)):
            if not free or token.text not in self._values:
                continue
            places.append((len(out), end, ""))
            out += text[end : token.at]
            places.append((len(out), token.at, token.text))
            out += self._values[token.text]
            end = token.at + len(token.text)
            if len(out) > MAX_TEXT:
                raise SyntaxProblem(token.at, f"longer than {MAX_TEXT} characters with its macros written out")
        places.append((len(out), end, ""))
        return Written(out + text[end:], tuple(places))

    def read(self, fields: Mapping[str, Node]) -> Definitions:
        """These and those of a file or rule. Complains through the nodes."""
        own: dict[str, str] = {}
        nodes: dict[str, Node] = {}
        for kind in DEFINITIONS:
            for name, node in fields[kind].fields().items() if kind in fields else ():
                if not _NAME.fullmatch(name) or name in _TAKEN:
                    node.fail("expected a name of letters, digits and _ that means nothing else")
                elif name in nodes:
                    node.fail(f"the name is taken in line {nodes[name].line}")
                else:
                    nodes[name] = node
                    own[name] = (
                        _list(node) if kind == "lists" else f"({node.text()})" if kind == "macros" else node.text()
                    )
        if len(nodes) > MAX_NAMES:
            next(iter(nodes.values())).fail(f"more than {MAX_NAMES} names")
            return self
        return self._resolved(own, nodes, set(fields["aliases"].fields()) if "aliases" in fields else set())

    def _resolved(self, own: dict[str, str], nodes: Mapping[str, Node], fields: set[str]) -> Definitions:
        done: dict[str, str] = {name: value for name, value in self._values.items() if name not in own}
        refused: set[str] = set()

        def resolve(name: str, way: tuple[str, ...]) -> None:
            if name in done or name in refused:
                return
            if name in way:
                nodes[name].fail(f"leads back to itself: {' -> '.join((*way[way.index(name) :], name))}")
                refused.update(way[way.index(name) :])
                return
            try:
                asked = [token.text for token, free in _names(tokens(own[name])) if free and token.text in own]
                for other in asked:
                    resolve(other, (*way, name))
                if name in refused or any(other in refused for other in asked):
                    refused.add(name)
                    return
                done[name] = Definitions(done).written(own[name]).text
                (parse_path if name in fields else parse)(_checkable(done[name]))
            except SyntaxProblem as problem:
                nodes[name].fail(str(problem))
                refused.add(name)

        for name in own:
            resolve(name, ())
        # A refused name stands for something all the same, so that its uses are not complained about as well.
        return Definitions(done | {name: "true" if own[name][:1] == "(" else own[name] for name in refused})


def _checkable(text: str) -> str:
    """A condition to parse in place of a list, which is none."""
    return f"record.x in {text}" if text.startswith("[") else text


def _list(node: Node) -> str:
    values = [item.value() for item in node.items()]
    if not 0 < len(values) <= MAX_VALUES:
        node.fail(f"expected a list of 1 to {MAX_VALUES} values")
    if any(isinstance(value, (dict, list)) or value is None for value in values):
        node.fail("expected text, numbers or true and false")
        return "[]"
    return "[" + ", ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"


def _names(found: list[Token]) -> list[tuple[Token, bool]]:
    """The names of a text, and whether each stands for itself: not after a dot, and not of a function."""
    out = []
    for index, token in enumerate(found):
        if token.kind == "name":
            after_dot = index > 0 and found[index - 1].text == "." and found[index - 1].kind == "op"
            called = found[index + 1].text == "(" and found[index + 1].kind == "op"
            out.append((token, not after_dot and not called))
    return out
