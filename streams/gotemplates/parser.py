"""Reading a template into its nodes. Functions that are not known are refused here, with their line."""

from __future__ import annotations

from collections.abc import Callable, Collection

from streams.gotemplates.errors import TemplateError
from streams.gotemplates.lexer import Token, number, tokens, unquoted
from streams.gotemplates.nodes import (
    Action,
    Body,
    Branch,
    Call,
    Chain,
    Command,
    Constant,
    Dot,
    Field,
    Function,
    Leave,
    Node,
    Operand,
    Pipeline,
    Text,
    Variable,
)

MAX_DEPTH = 60
"""Of blocks and parentheses within each other."""
_END = Token("end", "", 0)


def parse(source: str, functions: Collection[str]) -> tuple[Body, dict[str, Body]]:
    """The body of `source`, and the templates it defines. Raises TemplateError."""
    reader = _Reader(tokens(source), functions)
    body, end = reader.block(())
    if end:
        raise TemplateError(f"unexpected {end}", reader.line, final=True)
    return body, reader.defined


class _Reader:
    def __init__(self, parts: list[Token], functions: Collection[str]) -> None:
        self._parts = parts
        self._place = 0
        self._functions = functions
        self._variables = ["$"]
        self._depth = 0
        self._loops = 0
        self.line = 1
        self.defined: dict[str, Body] = {}

    def block(self, ends: tuple[str, ...]) -> tuple[Body, str]:
        """Nodes until an action of `ends` (its word is returned and read), or until the text is over."""
        self._deeper()
        known = len(self._variables)
        out: list[Node] = []
        while (token := self._take()) is not _END:
            if token.kind == "text":
                out.append(Text(token.value, token.line))
                continue
            word = self._peek().value if self._peek().kind == "word" else ""
            if word in ends:
                self._take()
                del self._variables[known:]
                self._depth -= 1
                return tuple(out), word
            node = self._action(word, self._peek().line)
            if node is not None:
                out.append(node)
        if ends:
            raise self._wrong("the text is over: expected {{ end }}")
        self._depth -= 1
        return tuple(out), ""

    def _action(self, word: str, line: int) -> Node | None:
        special: dict[str, Callable[[int], Node | None]] = {
            "if": lambda at: self._branch("if", at),
            "with": lambda at: self._branch("with", at),
            "range": lambda at: self._branch("range", at),
            "template": self._call,
            "define": self._define,
            "block": self._block,
            "break": lambda at: self._leave("break", at),
            "continue": lambda at: self._leave("continue", at),
        }
        if word in special:
            self._take()
            return special[word](line)
        if word in ("end", "else"):
            raise self._wrong(f"unexpected {{{{ {word} }}}}")
        pipeline = self._pipeline()
        self._close()
        return Action(pipeline, line)

    def _branch(self, kind: str, line: int) -> Branch:
        known = len(self._variables)
        pipeline = self._pipeline(in_range=kind == "range")
        self._close()
        self._loops += kind == "range"
        then, end = self.block(("end", "else"))
        self._loops -= kind == "range"
        otherwise: Body = ()
        if end == "else":
            if kind == "if" and self._peek().value == "if":
                self._take()
                otherwise = (self._branch("if", line),)
                del self._variables[known:]
                return Branch(kind, pipeline, then, otherwise, line)
            self._close()
            otherwise, _ = self.block(("end",))
        self._close()
        del self._variables[known:]
        return Branch(kind, pipeline, then, otherwise, line)

    def _call(self, line: int) -> Call:
        name = self._string()
        pipeline = None if self._peek().kind == "close" else self._pipeline()
        self._close()
        return Call(name, pipeline, line)

    def _define(self, line: int) -> None:
        if self._depth > 1:
            raise self._wrong("define stands within another block")
        name = self._string()
        self._close()
        self.defined[name] = self._own_block()

    def _block(self, line: int) -> Call:
        name = self._string()
        pipeline = self._pipeline()
        self._close()
        self.defined[name] = self._own_block()
        return Call(name, pipeline, line)

    def _own_block(self) -> Body:
        """A block that sees no variables from outside."""
        outer, self._variables = self._variables, ["$"]
        loops, self._loops = self._loops, 0
        body, _ = self.block(("end",))
        self._close()
        self._variables, self._loops = outer, loops
        return body

    def _leave(self, kind: str, line: int) -> Leave:
        if not self._loops:
            raise self._wrong(f"{kind} stands outside of range")
        self._close()
        return Leave(kind, line)

    def _pipeline(self, *, in_range: bool = False) -> Pipeline:
        line = self._peek().line
        names, assigns = self._declared(in_range)
        commands = [self._command()]
        while self._peek().value == "|" and self._peek().kind == "sign":
            self._take()
            commands.append(self._command())
            if not isinstance(commands[-1].operands[0], Function | Field | Variable | Chain):
                raise self._wrong("what follows | must be a function or a method")
        if not assigns:
            self._variables += names
        return Pipeline(tuple(commands), tuple(names), assigns, line)

    def _declared(self, in_range: bool) -> tuple[list[str], bool]:
        """`$x :=`, `$x =`, and in `range` `$i, $x :=`."""
        at = self._place
        names: list[str] = []
        while self._peek().kind == "variable" and len(names) < 2:
            names.append(self._take().value)
            if not (in_range and self._peek().value == "," and len(names) == 1):
                break
            self._take()
        following = self._peek()
        if names and following.kind == "declare":
            self._take()
            return names, False
        if names and following.kind == "sign" and following.value == "=":
            self._take()
            for name in names:
                self._known(name)
            return names, True
        self._place = at
        return [], False

    def _command(self) -> Command:
        line = self._peek().line
        operands = [self._operand()]
        while self._peek().spaced and not self._ends(self._peek()):
            operands.append(self._operand())
        if not self._ends(self._peek()):
            raise self._wrong(f"unexpected {self._peek().value!r}")
        first = operands[0]
        if len(operands) > 1 and isinstance(first, Constant | Dot):
            raise self._wrong("only functions and methods take arguments")
        return Command(tuple(operands), line)

    @staticmethod
    def _ends(token: Token) -> bool:
        return token.kind in ("close", "end") or (token.kind == "sign" and token.value in "|)")

    def _operand(self) -> Operand:
        token = self._take()
        if token.kind == "sign" and token.value == "(":
            self._deeper()
            inner = self._pipeline()
            closing = self._take()
            if closing.value != ")":
                raise self._wrong("expected )")
            self._depth -= 1
            return Chain(inner, self._fields(), token.line)
        if token.kind == "sign" and token.value == ".":
            return Dot(token.line)
        if token.kind == "field":
            return Field((token.value[1:], *self._fields()), token.line)
        if token.kind == "variable":
            self._known(token.value)
            return Variable(token.value, self._fields(), token.line)
        if token.kind == "word":
            return self._word(token)
        return Constant(self._constant(token), token.line)

    def _word(self, token: Token) -> Operand:
        words = {"true": True, "false": False, "nil": None}
        if token.value in words:
            return Constant(words[token.value], token.line)
        if token.value not in self._functions:
            raise self._wrong(f"there is no function {token.value!r} here")
        return Function(token.value, token.line)

    def _constant(self, token: Token) -> object:
        try:
            if token.kind == "string":
                return unquoted(token.value)
            if token.kind == "raw":
                return token.value[1:-1]
            if token.kind == "char":
                return ord(unquoted(token.value))
            if token.kind == "number":
                return number(token.value)
        except (ValueError, TypeError, OverflowError) as error:
            raise self._wrong(f"bad constant {token.value[:40]}: {error}") from None
        raise self._wrong(f"unexpected {token.value!r}")

    def _fields(self) -> tuple[str, ...]:
        out = []
        while self._peek().kind == "field" and not self._peek().spaced:
            out.append(self._take().value[1:])
        return tuple(out)

    def _string(self) -> str:
        token = self._take()
        if token.kind not in ("string", "raw"):
            raise self._wrong("expected the name of a template in quotes")
        return str(self._constant(token))

    def _close(self) -> None:
        if self._take().kind != "close":
            raise self._wrong("expected }}")

    def _known(self, name: str) -> None:
        if name not in self._variables:
            raise self._wrong(f"there is no variable {name}")

    def _peek(self) -> Token:
        return self._parts[self._place] if self._place < len(self._parts) else _END

    def _take(self) -> Token:
        token = self._peek()
        self._place += 1
        self.line = token.line or self.line
        return token

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong("nested too deeply")

    def _wrong(self, message: str) -> TemplateError:
        return TemplateError(message, self.line, final=True)
