"""`where` text -> typed tree. A subset of CEL (docs/how-to/write-a-rule.md); all else is refused by name.

Bounded: length, depth and number of nodes of an expression; patterns are RE2's, bounded in the memory they take.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from ipaddress import ip_network

import re2

from streams.rules import nodes
from streams.rules.lexer import SyntaxProblem, Token, tokens
from streams.rules.nodes import Kind, Node, Scalar, kind

MAX_DEPTH = 32
MAX_NODES = 512
MAX_ITEMS = 1000
MAX_PATTERN = 1000
PATTERN_MEMORY = 2 << 20
ROOT = "record"
FUNCTIONS = ("has", "size", "string", "holds", "cidr")
TEXT_TESTS = ("contains", "startsWith", "endsWith", "matches")
_RELATIONS = ("==", "!=", "<", "<=", ">", ">=", "in")


def parse(text: str, aliases: dict[str, tuple[str, ...]] | None = None) -> Node:
    """The condition `text` stands for. `aliases`: bare names that mean a path. Raises SyntaxProblem."""
    parser = _Parser(tokens(text), aliases or {})
    tree = parser.condition()
    parser.expect_end()
    return parser.want(tree, Kind.BOOL)


def parse_path(text: str, aliases: dict[str, tuple[str, ...]] | None = None) -> nodes.Path:
    """The field `text` names. Raises SyntaxProblem."""
    parser = _Parser(tokens(text), aliases or {})
    tree = parser.condition()
    parser.expect_end()
    if not isinstance(tree, nodes.Path):
        raise SyntaxProblem(0, "not a field")
    return tree


def pattern(text: str) -> re2._Regexp:
    """`text` compiled by RE2 within its memory bound. Raises ValueError with RE2's words."""
    options = re2.Options()
    options.max_mem = PATTERN_MEMORY
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0]
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None


class _Parser:
    def __init__(self, found: list[Token], aliases: dict[str, tuple[str, ...]]) -> None:
        self._tokens = found
        self._next = 0
        self._aliases = aliases
        self._depth = 0
        self._nodes = 0
        self._item = ""
        """What the items of the list are called that the condition being read is about."""

    # tokens

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self, *texts: str) -> Token | None:
        token = self._token
        if token.kind == "op" and token.text in texts:
            self._next += 1
            return token
        return None

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise SyntaxProblem(self._token.at, f"expected {text!r}, not {self._shown()}")

    def _shown(self) -> str:
        return repr(self._token.text) if self._token.kind != "end" else "the end"

    def expect_end(self) -> None:
        if self._token.kind != "end":
            raise SyntaxProblem(self._token.at, f"expected an operator or the end, not {self._shown()}")

    # bounds and types

    def _made(self, node: Node) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise SyntaxProblem(node.at, f"more than {MAX_NODES} parts")
        return node

    def want(self, node: Node, *kinds: Kind) -> Node:
        found = kind(node)
        if found is not Kind.ANY and found not in kinds:
            raise SyntaxProblem(node.at, f"expected {' or '.join(k.value for k in kinds)} here, this is {found.value}")
        return node

    # grammar, from the loosest binding

    def condition(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise SyntaxProblem(self._token.at, f"nested deeper than {MAX_DEPTH}")
        out = self._chain("||", self._conjunction, nodes.Any)
        self._depth -= 1
        return out

    def _conjunction(self) -> Node:
        return self._chain("&&", self._relation, nodes.All)

    def _chain(self, op: str, part: Callable[[], Node], make: type[nodes.Any] | type[nodes.All]) -> Node:
        first = part()
        operands = [first]
        while self._take(op):
            operands.append(part())
        if len(operands) == 1:
            return first
        return self._made(make(tuple(self.want(operand, Kind.BOOL) for operand in operands), first.at))

    def _relation(self) -> Node:
        left = self._sum()
        token = self._take(*_RELATIONS)
        if token is None:
            return left
        right = self._sum()
        if again := self._take(*_RELATIONS):
            raise SyntaxProblem(again.at, "comparisons do not chain: join two with &&")
        self._check_relation(token, left, right)
        return self._made(nodes.Compare(token.text, left, right, left.at))

    def _check_relation(self, token: Token, left: Node, right: Node) -> None:
        for side in (left, right):
            if kind(side) is Kind.BOOL and not isinstance(side, nodes.Literal):
                raise SyntaxProblem(side.at, "a condition is not compared: use it as it is, or with !")
        if token.text == "in":
            self.want(right, Kind.LIST)
            self.want(left, Kind.TEXT, Kind.NUMBER, Kind.BOOL, Kind.NULL)
            return
        kinds = {kind(left), kind(right)} - {Kind.ANY}
        if Kind.LIST in kinds:
            raise SyntaxProblem(left.at, "lists are not compared: use `in`")
        if token.text not in ("==", "!="):
            self.want(left, Kind.TEXT, Kind.NUMBER)
            self.want(right, Kind.TEXT, Kind.NUMBER)
        if len(kinds) > 1:
            names = " with ".join(sorted(k.value for k in kinds))
            raise SyntaxProblem(token.at, f"compares {names}: that is never true")

    def _sum(self) -> Node:
        left = self._unary()
        terms = 1
        while token := self._take("+", "-"):
            terms += 1
            if terms > MAX_DEPTH:
                raise SyntaxProblem(token.at, f"a sum of more than {MAX_DEPTH} terms")
            right = self._unary()
            wanted = (Kind.NUMBER,) if token.text == "-" else (Kind.NUMBER, Kind.TEXT)
            self.want(left, *wanted)
            self.want(right, *wanted)
            if {kind(left), kind(right)} == {Kind.NUMBER, Kind.TEXT}:
                raise SyntaxProblem(token.at, "adds a number and text")
            left = self._made(nodes.Arithmetic(token.text, left, right, left.at))
        return left

    def _unary(self) -> Node:
        signs: list[Token] = []
        while token := self._take("!", "-"):
            signs.append(token)
            if len(signs) > MAX_DEPTH:
                raise SyntaxProblem(token.at, f"nested deeper than {MAX_DEPTH}")
        out = self._member()
        for token in reversed(signs):
            if token.text == "!":
                out = self._made(nodes.Not(self.want(out, Kind.BOOL), token.at))
            elif isinstance(out, nodes.Literal) and kind(out) is Kind.NUMBER:
                out = nodes.Literal(-out.value, token.at)  # type: ignore[operator]
            else:
                out = self._made(
                    nodes.Arithmetic("-", nodes.Literal(0, token.at), self.want(out, Kind.NUMBER), token.at)
                )
        return out

    def _member(self) -> Node:
        out = self._primary()
        while token := self._take(".", "["):
            if token.text == "[":
                out = self._index(out)
                continue
            name = self._name("a field or function after the dot")
            if self._take("("):
                out = self._method(name, out)
            else:
                out = self._select(out, name.text, name.at)
        if isinstance(out, nodes.Path) and not out.parts:
            raise SyntaxProblem(out.at, f"expected a field: {ROOT}.name")
        return out

    def _name(self, what: str) -> Token:
        token = self._token
        if token.kind != "name":
            raise SyntaxProblem(token.at, f"expected {what}, not {self._shown()}")
        self._next += 1
        return token

    def _index(self, target: Node) -> Node:
        token = self._token
        if token.kind != "value" or not isinstance(token.value, (str, int)) or isinstance(token.value, bool):
            raise SyntaxProblem(token.at, 'expected a constant key or position: labels["app"], items[0]')
        self._next += 1
        self._expect("]")
        return self._select(target, token.value, token.at)

    def _select(self, target: Node, part: str | int, at: int) -> Node:
        if not isinstance(target, nodes.Path):
            raise SyntaxProblem(at, "only fields of the record have fields")
        if len(target.parts) >= MAX_DEPTH:
            raise SyntaxProblem(at, f"nested deeper than {MAX_DEPTH}")
        return nodes.Path((*target.parts, part), target.at)

    def _primary(self) -> Node:
        token = self._token
        if token.kind == "value":
            self._next += 1
            return self._made(nodes.Literal(token.value, token.at))
        if token.kind == "name":
            self._next += 1
            if self._take("("):
                return self._function(token)
            if self._item and token.text != self._item:
                raise SyntaxProblem(token.at, f"only {self._item}, the item, can be looked at here")
            if self._item:
                return self._made(nodes.Path((token.text,), token.at))
            parts = () if token.text == ROOT else self._aliases.get(token.text, (token.text,))
            return self._made(nodes.Path(parts, token.at))
        if self._take("("):
            out = self.condition()
            self._expect(")")
            return out
        if self._take("["):
            return self._made(nodes.Items(self._items(), token.at))
        raise SyntaxProblem(token.at, f"expected a value, a field or '(', not {self._shown()}")

    def _items(self) -> tuple[Scalar, ...]:
        out: list[Scalar] = []
        while not self._take("]"):
            if out:
                self._expect(",")
                if self._take("]"):
                    break
            sign = self._take("-")
            token = self._token
            if token.kind != "value" or (sign and kind(nodes.Literal(token.value)) is not Kind.NUMBER):
                raise SyntaxProblem(token.at, f"expected a constant in the list, not {self._shown()}")
            self._next += 1
            out.append(-token.value if sign else token.value)  # type: ignore[operator]
            if len(out) > MAX_ITEMS:
                raise SyntaxProblem(token.at, f"more than {MAX_ITEMS} values in a list")
        return tuple(out)

    # functions

    def _function(self, name: Token) -> Node:
        if name.text not in FUNCTIONS:
            raise SyntaxProblem(name.at, _unknown(name.text, FUNCTIONS))
        argument = self.condition()
        self._expect(")")
        if name.text == "cidr":
            return self._in_network(name, argument)
        if name.text == "holds":
            return self._made(nodes.Holds(self.want(argument, Kind.BOOL), name.at))
        if name.text == "string":
            return self._made(nodes.Convert("string", self.want(argument, Kind.TEXT, Kind.NUMBER), name.at))
        if name.text == "size":
            return self._size(name, argument)
        if not isinstance(argument, nodes.Path):
            raise SyntaxProblem(argument.at, "expected a field in has(...)")
        return self._made(nodes.Has(argument, name.at))

    def _in_network(self, name: Token, argument: Node) -> Node:
        """`cidr("10.0.0.0/8").containsIP(x)`."""
        network = _network(argument)
        for text in (".", "containsIP", "("):
            token = self._token
            if token.text != text:
                raise SyntaxProblem(token.at, f"expected cidr(...).containsIP(...), not {self._shown()}")
            self._next += 1
        target = self.condition()
        self._expect(")")
        return self._made(nodes.InNetwork(network, self.want(target, Kind.TEXT), name.at))

    def _each(self, kind_: Token, target: Node) -> Node:
        """`items.exists(item, item.name == "x")`: the condition sees the item alone."""
        if not isinstance(target, nodes.Path):
            raise SyntaxProblem(target.at, f"expected a list of the record before .{kind_.text}")
        name = self._name("a name for the items of the list").text
        self._expect(",")
        outer, self._item = self._item, name
        condition = self.want(self.condition(), Kind.BOOL)
        self._item = outer
        self._expect(")")
        return self._made(nodes.Each(kind_.text, target, name, condition, target.at))

    def _size(self, name: Token, operand: Node) -> Node:
        return self._made(nodes.Size(self.want(operand, Kind.TEXT, Kind.LIST), name.at))

    def _method(self, name: Token, target: Node) -> Node:
        if name.text == "size":
            self._expect(")")
            return self._size(name, target)
        if name.text == "lowerAscii":
            self._expect(")")
            return self._made(nodes.Convert("lowerAscii", self.want(target, Kind.TEXT), name.at))
        if name.text in ("exists", "all"):
            return self._each(name, target)
        if name.text not in TEXT_TESTS:
            raise SyntaxProblem(name.at, _unknown(name.text, (*TEXT_TESTS, "lowerAscii", "size", "exists", "all")))
        argument = self.condition()
        self._expect(")")
        self.want(target, Kind.TEXT)
        self.want(argument, Kind.TEXT)
        if name.text == "matches":
            _check_pattern(argument)
        return self._made(nodes.TextTest(name.text, target, argument, target.at))


def _network(argument: Node) -> str:
    if not isinstance(argument, nodes.Literal) or not isinstance(argument.value, str):
        raise SyntaxProblem(argument.at, 'expected a constant network: cidr("10.0.0.0/8")')
    try:
        return str(ip_network(argument.value, strict=False))
    except ValueError as error:
        raise SyntaxProblem(argument.at, f"not a network: {error}") from None


def _check_pattern(argument: Node) -> None:
    if not isinstance(argument, nodes.Literal) or not isinstance(argument.value, str):
        raise SyntaxProblem(argument.at, "expected the pattern as constant text")
    if len(argument.value) > MAX_PATTERN:
        raise SyntaxProblem(argument.at, f"a pattern longer than {MAX_PATTERN} characters")
    try:
        pattern(argument.value)
    except ValueError as error:
        raise SyntaxProblem(argument.at, f"not a pattern RE2 takes: {error}") from None


def _unknown(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(known)}"
    return f"unknown function {name}: {hint}"
