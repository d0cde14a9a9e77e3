"""What the generated function calls where the types of both sides are known only from the record."""

from __future__ import annotations

from typing import Any


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""The value of a field the record lacks, and of an operation its types do not allow."""
NUMBERS = (int, float)


def equal(left: Any, right: Any) -> bool | None:
    """CEL's equality: values of other types are unequal, numbers compare across int and double; None when missing."""
    if left is MISSING or right is MISSING:
        return None
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def ordered(left: Any, right: Any) -> bool:
    """Whether there is an order between the two: both numbers, or both text."""
    kinds = type(left), type(right)
    return kinds == (str, str) or (kinds[0] in NUMBERS and kinds[1] in NUMBERS)


def member(item: Any, collection: Any) -> bool | None:
    """Whether `item` is in a list, or a key of a map; None when that is no question."""
    if item is MISSING:
        return None
    if isinstance(collection, list):
        return any(equal(item, other) for other in collection)
    if isinstance(collection, dict):
        return isinstance(item, str) and item in collection
    return None


def add(left: Any, right: Any) -> Any:
    return left + right if ordered(left, right) else MISSING


def subtract(left: Any, right: Any) -> Any:
    return left - right if type(left) in NUMBERS and type(right) in NUMBERS else MISSING


def size(value: Any) -> Any:
    return len(value) if isinstance(value, (str, list, dict)) else MISSING


HELPERS: dict[str, Any] = {
    "MISSING": MISSING,
    "NUMBERS": NUMBERS,
    "equal": equal,
    "ordered": ordered,
    "member": member,
    "add": add,
    "subtract": subtract,
    "size": size,
}
