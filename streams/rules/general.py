"""Expressions of any shape -> functions of a record: what the generated code (compiler.py) has no words of its own for.

Lists and maps of expressions, `filter` and `map`, conditions on an item and the record together, times, durations,
`? :`. A value is MISSING where a field is, where types do not allow an operation, and where a condition is neither true
nor false. Bounded: so many items are looked at in one evaluation (`MAX_STEPS`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

from streams.rules import nodes, times
from streams.rules.nodes import Node
from streams.rules.parser import pattern
from streams.rules.values import (
    MISSING,
    NUMBERS,
    add,
    equal,
    in_network,
    lower_ascii,
    member,
    ordered,
    size,
    string,
    subtract,
)

MAX_STEPS = 10_000
MAX_TEXT = 1 << 20


class Scope:
    """Of one evaluation: the record, the items that have names, and how much may still be done."""

    __slots__ = ("items", "left", "record")

    def __init__(self, record: Any) -> None:
        self.record = record
        self.items: dict[str, Any] = {}
        self.left = MAX_STEPS


Value = Callable[[Scope], Any]


def general(node: Node) -> Callable[[Any], Any]:
    """A function of the record: the value of `node`; of a condition True, False or MISSING."""
    value = _value(node)
    return lambda record: value(Scope(record))


def _value(node: Node) -> Value:
    make = _MADE.get(type(node))
    if make is None:
        raise AssertionError(f"not an expression: {node}")
    return make(node)


def _known(found: bool | None) -> Any:
    return MISSING if found is None else found


def _path(node: nodes.Path) -> Value:
    parts = node.parts

    def at(scope: Scope) -> Any:
        value = scope.record
        for part in parts:
            value = _member(value, part)
        return value

    return at


def _member(value: Any, part: Any) -> Any:
    if isinstance(value, dict) and isinstance(part, str):
        return value.get(part, MISSING)
    if isinstance(value, list) and type(part) is int and 0 <= part < len(value):
        return value[part]
    return MISSING


def _get(node: nodes.Get) -> Value:
    target, key = _value(node.target), _value(node.key)
    return lambda scope: _member(target(scope), key(scope))


def _not(node: nodes.Not) -> Value:
    operand = _value(node.operand)

    def negated(scope: Scope) -> Any:
        found = operand(scope)
        return not found if isinstance(found, bool) else MISSING

    return negated


def _all(node: nodes.All) -> Value:
    operands = [_value(each) for each in node.operands]
    return lambda scope: _joined((each(scope) for each in operands), decides=False)


def _any(node: nodes.Any) -> Value:
    operands = [_value(each) for each in node.operands]
    return lambda scope: _joined((each(scope) for each in operands), decides=True)


def _joined(found: Any, *, decides: bool) -> Any:
    """`decides` if one is; the other if all are; else MISSING."""
    out: Any = not decides
    for each in found:
        if each is decides:
            return decides
        if each is not (not decides):
            out = MISSING
    return out


_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _compare(node: nodes.Compare) -> Value:
    left, right, op = _value(node.left), _value(node.right), node.op
    if op == "in":
        return lambda scope: _known(member(left(scope), right(scope)))
    if op in ("==", "!="):

        def same(scope: Scope) -> Any:
            found = equal(left(scope), right(scope))
            return MISSING if found is None else found == (op == "==")

        return same
    test = _ORDER[op]

    def compared(scope: Scope) -> Any:
        a, b = left(scope), right(scope)
        return test(a, b) if ordered(a, b) else MISSING

    return compared


def _arithmetic(node: nodes.Arithmetic) -> Value:
    left, right = _value(node.left), _value(node.right)
    apply = add if node.op == "+" else subtract
    return lambda scope: apply(left(scope), right(scope))


_TESTS: dict[str, Callable[[str, str], Any]] = {
    "contains": lambda text, part: part in text,
    "startsWith": lambda text, part: text.startswith(part),
    "endsWith": lambda text, part: text.endswith(part),
}


def _text_test(node: nodes.TextTest) -> Value:
    target = _value(node.target)
    if node.name == "matches" and isinstance(node.argument, nodes.Literal):
        search = pattern(str(node.argument.value)).search
        return lambda scope: search(found) is not None if isinstance(found := target(scope), str) else MISSING
    argument = _value(node.argument)
    test = _TESTS[node.name]

    def tested(scope: Scope) -> Any:
        a, b = target(scope), argument(scope)
        return test(a, b) if isinstance(a, str) and isinstance(b, str) else MISSING

    return tested


def _each(node: nodes.Each) -> Value:
    target = _value(node.target)
    condition = general(node.condition)

    def over(scope: Scope) -> Any:
        items = target(scope)
        if not isinstance(items, (list, dict)):
            return MISSING
        return _joined((condition({node.name: item}) for item in items), decides=node.kind == "exists")

    return over


def _over(node: nodes.Over) -> Value:
    target, body = _value(node.target), _value(node.body)
    name, finish = node.name, _FINISHED[node.kind]

    def over(scope: Scope) -> Any:
        found = target(scope)
        items = list(found) if isinstance(found, (list, dict)) else None
        if items is None:
            return MISSING
        outer = scope.items.get(name, MISSING)
        results = []
        for item in items:
            scope.left -= 1
            if scope.left < 0:
                return MISSING
            scope.items[name] = item
            results.append(body(scope))
        scope.items[name] = outer
        return finish(items, results)

    return over


def _filtered(items: list[Any], results: list[Any]) -> Any:
    if any(not isinstance(each, bool) for each in results):
        return MISSING
    return [item for item, keep in zip(items, results, strict=True) if keep]


def _exists_one(items: list[Any], results: list[Any]) -> Any:
    return MISSING if any(not isinstance(each, bool) for each in results) else results.count(True) == 1


_FINISHED: dict[str, Callable[[list[Any], list[Any]], Any]] = {
    "exists": lambda _items, results: _joined(results, decides=True),
    "all": lambda _items, results: _joined(results, decides=False),
    "exists_one": _exists_one,
    "filter": _filtered,
    "map": lambda _items, results: MISSING if any(each is MISSING for each in results) else results,
}


def _choose(node: nodes.Choose) -> Value:
    condition, then, otherwise = _value(node.condition), _value(node.then), _value(node.otherwise)

    def chosen(scope: Scope) -> Any:
        found = condition(scope)
        return then(scope) if found is True else otherwise(scope) if found is False else MISSING

    return chosen


def _list(node: nodes.ListOf) -> Value:
    items = [_value(each) for each in node.items]
    return lambda scope: _whole([each(scope) for each in items])


def _whole(found: list[Any]) -> Any:
    return MISSING if any(each is MISSING for each in found) else found


def _map(node: nodes.MapOf) -> Value:
    entries = [(key, _value(value)) for key, value in node.entries]

    def made(scope: Scope) -> Any:
        out = {key: value(scope) for key, value in entries}
        return MISSING if any(each is MISSING for each in out.values()) else out

    return made


def _call(node: nodes.Call) -> Value:
    function, arguments = FUNCTIONS[node.name], [_value(each) for each in node.arguments]

    def called(scope: Scope) -> Any:
        found = [each(scope) for each in arguments]
        if any(each is MISSING for each in found) and node.name != "has":
            return MISSING
        try:
            return function(*found)
        except (ValueError, TypeError, OverflowError, ZeroDivisionError, ArithmeticError):
            return MISSING

    return called


def _has(node: nodes.Has) -> Value:
    value = _path(node.path)
    return lambda scope: value(scope) is not MISSING


def _size(node: nodes.Size) -> Value:
    operand = _value(node.operand)
    return lambda scope: size(operand(scope))


def _holds(node: nodes.Holds) -> Value:
    operand = _value(node.operand)
    return lambda scope: operand(scope) is True


def _convert(node: nodes.Convert) -> Value:
    operand, convert = _value(node.operand), {"string": string, "lowerAscii": lower_ascii}[node.name]
    return lambda scope: convert(operand(scope))


def _network(node: nodes.InNetwork) -> Value:
    target, network = _value(node.target), ip_network(node.network)
    return lambda scope: _known(in_network(target(scope), network))


_MADE: dict[type[Any], Callable[[Any], Value]] = {
    nodes.Literal: lambda node: lambda _scope: node.value,
    nodes.Items: lambda node: lambda _scope: list(node.values),
    nodes.Path: _path,
    nodes.Var: lambda node: lambda scope: scope.items.get(node.name, MISSING),
    nodes.Get: _get,
    nodes.Not: _not,
    nodes.All: _all,
    nodes.Any: _any,
    nodes.Compare: _compare,
    nodes.Arithmetic: _arithmetic,
    nodes.Has: _has,
    nodes.Size: _size,
    nodes.TextTest: _text_test,
    nodes.Holds: _holds,
    nodes.Convert: _convert,
    nodes.InNetwork: _network,
    nodes.Each: _each,
    nodes.Over: _over,
    nodes.Choose: _choose,
    nodes.ListOf: _list,
    nodes.MapOf: _map,
    nodes.Call: _call,
}


def _number(value: Any) -> Any:
    if type(value) not in NUMBERS:
        raise TypeError
    return value


def _divided(left: Any, right: Any) -> Any:
    """Integers give an integer, cut towards zero."""
    if type(_number(left)) is int and type(_number(right)) is int:
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    return left / right


def _remainder(left: Any, right: Any) -> Any:
    if type(left) is not int or type(right) is not int:
        raise TypeError
    return left - right * _divided(left, right)


def _int(value: Any) -> Any:
    if isinstance(value, datetime):
        return times.seconds(value)
    return int(value) if isinstance(value, str) else int(_number(value))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "*": lambda left, right: _number(left) * _number(right),
    "/": _divided,
    "%": _remainder,
    "has": lambda value: value is not MISSING,
    "int": _int,
    "double": lambda value: float(value) if isinstance(value, str) else float(_number(value)),
    "upperAscii": lambda text: "".join(c.upper() if c.isascii() else c for c in text),
    "duration": lambda value: value if isinstance(value, timedelta) else times.duration(value),
    "timestamp": lambda value: value if isinstance(value, datetime) else times.timestamp(value),
    **times.PARTS,
}
