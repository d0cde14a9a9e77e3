"""All conditions of one input -> one Python function, built as a syntax tree: no user text is ever evaluated as code.

Three-valued by construction: `true_when(node)` and `false_when(node)` are two conditions, and of a record that lacks
the field (or has another type there) both are false. So a missing field makes a predicate false, and its negation too.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from ipaddress import ip_network
from typing import Any as Opaque
from typing import cast

from streams.rules import nodes
from streams.rules.general import general
from streams.rules.nodes import Node, Path
from streams.rules.searching import finder, together
from streams.rules.values import HELPERS

Evaluate = Callable[[dict[str, Opaque]], list[int]]
"""A record -> positions of the conditions that are true of it, ascending."""


def compile_all(trees: Sequence[Node]) -> Evaluate:
    """One function for all `trees`: each field is fetched once, costly tests shared by several conditions run once."""
    return Compiler(trees).function()


@cache
def _template(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _filled(node: Opaque, parts: dict[str, ast.expr]) -> Opaque:
    """A copy with names replaced; what has no names in it may be shared with the template."""
    if isinstance(node, ast.Name):
        return parts.get(node.id, node)
    if isinstance(node, list):
        return [_filled(each, parts) for each in node]
    if not isinstance(node, ast.AST) or not node._fields:
        return node
    return type(node)(**{name: _filled(getattr(node, name), parts) for name in node._fields})


def code(text: str, **parts: ast.expr) -> ast.expr:
    """Our own template `text` with its upper-case names replaced by expressions."""
    return cast(ast.expr, _filled(_template(text), parts))


class Compiler:
    """Over records that are dicts; how a field is fetched from another kind is for subclasses to say."""

    def __init__(self, trees: Sequence[Node]) -> None:
        self._trees = trees
        self._fields: dict[tuple[str | int, ...], str] = {}
        self._fetches: list[ast.stmt] = []
        self._names: dict[str, Opaque] = dict(HELPERS)
        self._shared: dict[Node, str] = {}
        tests = _text_tests(trees)
        self._uses = Counter(tests)
        self._passes: dict[nodes.TextTest, tuple[str, Opaque, int]] = {}
        """Patterns searched together: the variable of what was found, what finds it, the pattern's number."""
        self._find_together(tests)

    def function(self) -> Evaluate:
        conditions = [
            ast.If(self.true_when(tree), [ast.Expr(code("append(N)", N=ast.Constant(index)))], [])
            for index, tree in enumerate(self._trees)
        ]
        module = ast.parse("def evaluate(record):\n    out = []\n    append = out.append\n    return out")
        function = cast(ast.FunctionDef, module.body[0])
        once = [*self._shared.values(), *dict.fromkeys(name for name, _, _ in self._passes.values())]
        unset = [ast.parse(f"{name} = None").body[0] for name in once]
        function.body[2:2] = [*self._fetches, *unset, *conditions]
        ast.fix_missing_locations(module)
        exec(compile(module, "<rules>", "exec"), self._names)  # noqa: S102 the tree is ours, user text only in constants
        evaluate: Evaluate = self._names["evaluate"]
        return evaluate

    # conditions

    def true_when(self, node: Node) -> ast.expr:
        match node:
            case nodes.Not(operand=operand):
                return self.false_when(operand)
            case nodes.All(operands=operands):
                return ast.BoolOp(ast.And(), [self.true_when(o) for o in operands])
            case nodes.Any(operands=operands):
                return ast.BoolOp(ast.Or(), [self.true_when(o) for o in operands])
            case nodes.Holds(operand=operand):
                return self.true_when(operand)
        return self._test(node, truth=True)

    def false_when(self, node: Node) -> ast.expr:
        match node:
            case nodes.Not(operand=operand):
                return self.true_when(operand)
            case nodes.All(operands=operands):
                return ast.BoolOp(ast.Or(), [self.false_when(o) for o in operands])
            case nodes.Any(operands=operands):
                return ast.BoolOp(ast.And(), [self.false_when(o) for o in operands])
            case nodes.Holds(operand=operand):
                return ast.UnaryOp(ast.Not(), self.true_when(operand))
        return self._test(node, truth=False)

    def _test(self, node: Node, *, truth: bool) -> ast.expr:
        match node:
            case nodes.Literal(value=value):
                return ast.Constant(value is truth)
            case nodes.Has(path=path):
                return code("V is not MISSING" if truth else "V is MISSING", V=self._field(path))
            case nodes.TextTest():
                return self._text_test(node, truth)
            case nodes.Compare(op="in"):
                return self._membership(node, truth)
            case nodes.Compare(op="==" | "!="):
                return self._equality(node, truth == (node.op == "=="))
            case nodes.Compare():
                return self._order(node, truth)
            case nodes.InNetwork(network=network, target=target):
                parts = {"V": self._value(target), "N": self.constant(ip_network(network)), "T": ast.Constant(truth)}
                return code("in_network(V, N) is T", **parts)
            case nodes.Each(kind=kind, target=target, name=name, condition=condition):
                both = compile_all([condition, nodes.Not(condition)])
                parts = {
                    "V": self._field(target), "N": ast.Constant(name), "F": self.constant(both),
                    "A": ast.Constant(kind == "all"), "T": ast.Constant(truth),
                }  # fmt: skip
                return code("each(V, N, F, A) is T", **parts)
            case Path():
                return code("V is True" if truth else "V is False", V=self._field(node))
        return code("V is T", V=self._general(node), T=ast.Constant(truth))

    def _equality(self, node: nodes.Compare, equal: bool) -> ast.expr:
        left, right = node.left, node.right
        if isinstance(left, nodes.Literal):
            left, right = right, left
        if not isinstance(right, nodes.Literal) or not isinstance(left, Path):
            return code("equal(A, B) is T", A=self._value(left), B=self._value(right), T=ast.Constant(equal))
        parts = {"V": self._field(left), "L": ast.Constant(right.value)}
        if right.value is None or isinstance(right.value, bool):
            return code("V is L" if equal else "V is not MISSING and V is not L", **parts)
        if isinstance(right.value, str):
            return code("V == L" if equal else "V is not MISSING and V != L", **parts)
        return code(
            "V == L and type(V) is not bool" if equal else "V is not MISSING and (V != L or type(V) is bool)", **parts
        )

    def _order(self, node: nodes.Compare, truth: bool) -> ast.expr:
        op = node.op if truth else {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[node.op]
        if isinstance(node.left, (Path, nodes.Size)) and isinstance(node.right, nodes.Literal):
            check = "type(V) is str" if isinstance(node.right.value, str) else "type(V) in NUMBERS"
            return code(f"{check} and V {op} L", V=self._value(node.left), L=ast.Constant(node.right.value))
        return code(f"ordered(A, B) and A {op} B", A=self._value(node.left), B=self._value(node.right))

    def _membership(self, node: nodes.Compare, truth: bool) -> ast.expr:
        left, right = node.left, node.right
        if isinstance(left, Path) and isinstance(right, nodes.Items) and all(isinstance(v, str) for v in right.values):
            parts = {"V": self._field(left), "S": self.constant(frozenset(right.values))}
            return code(
                "type(V) is str and V in S" if truth else "V is not MISSING and (type(V) is not str or V not in S)",
                **parts,
            )
        return code("member(A, B) is T", A=self._value(left), B=self._value(right), T=ast.Constant(truth))

    def _text_test(self, node: nodes.TextTest, truth: bool) -> ast.expr:
        if node in self._passes:
            return self._one_pass(node, truth)
        if self._uses[node] > 1:
            name = self._shared.setdefault(node, f"shared{len(self._shared)}")
            test = _once(name, self._three_valued(node))
            return code("T == R", T=test, R=ast.Constant(1 if truth else 0))
        guard, test = self._text_parts(node)
        return _and([*guard, test if truth else ast.UnaryOp(ast.Not(), test)])

    def _find_together(self, tests: Sequence[nodes.TextTest]) -> None:
        by_target: dict[Node, list[nodes.TextTest]] = {}
        for test in tests:
            if test.name == "matches" and isinstance(test.target, Path) and isinstance(test.argument, nodes.Literal):
                by_target.setdefault(test.target, []).append(test)
        for mine in by_target.values():
            for patterns, search in together(str(cast(nodes.Literal, test.argument).value) for test in mine):
                name, find = f"found{len(self._names)}", self.constant(search)
                numbers = {pattern: number for number, pattern in enumerate(patterns)}
                for test in mine:
                    number = numbers.get(str(cast(nodes.Literal, test.argument).value))
                    if number is not None:
                        self._passes[test] = name, find, number

    def _one_pass(self, node: nodes.TextTest, truth: bool) -> ast.expr:
        name, find, number = self._passes[node]
        value = self._value(node.target)
        found = _once(name, code("F(V)", F=find, V=value))
        test = "type(V) is str and N in F" if truth else "type(V) is str and N not in F"
        return code(test, V=value, N=ast.Constant(number), F=found)

    def _three_valued(self, node: nodes.TextTest) -> ast.expr:
        """1 true, 0 false, -1 neither: once computed, kept for the other conditions that ask."""
        guard, test = self._text_parts(node)
        return code("(1 if C else 0) if G else -1", C=test, G=_and(guard or [ast.Constant(True)]))

    def _text_parts(self, node: nodes.TextTest) -> tuple[list[ast.expr], ast.expr]:
        target, argument = self._value(node.target), self._value(node.argument)
        guard = [
            code("type(V) is str", V=value)
            for side, value in ((node.target, target), (node.argument, argument))
            if not isinstance(side, nodes.Literal)
        ]
        if isinstance(node.argument, nodes.Literal) and node.name == "matches":
            return guard, code("S(V)", S=self.constant(finder(str(node.argument.value))), V=target)
        template = {"contains": "L in V", "startsWith": "V.startswith(L)", "endsWith": "V.endswith(L)"}[node.name]
        return guard, code(template, V=target, L=argument)

    # values

    def _value(self, node: Node) -> ast.expr:
        match node:
            case Path():
                return self._field(node)
            case nodes.Literal(value=value):
                return ast.Constant(value)
            case nodes.Items(values=values):
                return self.constant(list(values))
            case nodes.Arithmetic(op=op, left=left, right=right):
                function = "add(A, B)" if op == "+" else "subtract(A, B)"
                return code(function, A=self._value(left), B=self._value(right))
            case nodes.Size(operand=operand):
                return self._kept(node, code("size(A)", A=self._value(operand)))
            case nodes.Convert(name=name, operand=operand):
                function = {"string": "string(A)", "lowerAscii": "lower_ascii(A)"}[name]
                return self._kept(node, code(function, A=self._value(operand)))
        return self._general(node)

    def _general(self, node: Node) -> ast.expr:
        return code("F(record)", F=self.constant(general(node)))

    def _kept(self, node: Node, value: ast.expr) -> ast.expr:
        """Computed once a record, however many conditions ask."""
        return _once(self._shared.setdefault(node, f"shared{len(self._shared)}"), value)

    def constant(self, value: Opaque) -> ast.expr:
        name = f"constant{len(self._names)}"
        self._names[name] = value
        return _name(name)

    def _field(self, path: Path) -> ast.expr:
        return _name(self._fetched(path.parts))

    def _fetched(self, parts: tuple[str | int, ...]) -> str:
        """The local variable that holds the value at `parts`, fetched before all conditions."""
        if not parts:
            return "record"
        if parts not in self._fields:
            outer, last = self._fetched(parts[:-1]), parts[-1]
            name = self._fields[parts] = f"field{len(self._fields)}"
            self._fetches.append(ast.Assign([ast.Name(name, ast.Store())], self.fetch(_name(outer), parts[:-1], last)))
        return self._fields[parts]

    def fetch(self, source: ast.expr, outer: tuple[str | int, ...], last: str | int) -> ast.expr:
        """Code for the value at `last` of `source`, which is the value at `outer` of the record."""
        key = ast.Constant(last)
        if isinstance(last, int):
            return code("V[K] if type(V) is list and len(V) > K else MISSING", V=source, K=key)
        if not outer:
            return code("V.get(K, MISSING)", V=source, K=key)
        return code("V.get(K, MISSING) if type(V) is dict else MISSING", V=source, K=key)


def _once(name: str, value: ast.expr) -> ast.expr:
    """The value, computed when it is asked for first and kept in the variable `name`, which is None before."""
    target = ast.Name(name, ast.Store())
    return code("(P if P is not None else (W := C))", P=_name(name), W=target, C=value)


def _and(parts: list[ast.expr]) -> ast.expr:
    return ast.BoolOp(ast.And(), parts) if len(parts) > 1 else parts[0]


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _text_tests(trees: Sequence[Node]) -> list[nodes.TextTest]:
    out: list[nodes.TextTest] = []
    stack: list[Node] = list(trees)
    while stack:
        node = stack.pop()
        match node:
            case nodes.TextTest():
                out.append(node)
            case nodes.Not(operand=operand) | nodes.Holds(operand=operand):
                stack.append(operand)
            case nodes.All(operands=operands) | nodes.Any(operands=operands):
                stack.extend(operands)
    return out
