"""`where` text -> typed tree. A subset of CEL (docs/how-to/write-a-rule.md); all else is refused by name.

Bounded: length, depth and number of nodes of an expression; patterns are RE2's, bounded in the memory they take.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from ipaddress import ip_network

import re2

from streams.rules import nodes, times
from streams.rules.lexer import SyntaxProblem, Token, tokens
from streams.rules.nodes import Kind, Node, kind

MAX_DEPTH = 32
MAX_NODES = 512
MAX_ITEMS = 1000
MAX_PATTERN = 1000
PATTERN_MEMORY = 2 << 20
ROOT = "record"
FUNCTIONS = ("has", "size", "string", "holds", "cidr", "int", "double", "duration", "timestamp")
MACROS = ("exists", "all", "exists_one", "filter", "map")
METHODS = ("lowerAscii", "upperAscii", "size")
MAX_NESTED = 3
"""Lists within lists that conditions go through."""
TEXT_TESTS = ("contains", "startsWith", "endsWith", "matches")
_WITH_ORDER = (Kind.TEXT, Kind.NUMBER, Kind.TIME, Kind.DURATION)
_TIMED = {"duration": (Kind.TEXT, Kind.DURATION), "timestamp": (Kind.TEXT, Kind.NUMBER, Kind.TIME)}
_NUMBERED = {"int": (Kind.TEXT, Kind.NUMBER, Kind.TIME), "double": (Kind.TEXT, Kind.NUMBER)}
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
        self._names: list[str] = []
        """What the items of lists are called, outermost first, where the record is seen beside them."""

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
        if self._take("?"):
            then = self.condition()
            self._expect(":")
            otherwise = self.condition()
            out = self._made(nodes.Choose(self.want(out, Kind.BOOL), then, otherwise, out.at))
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
            self.want(right, Kind.LIST, Kind.MAP)
            self.want(left, Kind.TEXT, Kind.NUMBER, Kind.BOOL, Kind.NULL, Kind.TIME, Kind.DURATION)
            return
        kinds = {kind(left), kind(right)} - {Kind.ANY}
        if kinds & {Kind.LIST, Kind.MAP}:
            raise SyntaxProblem(left.at, "lists and maps are not compared: use `in`, or exists and all")
        if token.text not in ("==", "!="):
            self.want(left, *_WITH_ORDER)
            self.want(right, *_WITH_ORDER)
        if len(kinds) > 1:
            names = " with ".join(sorted(k.value for k in kinds))
            raise SyntaxProblem(token.at, f"compares {names}: that is never true")

    def _sum(self) -> Node:
        left = self._product()
        terms = 1
        while token := self._take("+", "-"):
            terms += 1
            if terms > MAX_DEPTH:
                raise SyntaxProblem(token.at, f"a sum of more than {MAX_DEPTH} terms")
            right = self._product()
            wanted = (Kind.NUMBER, Kind.TIME, Kind.DURATION, *((Kind.TEXT,) if token.text == "+" else ()))
            self.want(left, *wanted)
            self.want(right, *wanted)
            _check_sum(token, kind(left), kind(right))
            left = self._made(nodes.Arithmetic(token.text, left, right, left.at))
        return left

    def _product(self) -> Node:
        left = self._unary()
        factors = 1
        while token := self._take("*", "/", "%"):
            factors += 1
            if factors > MAX_DEPTH:
                raise SyntaxProblem(token.at, f"a product of more than {MAX_DEPTH} factors")
            sides = (self.want(left, Kind.NUMBER), self.want(self._unary(), Kind.NUMBER))
            left = self._made(nodes.Call(token.text, sides, left.at))
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
        token, after = self._token, self._tokens[min(self._next + 1, len(self._tokens) - 1)]
        constant = token.kind == "value" and isinstance(token.value, (str, int)) and not isinstance(token.value, bool)
        if constant and after.text == "]" and after.kind == "op":
            self._next += 2
            return self._select(target, token.value, token.at)  # type: ignore[arg-type]
        key = self._token if token.text == "]" and token.kind == "op" else self.condition()
        if isinstance(key, (Token, nodes.Literal)):
            raise SyntaxProblem(token.at, 'expected a key or position: labels["app"], items[0]')
        self.want(key, Kind.TEXT, Kind.NUMBER)
        self._expect("]")
        self.want(target, Kind.LIST, Kind.MAP)
        if isinstance(target, nodes.Path) and not target.parts:
            raise SyntaxProblem(target.at, f"expected a field: {ROOT}.name")
        return self._made(nodes.Get(target, key, target.at))

    def _select(self, target: Node, part: str | int, at: int) -> Node:
        if isinstance(target, nodes.Path):
            if len(target.parts) >= MAX_DEPTH:
                raise SyntaxProblem(at, f"nested deeper than {MAX_DEPTH}")
            return nodes.Path((*target.parts, part), target.at)
        if kind(target) not in (Kind.ANY, Kind.MAP, Kind.LIST):
            raise SyntaxProblem(at, "only fields of the record have fields")
        return self._made(nodes.Get(target, nodes.Literal(part, at), target.at))

    def _primary(self) -> Node:
        token = self._token
        if token.kind == "value":
            self._next += 1
            return self._made(nodes.Literal(token.value, token.at))
        if token.kind == "name":
            self._next += 1
            if self._take("("):
                return self._function(token)
            if token.text in self._names:
                return self._made(nodes.Var(token.text, token.at))
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
            return self._made(self._list(token.at))
        if self._take("{"):
            return self._made(self._map(token.at))
        raise SyntaxProblem(token.at, f"expected a value, a field or '(', not {self._shown()}")

    def _list(self, at: int) -> Node:
        out: list[Node] = []
        while not self._take("]"):
            if out:
                self._expect(",")
                if self._take("]"):
                    break
            if len(out) >= MAX_ITEMS:
                raise SyntaxProblem(self._token.at, f"more than {MAX_ITEMS} values in a list")
            out.append(self._constant() or self.condition())
        constants = [each.value for each in out if isinstance(each, nodes.Literal)]
        return nodes.Items(tuple(constants), at) if len(constants) == len(out) else nodes.ListOf(tuple(out), at)

    def _constant(self) -> nodes.Literal | None:
        """A constant that is all of an item; it is not counted as a part of the expression."""
        at = self._next + (self._token.text == "-" and self._token.kind == "op")
        token, after = self._tokens[at], self._tokens[min(at + 1, len(self._tokens) - 1)]
        if token.kind != "value" or after.text not in (",", "]"):
            return None
        if at > self._next and kind(nodes.Literal(token.value)) is not Kind.NUMBER:
            return None
        negative = at > self._next
        self._next = at + 1
        return nodes.Literal(-token.value if negative else token.value, token.at)  # type: ignore[operator]

    def _map(self, at: int) -> Node:
        out: list[tuple[str, Node]] = []
        while not self._take("}"):
            if out:
                self._expect(",")
                if self._take("}"):
                    break
            key = self._token
            if key.kind != "value" or not isinstance(key.value, str):
                raise SyntaxProblem(key.at, f"expected a key as constant text, not {self._shown()}")
            self._next += 1
            self._expect(":")
            if key.value in (known for known, _ in out):
                raise SyntaxProblem(key.at, f"the key {key.value!r} is given twice")
            out.append((key.value, self.condition()))
        return nodes.MapOf(tuple(out), at)

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
        if name.text in ("duration", "timestamp"):
            return self._made(_in_time(name, self.want(argument, *_TIMED[name.text])))
        if name.text in ("int", "double"):
            return self._made(nodes.Call(name.text, (self.want(argument, *_NUMBERED[name.text]),), name.at))
        if isinstance(argument, nodes.Path):
            return self._made(nodes.Has(argument, name.at))
        if not isinstance(argument, nodes.Get):
            raise SyntaxProblem(argument.at, "expected a field in has(...)")
        return self._made(nodes.Call("has", (argument,), name.at))

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

    def _over(self, kind_: Token, target: Node) -> Node:
        """`items.exists(item, item.name == "x")`. A condition that looks at the item alone is compiled by itself."""
        self.want(target, Kind.LIST, Kind.MAP)
        name = self._name("a name for the items of the list")
        self._expect(",")
        if kind_.text in ("exists", "all") and isinstance(target, nodes.Path) and not self._names:
            state = self._next, self._nodes, self._depth, self._item
            try:
                return self._each(kind_, target, name.text)
            except SyntaxProblem:
                self._next, self._nodes, self._depth, self._item = state
        if len(self._names) >= MAX_NESTED:
            raise SyntaxProblem(name.at, f"more than {MAX_NESTED} lists within each other")
        self._names.append(name.text)
        body = self.condition()
        self._names.pop()
        self._expect(")")
        if kind_.text != "map":
            self.want(body, Kind.BOOL)
        return self._made(nodes.Over(kind_.text, target, name.text, body, target.at))

    def _each(self, kind_: Token, target: nodes.Path, name: str) -> Node:
        outer, self._item = self._item, name
        condition = self.want(self.condition(), Kind.BOOL)
        self._item = outer
        self._expect(")")
        return self._made(nodes.Each(kind_.text, target, name, condition, target.at))

    def _size(self, name: Token, operand: Node) -> Node:
        return self._made(nodes.Size(self.want(operand, Kind.TEXT, Kind.LIST, Kind.MAP), name.at))

    def _method(self, name: Token, target: Node) -> Node:
        if name.text == "size":
            self._expect(")")
            return self._size(name, target)
        if name.text == "lowerAscii":
            self._expect(")")
            return self._made(nodes.Convert("lowerAscii", self.want(target, Kind.TEXT), name.at))
        if name.text == "upperAscii":
            self._expect(")")
            return self._made(nodes.Call("upperAscii", (self.want(target, Kind.TEXT),), name.at))
        if name.text in MACROS:
            return self._over(name, target)
        if name.text in times.PARTS:
            return self._part_of_time(name, target)
        if name.text not in TEXT_TESTS:
            raise SyntaxProblem(name.at, _unknown(name.text, (*TEXT_TESTS, *METHODS, *MACROS, *times.PARTS)))
        argument = self.condition()
        self._expect(")")
        self.want(target, Kind.TEXT)
        self.want(argument, Kind.TEXT)
        if name.text == "matches":
            _check_pattern(argument)
        return self._made(nodes.TextTest(name.text, target, argument, target.at))

    def _part_of_time(self, name: Token, target: Node) -> Node:
        """`timestamp(x).getHours("Europe/Berlin")`."""
        arguments = [self.want(target, Kind.TIME, Kind.DURATION)]
        if not self._take(")"):
            where = self.condition()
            self._expect(")")
            if not isinstance(where, nodes.Literal) or not isinstance(where.value, str):
                raise SyntaxProblem(where.at, "expected a time zone as constant text")
            try:
                times.zone(where.value)
            except ValueError as error:
                raise SyntaxProblem(where.at, str(error)) from None
            arguments.append(where)
        return self._made(nodes.Call(name.text, tuple(arguments), name.at))


def _in_time(name: Token, argument: Node) -> Node:
    """A constant that is none is refused here."""
    if isinstance(argument, nodes.Literal):
        try:
            (times.duration if name.text == "duration" else times.timestamp)(argument.value)
        except (ValueError, OverflowError) as error:
            raise SyntaxProblem(argument.at, str(error)) from None
    return nodes.Call(name.text, (argument,), name.at)


def _check_sum(token: Token, left: Kind, right: Kind) -> None:
    kinds = {left, right} - {Kind.ANY}
    wrong = len(kinds) > 1 and kinds != {Kind.TIME, Kind.DURATION}
    wrong = wrong or (token.text == "+" and left is right is Kind.TIME)
    if wrong or (token.text == "-" and left is Kind.DURATION and right is Kind.TIME):
        verb = "adds" if token.text == "+" else "subtracts"
        names = " and ".join(sorted(k.value for k in (left, right)))
        raise SyntaxProblem(token.at, f"{verb} {names}")


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
