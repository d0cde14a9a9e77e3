"""One test of a Falco condition -> condition. Pure.

Of a field that is a list, `intersects` asks for one item that is among the values, `in` for all of them (and one at
least), as libsinsp has it. A field that a record lacks makes every test false.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from streams.rules.imports import conditions as c
from streams.rules.imports.conditions import Condition
from streams.rules.imports.falco_condition import Check, Wrong
from streams.rules.imports.falco_fields import FIELDS, WHOLE, Field, pointed

_NAMES = ("item", "inner")
_TEXT = {
    "contains": "contains", "startswith": "startsWith", "endswith": "endsWith", "icontains": "contains",
    "istartswith": "startsWith", "iendswith": "endsWith",
}  # fmt: skip
_NUMBER = re.compile(r"0|-?[1-9]\d{0,14}")


def checked(check: Check) -> Condition:
    """Lists named in `check.values` have been replaced by their items. Raises Wrong."""
    if check.field == "jevt.rawtime":
        return _time(check)
    field = _field(check)
    if not field.lists:
        return _test(field.last, field, check)
    if check.op == "exists":
        return _some(field, lambda path: Condition(f"{path} != null"))
    if check.op == "intersects":
        return _some(field, lambda path: _test(path, field, check))
    if check.op != "in":
        raise Wrong(f"{check.field} is a list: expected in, intersects or exists, not {check.op}")
    present = _some(field, lambda path: Condition(f"{path} != null"))
    other = _some(field, lambda path: c.all_of([Condition(f"{path} != null"), c.negated(_test(path, field, check))]))
    return c.all_of([present, c.negated(other)])


def _time(check: Check) -> Condition:
    """Every record has one: what the usual macros for always and never make use of."""
    if check.op == "exists":
        return c.ALWAYS
    if check.op == "=" and check.values[0].text == "0":
        return c.NEVER
    raise Wrong(f"{check.field}: {check.op}: a record's time is no field to compare")


def _field(check: Check) -> Field:
    name = check.field
    if name == "jevt.value":
        found = pointed(check.argument)
        if found is None:
            raise Wrong(f"jevt.value[{check.argument}]: not a JSON pointer")
        return found
    if name in WHOLE:
        raise Wrong(f"{name}: an object as one text cannot be looked into here")
    if name not in FIELDS:
        raise Wrong(f"{name}: records of kube.audit do not have this field")
    if check.argument:
        raise Wrong(f"{name}[{check.argument}]: single items of a list cannot be asked for here")
    return FIELDS[name]


def _some(field: Field, test: Callable[[str], Condition]) -> Condition:
    """One item of the innermost list for which `test(its path)` holds."""
    names = _NAMES[: len(field.lists)]
    last = f"{names[-1]}.{field.last}" if field.last else names[-1]
    found = test(last)
    for number in range(len(names) - 1, -1, -1):
        outer = f"{names[number - 1]}." if number else ""
        found = Condition(f"{outer}{field.lists[number]}.exists({names[number]}, {found.text})")
    return found


def _test(path: str, field: Field, check: Check) -> Condition:
    """Of one value at `path`."""
    op, values = check.op, [value.text for value in check.values]
    if op == "exists":
        return Condition(f"{path} != null")
    if op in ("=", "in", "intersects"):
        return _among(path, field, values)
    if op == "!=":
        return c.all_of([Condition(f"{path} != null"), c.negated(_among(path, field, values))])
    if field.repository:
        raise Wrong(f"{check.field}: {op}: expected in or intersects")
    text = f"string({path})" if field.number or field.flag or field.free else path
    if op in _TEXT:
        if op.startswith("i"):
            begin, end = ("^" if op == "istartswith" else ""), ("$" if op == "iendswith" else "")
            return c.text_test(text, "matches", f"(?i){begin}{c.quoted(values[0])}{end}")
        return c.text_test(text, _TEXT[op], values[0])
    if op in ("glob", "iglob") and not set(values[0]) & set("[]\\"):
        pattern = "".join({"*": ".*", "?": "."}.get(each) or c.quoted(each) for each in values[0])
        return c.matching(text, [pattern], flags="s" if op == "glob" else "is", whole=True)
    if op == "pmatch":
        return c.any_of([each for value in values for each in _below(text, value.rstrip("/"))])
    raise Wrong(f"{check.field}: {op}: not known here")


def _below(text: str, folder: str) -> list[Condition]:
    return [c.same(text, folder or "/"), c.text_test(text, "startsWith", f"{folder}/")]


def _among(path: str, field: Field, values: list[str]) -> Condition:
    if field.repository:
        return c.matching(path, [c.quoted(value) + r"(?:[:@].*)?" for value in values], flags="s", whole=True)
    if field.free:
        free: list[str | float] = list(values)
        free += [int(value) for value in values if _NUMBER.fullmatch(value)]
        free += [value == "true" for value in values if value in ("true", "false")]
        return c.among(path, free)
    if field.flag:
        return c.any_of([c.same(path, value == "true") for value in values if value in ("true", "false")])
    if field.number:
        numbers = [int(value) for value in values if _NUMBER.fullmatch(value)]
        return c.among(path, numbers) if numbers else c.NEVER
    return c.among(path, values) if values else c.NEVER
