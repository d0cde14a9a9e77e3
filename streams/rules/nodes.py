"""The typed tree of a `where` expression. Every node knows where in the text it begins (`at`, 0-based)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

Scalar = str | int | float | bool | None


class Kind(Enum):
    """What is known of a value before any record is seen. ANY: it depends on the record."""

    BOOL = "a condition"
    TEXT = "text"
    NUMBER = "a number"
    LIST = "a list"
    MAP = "a map"
    TIME = "a time"
    DURATION = "a duration"
    NULL = "null"
    ANY = "a field"


@dataclass(frozen=True, slots=True)
class Literal:
    value: Scalar
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Items:
    """A list of constants, for `in`."""

    values: tuple[Scalar, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Path:
    """A value of the record: keys and positions from its root."""

    parts: tuple[str | int, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    operand: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class All:
    """`a && b && c`, flat."""

    operands: tuple[Node, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Any:
    """`a || b || c`, flat."""

    operands: tuple[Node, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """`op` is one of == != < <= > >= in."""

    op: str
    left: Node
    right: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`op` is + or -."""

    op: str
    left: Node
    right: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Has:
    path: Path
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Size:
    operand: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class TextTest:
    """`target.name(argument)`: name is one of contains, startsWith, endsWith, matches."""

    name: str
    target: Node
    argument: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Holds:
    """Whether `operand` is true of the record: two-valued, where the operand itself may be neither true nor false."""

    operand: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Convert:
    """`name` of a value: `string` writes a scalar as text, `lowerAscii` has A to Z in lower case."""

    name: str
    operand: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class InNetwork:
    """Whether text is an address of `network`, an IPv4 or IPv6 prefix."""

    network: str
    target: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Each:
    """`target.exists(name, condition)`, or `all`. `condition` is on a record of nothing but the item, as `name`."""

    kind: str
    target: Path
    name: str
    condition: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Var:
    """The item of a list (or key of a map) that is being looked at."""

    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Get:
    """`target.key`, `target[key]`, where it is no plain path of the record."""

    target: Node
    key: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Node, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class MapOf:
    entries: tuple[tuple[str, Node], ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Over:
    """`target.kind(name, body)`: kind is one of exists, all, exists_one, filter, map. The body sees the record too."""

    kind: str
    target: Node
    name: str
    body: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Choose:
    """`condition ? then : otherwise`."""

    condition: Node
    then: Node
    otherwise: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of streams/rules/general.py; `*`, `/` and `%` are such."""

    name: str
    arguments: tuple[Node, ...]
    at: int = field(default=0, compare=False)


GENERAL = (Var, Get, ListOf, MapOf, Over, Choose, Call)
"""What streams/rules/general.py evaluates."""
_CALLED = {
    "duration": Kind.DURATION, "timestamp": Kind.TIME, "has": Kind.BOOL, "upperAscii": Kind.TEXT,
}  # fmt: skip

Node = (
    Literal
    | Items
    | Path
    | Not
    | All
    | Any
    | Compare
    | Arithmetic
    | Has
    | Size
    | TextTest
    | Holds
    | Convert
    | InNetwork
    | Each
    | Var
    | Get
    | ListOf
    | MapOf
    | Over
    | Choose
    | Call
)


def paths(trees: Iterable[Node]) -> Iterator[Path]:
    """Every value of the record that conditions look at, in no order."""
    stack: list[Node] = list(trees)
    while stack:
        node = stack.pop()
        if isinstance(node, Path):
            yield node
        else:
            stack.extend(_inner(node))


def _inner(node: Node) -> tuple[Node, ...]:
    """The expressions in one; not those that see an item alone."""
    match node:
        case Not(operand=operand) | Size(operand=operand) | Holds(operand=operand) | Convert(operand=operand):
            return (operand,)
        case InNetwork(target=target) | Each(target=target) | Has(path=target):
            return (target,)
        case All(operands=operands) | Any(operands=operands):
            return operands
        case Compare(left=left, right=right) | Arithmetic(left=left, right=right):
            return left, right
        case TextTest(target=left, argument=right) | Get(target=left, key=right) | Over(target=left, body=right):
            return left, right
        case ListOf(items=inner) | Call(arguments=inner):
            return inner
        case MapOf(entries=entries):
            return tuple(value for _, value in entries)
        case Choose(condition=condition, then=left, otherwise=right):
            return condition, left, right
    return ()


def kind(node: Node) -> Kind:
    match node:
        case (
            Literal(value=bool())
            | Not()
            | All()
            | Any()
            | Compare()
            | Has()
            | TextTest()
            | Holds()
            | InNetwork()
            | Each()
        ):
            return Kind.BOOL
        case Literal(value=str()) | Convert():
            return Kind.TEXT
        case Literal(value=None):
            return Kind.NULL
        case Literal() | Size():
            return Kind.NUMBER
        case Items() | ListOf():
            return Kind.LIST
        case MapOf():
            return Kind.MAP
        case Over(kind=what):
            return Kind.LIST if what in ("filter", "map") else Kind.BOOL
        case Choose(then=left, otherwise=right):
            return kind(left) if kind(left) is kind(right) else Kind.ANY
        case Call(name=name):
            return _CALLED.get(name, Kind.NUMBER)
        case Arithmetic(op=op, left=left, right=right):
            return _of_sum(op, kind(left), kind(right))
        case Path() | Var() | Get():
            return Kind.ANY


def _of_sum(op: str, left: Kind, right: Kind) -> Kind:
    if op == "-" and left is right is Kind.TIME:
        return Kind.DURATION
    if Kind.TIME in (left, right):
        return Kind.TIME if Kind.DURATION in (left, right) else Kind.ANY
    if op == "-" and Kind.DURATION not in (left, right):
        return Kind.NUMBER if Kind.NUMBER in (left, right) else Kind.ANY
    return left if left is not Kind.ANY else right
