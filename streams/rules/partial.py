"""Conditions that every record must be looked at for, over records of which only the asked fields are decoded.

What is not asked for is skipped by the decoder: a quarter of the time of decoding all. Only used where the answer is
the same: msgspec keeps integers of any size where orjson makes doubles of large ones, so numbers are compared with
small constants alone; what it does not take (no object at the root, say) is decoded whole by the caller.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from streams.rules import nodes
from streams.rules.compiler import Compiler, Evaluate, code
from streams.rules.nodes import Node
from streams.rules.values import MISSING

ENVELOPE = "specversion"
"""A field of a CloudEvents envelope: the record is inside."""
EXACT = 1 << 53
_KNOWN = (
    nodes.Literal, nodes.Items, nodes.Path, nodes.Not, nodes.All, nodes.Any, nodes.Compare, nodes.Has, nodes.Size,
    nodes.TextTest, nodes.Holds, nodes.Convert, nodes.InNetwork,
)  # fmt: skip
"""What cannot tell an integer of any size from the double nearest to it, but as `_exact` says."""
Parts = tuple[str | int, ...]


class Partial(NamedTuple):
    """`decode(value)` raises msgspec.MsgspecError or RecursionError; `evaluate` takes what it gives."""

    decode: Callable[[bytes], Any]
    evaluate: Evaluate
    enveloped: Callable[[Any], bool]


def partial(trees: Sequence[Node]) -> Partial | None:
    """None where the fields cannot be had by themselves, or the answer could be another one."""
    paths = {path.parts for path in nodes.paths(trees)}
    if not all(parts and isinstance(parts[0], str) for parts in paths) or not all(map(_exact, trees)):
        return None
    shape = _Shape(paths)
    try:
        evaluate = _OverStructs(trees, shape).function()
    except KeyError:
        return None  # a field that `nodes.paths` does not know of
    decode = msgspec.json.Decoder(shape.root).decode
    return Partial(decode, evaluate, lambda record: record.envelope is not MISSING)


def _exact(node: Node) -> bool:
    """Whether integers beyond doubles cannot make a difference."""
    for part in _parts(node):
        if not isinstance(part, _KNOWN) or (isinstance(part, nodes.Convert) and part.name != "lowerAscii"):
            return False
        if isinstance(part, nodes.Compare):
            constants = [side for side in (part.left, part.right) if isinstance(side, (nodes.Literal, nodes.Items))]
            if not constants or not all(map(_small, constants)):
                return False
    return True


def _small(constant: nodes.Literal | nodes.Items) -> bool:
    values = constant.values if isinstance(constant, nodes.Items) else (constant.value,)
    return all(isinstance(value, str) or abs(value or 0) < EXACT for value in values)


def _parts(node: object) -> Iterator[object]:
    """The node and all nodes in it, whatever kinds there are."""
    yield node
    if dataclasses.is_dataclass(node):
        for each in dataclasses.fields(node):
            value = getattr(node, each.name)
            for inner in value if isinstance(value, tuple) else (value,):
                yield from _parts(inner) if dataclasses.is_dataclass(inner) else ()


class _Shape:
    """Structs for the fields asked for. What is below one that is asked for itself, or in a list, is decoded whole."""

    def __init__(self, paths: set[Parts]) -> None:
        self._paths = paths
        self.names: dict[Parts, str] = {}
        """Path -> its attribute of the struct of the path before."""
        self.structs: dict[Parts, type[msgspec.Struct]] = {}
        self.root = self._struct((), [("envelope", Any, MISSING)], {"envelope": ENVELOPE})

    def _struct(self, outer: Parts, fields: list[Any], rename: dict[str, str]) -> type[msgspec.Struct]:
        keys = dict.fromkeys(path[len(outer)] for path in sorted(self._paths, key=repr) if self._below(path, outer))
        for number, key in enumerate(keys):
            if outer == () and key == ENVELOPE:
                self.names[(key,)] = "envelope"
                continue
            path = (*outer, key)
            kind: Any = Any
            if path not in self._paths and all(
                isinstance(each[len(path)], str) for each in self._paths if self._below(each, path)
            ):
                kind = self._struct(path, [], {}) | None | bool | int | float | str | list
            self.names[path] = f"field{number}"
            fields.append((f"field{number}", kind, MISSING))
            rename[f"field{number}"] = str(key)
        made = msgspec.defstruct("Asked", fields, rename=rename, gc=False)
        self.structs[outer] = made
        return made

    @staticmethod
    def _below(path: Parts, outer: Parts) -> bool:
        return len(path) > len(outer) and path[: len(outer)] == outer


class _OverStructs(Compiler):
    def __init__(self, trees: Sequence[Node], shape: _Shape) -> None:
        super().__init__(trees)
        self._shape = shape

    def fetch(self, source: ast.expr, outer: Parts, last: str | int) -> ast.expr:
        if outer not in self._shape.structs:
            return super().fetch(source, outer, last)
        attribute = ast.Attribute(source, self._shape.names[(*outer, last)], ast.Load())
        if not outer:
            return attribute
        return code(
            "A if type(V) is K else MISSING", A=attribute, V=source, K=self.constant(self._shape.structs[outer])
        )
