"""A plain interpreter of conditions, three-valued, one node at a time: what the generated function is compared with."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from streams.rules import nodes
from streams.rules.nodes import Node

MISSING = object()


def truth(node: Node, record: dict[str, Any]) -> bool | None:
    """True, False, or None where the record does not say."""
    match node:
        case nodes.Not(operand=operand):
            inner = truth(operand, record)
            return None if inner is None else not inner
        case nodes.All(operands=operands):
            found = [truth(each, record) for each in operands]
            return False if False in found else None if None in found else True
        case nodes.Any(operands=operands):
            found = [truth(each, record) for each in operands]
            return True if True in found else None if None in found else False
        case nodes.Has(path=path):
            return value(path, record) is not MISSING
        case nodes.Compare(op=op, left=left, right=right):
            return compare(op, value(left, record), value(right, record))
        case nodes.TextTest(name=name, target=target, argument=argument):
            return text_test(name, value(target, record), value(argument, record))
        case nodes.Each(kind=kind, target=target, name=name, condition=condition):
            items = value(target, record)
            if not isinstance(items, list):
                return None
            found = [truth(condition, {name: item}) is True for item in items]
            return all(found) if kind == "all" else any(found)
        case nodes.Holds(operand=operand):
            return truth(operand, record) is True
        case nodes.InNetwork(network=network, target=target):
            return inside(network, value(target, record))
    found_value = value(node, record)
    return found_value if isinstance(found_value, bool) else None


def value(node: Node, record: Any) -> Any:
    match node:
        case nodes.Literal(value=constant):
            return constant
        case nodes.Items(values=values):
            return list(values)
        case nodes.Path(parts=parts):
            for part in parts:
                try:
                    fits = isinstance(record, dict if isinstance(part, str) else list)
                    record = record[part] if fits else MISSING
                except (KeyError, IndexError):
                    return MISSING
            return record
        case nodes.Size(operand=operand):
            found = value(operand, record)
            return len(found) if isinstance(found, (str, list, dict)) else MISSING
        case nodes.Arithmetic(op=op, left=left, right=right):
            a, b = value(left, record), value(right, record)
            if numbers(a, b):
                return a + b if op == "+" else a - b
            return a + b if op == "+" and isinstance(a, str) and isinstance(b, str) else MISSING
        case nodes.Convert(name=name, operand=operand):
            found = value(operand, record)
            if name == "lowerAscii":
                return re.sub("[A-Z]", lambda c: c[0].lower(), found) if isinstance(found, str) else MISSING
            if found is MISSING or found is None or isinstance(found, (dict, list)):
                return MISSING
            return found if isinstance(found, str) else json.dumps(found).removesuffix(".0")
    raise AssertionError(node)


def inside(network: str, address: Any) -> bool | None:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network) if isinstance(address, str) else None
    except ValueError:
        return None


def numbers(*values: Any) -> bool:
    return all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in values)


def equal(a: Any, b: Any) -> bool:
    return a is b if isinstance(a, bool) or isinstance(b, bool) else bool(a == b)


def compare(op: str, a: Any, b: Any) -> bool | None:
    if a is MISSING or b is MISSING:
        return None
    if op in ("==", "!="):
        return equal(a, b) == (op == "==")
    if op == "in":
        if isinstance(b, dict):
            return isinstance(a, str) and a in b
        return any(equal(a, each) for each in b) if isinstance(b, list) else None
    if not (numbers(a, b) or (isinstance(a, str) and isinstance(b, str))):
        return None
    return bool({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op])


def text_test(name: str, a: Any, b: Any) -> bool | None:
    if not (isinstance(a, str) and isinstance(b, str)):
        return None
    tests = {"contains": b in a, "startsWith": a.startswith(b), "endsWith": a.endswith(b)}
    return tests[name] if name in tests else re.search(b, a) is not None
