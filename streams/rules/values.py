"""What the generated function calls where the types of both sides are known only from the record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""The value of a field the record lacks, and of an operation its types do not allow."""
NUMBERS = (int, float)
_ORDERED = (str, datetime, timedelta)
_IN_TIME: dict[type, tuple[type, ...]] = {datetime: (datetime, timedelta), timedelta: (timedelta,)}


def equal(left: Any, right: Any) -> bool | None:
    """CEL's equality: values of other types are unequal, numbers compare across int and double; None when missing."""
    if left is MISSING or right is MISSING:
        return None
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def ordered(left: Any, right: Any) -> bool:
    """Whether there is an order between the two: both numbers, both text, both times or both durations."""
    kinds = type(left), type(right)
    if kinds[0] in NUMBERS:
        return kinds[1] in NUMBERS
    return kinds[0] is kinds[1] and kinds[0] in _ORDERED


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
    if ordered(left, right) and type(left) is not datetime:
        return left + right
    return _in_time(lambda: left + right) if {type(left), type(right)} == {datetime, timedelta} else MISSING


def subtract(left: Any, right: Any) -> Any:
    if type(left) in NUMBERS and type(right) in NUMBERS:
        return left - right
    kinds = type(left), type(right)
    return _in_time(lambda: left - right) if kinds[0] in _IN_TIME and kinds[1] in _IN_TIME[kinds[0]] else MISSING


def _in_time(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except OverflowError:
        return MISSING


def size(value: Any) -> Any:
    return len(value) if isinstance(value, (str, list, dict)) else MISSING


def string(value: Any) -> Any:
    """A scalar as JSON writes it; text as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else str(value)
    return str(value) if isinstance(value, (str, int)) else MISSING


_EXACT = 1e15
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def lower_ascii(value: Any) -> Any:
    if not isinstance(value, str):
        return MISSING
    return value.lower() if value.isascii() else value.translate(_LOWER)


def in_network(address: Any, network: IPv4Network | IPv6Network) -> bool | None:
    """None when it is no address. One of IPv4 written as IPv6 (`::ffff:10.0.0.1`) is that of IPv4."""
    return _in_network(address, network) if isinstance(address, str) and len(address) <= _ADDRESS else None


_ADDRESS = 64


@lru_cache(maxsize=4096)
def _in_network(address: str, network: IPv4Network | IPv6Network) -> bool | None:
    try:
        found = ip_address(address)
    except ValueError:
        return None
    return (getattr(found, "ipv4_mapped", None) or found) in network


def each(items: Any, name: str, evaluate: Callable[[dict[str, Any]], list[int]], want_all: bool) -> bool | None:
    """Whether a condition is true of one item of a list (or key of a map), or of all; None when it is neither, or the
    items do not say. `evaluate`: [0] where it is true, [1] where it is false."""
    if not isinstance(items, (list, dict)):
        return None
    found = [evaluate({name: item}) for item in items]
    decides = [1] if want_all else [0]
    if decides in found:
        return not want_all
    return want_all if all(found) else None


HELPERS: dict[str, Any] = {
    "MISSING": MISSING,
    "NUMBERS": NUMBERS,
    "equal": equal,
    "ordered": ordered,
    "member": member,
    "add": add,
    "subtract": subtract,
    "size": size,
    "string": string,
    "lower_ascii": lower_ascii,
    "in_network": in_network,
    "each": each,
}
