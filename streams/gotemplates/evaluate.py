"""Rendering a template: Go's meaning, under bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from streams.gotemplates.errors import TemplateError
from streams.gotemplates.functions import FUNCTIONS, truth
from streams.gotemplates.nodes import (
    Action,
    Body,
    Branch,
    Call,
    Chain,
    Command,
    Constant,
    Field,
    Function,
    Operand,
    Pipeline,
    Text,
    Variable,
)
from streams.gotemplates.printing import kind_of

MAX_STEPS = 100_000
"""Nodes and calls one rendering may take."""
CHARACTERS = 16
"""That many that a function handles cost as much as a step."""
MAX_CALLS = 50
"""Templates within templates."""
_NOTHING: Any = object()


class Output(Protocol):
    def text(self, text: str) -> None:
        """What stands in the template itself."""

    def value(self, value: object, function: str) -> None:
        """What an action gave; `function` is the last one it called, if any."""


class _Left(Exception):
    def __init__(self, kind: str) -> None:
        self.kind = kind


class Interpreter:
    """`find` gives a template's body and the name of its file, or None."""

    def __init__(self, find: Callable[[str], tuple[Body, str] | None], output: Output) -> None:
        self._find = find
        self._output = output
        self._steps = 0
        self._calls = 0

    def run(self, body: Body, name: str, dot: object) -> None:
        """Raises TemplateError."""
        try:
            self._body(body, dot, {"$": dot})
        except TemplateError as error:
            raise error.at(0, name) from None

    def _body(self, body: Body, dot: object, variables: dict[str, Any]) -> None:
        """`variables` is shared with blocks inside, which take their own declarations away again."""
        for node in body:
            self._step(node.line)
            try:
                if isinstance(node, Text):
                    self._output.text(node.text)
                elif isinstance(node, Action):
                    value = self._pipeline(node.pipeline, dot, variables)
                    if not node.pipeline.declares:
                        self._output.value(value, _last_function(node.pipeline))
                elif isinstance(node, Branch):
                    self._branch(node, dot, variables)
                elif isinstance(node, Call):
                    self._call(node, dot, variables)
                else:
                    raise _Left(node.kind)
            except TemplateError as error:
                raise error.at(node.line) from None

    def _branch(self, node: Branch, dot: object, variables: dict[str, Any]) -> None:
        if node.kind == "range":
            self._range(node, dot, variables)
            return
        with _Scope(variables, node.pipeline.declares, assigns=node.pipeline.assigns):
            value = self._pipeline(node.pipeline, dot, variables)
            if truth(value):
                self._inner(node.then, value if node.kind == "with" else dot, variables)
            else:
                self._inner(node.otherwise, dot, variables)

    def _range(self, node: Branch, dot: object, variables: dict[str, Any]) -> None:
        pipeline = node.pipeline
        with _Scope(variables, pipeline.declares, assigns=pipeline.assigns):
            value = self._commands(pipeline, dot, variables)
            for key, item in _items(value):
                self._step(node.line)
                variables.update(zip(pipeline.declares, (key, item)[-len(pipeline.declares) :], strict=False))
                try:
                    self._inner(node.then, item, variables)
                except _Left as left:
                    if left.kind == "break":
                        break
            if not truth(value):
                self._inner(node.otherwise, dot, variables)

    def _inner(self, body: Body, dot: object, variables: dict[str, Any]) -> None:
        declared = [
            name
            for node in body
            if isinstance(node, Action) and not node.pipeline.assigns
            for name in node.pipeline.declares
        ]
        with _Scope(variables, declared):
            self._body(body, dot, variables)

    def _call(self, node: Call, dot: object, variables: dict[str, Any]) -> None:
        found = self._find(node.name)
        if found is None:
            raise TemplateError(f"there is no template {node.name!r}", final=True)
        if self._calls >= MAX_CALLS:
            raise TemplateError(f"more than {MAX_CALLS} templates within each other", final=True)
        value = self._pipeline(node.pipeline, dot, variables) if node.pipeline else None
        self._calls += 1
        try:
            self._body(found[0], value, {"$": value})
        except TemplateError as error:
            raise error.at(0, found[1]) from None
        finally:
            self._calls -= 1

    def _pipeline(self, pipeline: Pipeline, dot: object, variables: dict[str, Any]) -> Any:
        value = self._commands(pipeline, dot, variables)
        for name in pipeline.declares:
            variables[name] = value
        return value

    def _commands(self, pipeline: Pipeline, dot: object, variables: dict[str, Any]) -> Any:
        value = _NOTHING
        for command in pipeline.commands:
            value = self._command(command, value, dot, variables)
        return value

    def _command(self, command: Command, last: Any, dot: object, variables: dict[str, Any]) -> Any:
        """`last`: what the command before gave; it is the last argument."""
        self._step(command.line)
        first, *rest = command.operands

        def arguments() -> list[Any]:
            values = [self._operand(each, dot, variables) for each in rest]
            return values if last is _NOTHING else [*values, last]

        if isinstance(first, Function):
            if first.name in ("and", "or"):
                return self._choice(first.name, rest, last, dot, variables)
            given = arguments()
            self._charge(given)
            value = call(first.name, given)
            self._charge([value])
            return value
        if isinstance(first, Field):
            return follow(dot, first.names, arguments())
        if isinstance(first, Variable):
            return follow(variables[first.name], first.fields, arguments())
        if isinstance(first, Chain):
            inner = self._pipeline(first.pipeline, dot, variables)
            return follow(inner, first.fields, arguments())
        return first.value if isinstance(first, Constant) else dot

    def _choice(self, name: str, operands: Sequence[Operand], last: Any, dot: object, variables: dict[str, Any]) -> Any:
        """The first that decides; what follows is not looked at."""
        value = _NOTHING
        for operand in operands:
            value = self._operand(operand, dot, variables)
            if truth(value) is (name == "or"):
                return value
        value = value if last is _NOTHING else last
        if value is _NOTHING:
            raise TemplateError(f"{name}: expected at least one argument", final=True)
        return value

    def _operand(self, operand: Operand, dot: object, variables: dict[str, Any]) -> Any:
        return self._command(Command((operand,), operand.line), _NOTHING, dot, variables)

    def _charge(self, values: Sequence[Any]) -> None:
        """What a function is given and gives costs steps too: it looks at all of it."""
        for value in values:
            if isinstance(value, str | list | dict):
                self._steps += len(value) // CHARACTERS
                if isinstance(value, list):
                    self._charge([each for each in value if isinstance(each, str)])

    def _step(self, line: int) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TemplateError(f"takes more than {MAX_STEPS} steps", line)


class _Scope:
    """Variables that are declared within it are gone, or what they were before, after it."""

    def __init__(self, variables: dict[str, Any], names: Sequence[str], *, assigns: bool = False) -> None:
        self._variables = variables
        self._before = {} if assigns else {name: variables.get(name, _NOTHING) for name in names}

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        for name, value in self._before.items():
            if value is _NOTHING:
                self._variables.pop(name, None)
            else:
                self._variables[name] = value


def call(name: str, arguments: Sequence[Any]) -> Any:
    function, least, most = FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        many = str(least) if least == most else f"{least} to {most}" if most < 100 else f"at least {least}"
        raise TemplateError(f"{name}: expected {many} arguments, not {len(arguments)}", final=True)
    return function(*arguments)


def follow(value: Any, names: Sequence[str], arguments: Sequence[Any]) -> Any:
    """`value.a.b arguments`: a method, a field, or a key of a map."""
    if not names and arguments:
        raise TemplateError("only functions and methods take arguments", final=True)
    for place, name in enumerate(names):
        given = arguments if place == len(names) - 1 else ()
        value = _one(value, name, given)
    return value


def _one(value: Any, name: str, arguments: Sequence[Any]) -> Any:
    methods: Mapping[str, Callable[..., Any]] = getattr(value, "methods", {})
    if name in methods:
        try:
            return methods[name](value, *arguments)
        except (TypeError, AttributeError, ValueError):
            raise TemplateError(f".{name}: its arguments are not what it takes") from None
    if arguments:
        raise TemplateError(f".{name}: is no method, it takes no arguments", final=True)
    fields: Mapping[str, str] = getattr(value, "fields", {})
    if name in fields:
        return getattr(value, fields[name])
    if isinstance(value, dict):
        return value.get(name, "")
    if fields or methods:
        known = ", ".join(sorted({*fields, *methods}))
        raise TemplateError(f"there is no .{name} in {type(value).__name__}; there are: {known}", final=True)
    raise TemplateError(f"there is no .{name} in {kind_of(value)}")


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return [(name, value[name]) for name in sorted(value)]
    if isinstance(value, list):
        return list(enumerate(value))
    if value is None:
        return []
    raise TemplateError(f"range: {kind_of(value)} has no items")


def _last_function(pipeline: Pipeline) -> str:
    first = pipeline.commands[-1].operands[0]
    return first.name if isinstance(first, Function) else ""
