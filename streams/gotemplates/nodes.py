"""What a template is made of once it is read. Lines count from 1."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constant:
    value: object
    line: int


@dataclass(frozen=True, slots=True)
class Dot:
    line: int


@dataclass(frozen=True, slots=True)
class Field:
    """`.a.b`, or fields of something else when it stands in a `Chain`."""

    names: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Variable:
    """`$x.a.b`; the name with its dollar."""

    name: str
    fields: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Chain:
    """`(pipeline).a.b`; without fields: a pipeline in parentheses."""

    pipeline: Pipeline
    fields: tuple[str, ...]
    line: int


Operand = Constant | Dot | Field | Variable | Function | Chain


@dataclass(frozen=True, slots=True)
class Command:
    operands: tuple[Operand, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Pipeline:
    """`declares`: names that get the value (two of `range`); `assigns`: they exist already."""

    commands: tuple[Command, ...]
    declares: tuple[str, ...]
    assigns: bool
    line: int


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Action:
    pipeline: Pipeline
    line: int


@dataclass(frozen=True, slots=True)
class Branch:
    """`kind`: if, with, range."""

    kind: str
    pipeline: Pipeline
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Call:
    """`{{ template "name" pipeline }}`."""

    name: str
    pipeline: Pipeline | None
    line: int


@dataclass(frozen=True, slots=True)
class Leave:
    """`break` or `continue`."""

    kind: str
    line: int


Node = Text | Action | Branch | Call | Leave
Body = tuple[Node, ...]
