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
)


def paths(trees: Iterable[Node]) -> Iterator[Path]:
    """Every value of the record that conditions look at, in no order."""
    stack: list[Node] = list(trees)
    while stack:
        match stack.pop():
            case Path() as path:
                yield path
            case Not(operand=operand) | Size(operand=operand) | Holds(operand=operand) | Convert(operand=operand):
                stack.append(operand)
            case InNetwork(target=target) | Each(target=target):
                stack.append(target)
            case All(operands=operands) | Any(operands=operands):
                stack.extend(operands)
            case Compare(left=left, right=right) | Arithmetic(left=left, right=right):
                stack += [left, right]
            case TextTest(target=left, argument=right):
                stack += [left, right]
            case Has(path=path):
                yield path


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
        case Items():
            return Kind.LIST
        case Arithmetic(op="-"):
            return Kind.NUMBER
        case Arithmetic(left=left, right=right):
            return kind(left) if kind(left) is not Kind.ANY else kind(right)
        case Path():
            return Kind.ANY
