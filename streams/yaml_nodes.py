"""YAML read so that every complaint can name its line: a `Node` knows where it stands, and collects what is wrong.

Nothing is raised while reading: a wrong field gives its default and leaves an error, so that a user sees all of them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
K = TypeVar("K", bound=StrEnum)
MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_NODES = 200_000
_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
_UNITS_MS = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1000, 1)


class Errors:
    """What is wrong with one file: `name:line: field: what is expected`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._found: set[tuple[int, str, str]] = set()

    def add(self, line: int, path: str, message: str) -> None:
        self._found.add((line, path, message))

    def __bool__(self) -> bool:
        return bool(self._found)

    def __str__(self) -> str:
        """One complaint a line, in the order of the file."""
        return "\n".join(
            f"{self.name}:{line}: {path + ': ' if path else ''}{message}" for line, path, message in sorted(self._found)
        )


def parse_duration(text: str) -> int:
    """Prometheus's durations, `1h30m`, in milliseconds. Raises ValueError."""
    found = _DURATION.fullmatch(text)
    if text == "0":
        return 0
    if not text or found is None:
        raise ValueError(f"expected a duration such as 30s, 5m or 1h30m, not {text[:40]!r}")
    return sum(int(part) * unit for part, unit in zip(found.groups(), _UNITS_MS, strict=True) if part)


def one_of(kinds: type[K]) -> Callable[[str], K]:
    """For `Node.checked`: a word that is one of an enum's."""

    def chosen(text: str) -> K:
        try:
            return kinds(text)
        except ValueError:
            raise ValueError(f"expected one of {', '.join(kinds)}, not {text[:40]!r}") from None

    return chosen


class Node:
    """A place in a YAML file. `path` is as people write it: `route.routes[0].matchers`."""

    def __init__(self, node: yaml.Node, path: str, errors: Errors, depth: int = 0) -> None:
        self.node = node
        self.path = path
        self.errors = errors
        self._depth = depth

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    def fail(self, message: str) -> None:
        self.errors.add(self.line, self.path, message)

    def checked(self, convert: Callable[[str], T], default: T) -> T:
        """Text made into something else by `convert`, whose ValueError is the complaint."""
        text = self.text()
        try:
            return convert(text)
        except ValueError as error:
            self.fail(str(error))
            return default

    @property
    def is_null(self) -> bool:
        return bool(self.node.tag == "tag:yaml.org,2002:null")

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_text(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode)

    def fields(self) -> dict[str, Node]:
        """The fields of a mapping. Names given twice, other shapes and endless nesting are complained about."""
        if self.is_null:
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            self.fail("expected fields (a mapping)")
            return {}
        if not self._shallow():
            return {}
        merged: dict[str, Node] = {}
        out: dict[str, Node] = {}
        for key, value in self.node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    merged = self._child(each, self.path).fields() | merged
                continue
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            child = self._child(value, f"{self.path}.{name}" if self.path else name)
            if name in out:
                self.errors.add(int(key.start_mark.line) + 1, child.path, "given twice")
            out[name] = child
        return merged | out

    def known(self, names: Iterable[str]) -> dict[str, Node]:
        """The fields of a mapping; those not among `names` are complained about."""
        out = {}
        for name, child in self.fields().items():
            if name in names:
                out[name] = child
            else:
                close = difflib.get_close_matches(name, list(names), 1)
                child.fail(
                    f"no such field: {f'did you mean {close[0]}?' if close else 'here one of ' + ', '.join(names)}"
                )
        return out

    def position(self, text: str, at: int) -> tuple[int, int]:
        """(line in the file, character in that line of the text, 1-based) of position `at` of a scalar."""
        before = text[:at]
        column = at - (before.rfind("\n") + 1) + 1
        if isinstance(self.node, yaml.ScalarNode) and self.node.style == "|":
            return self.line + 1 + before.count("\n"), column
        return self.line, column

    def items(self) -> Iterator[Node]:
        if self.is_null or not self._shallow():
            return
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail("expected a list")
            return
        for index, item in enumerate(self.node.value):
            yield self._child(item, f"{self.path}[{index}]")

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode) or self.is_null:
            self.fail("expected text")
            return ""
        return str(self.node.value)

    def flag(self) -> bool:
        value = self.text()
        if value not in ("true", "false", "True", "False", "yes", "no", "on", "off"):
            self.fail("expected true or false")
        return value in ("true", "True", "yes", "on")

    def number(self) -> int:
        value = self.text()
        if not re.fullmatch(r"\d{1,9}", value):
            self.fail("expected a whole number")
            return 0
        return int(value)

    def duration_ms(self, default: int = 0) -> int:
        return self.checked(parse_duration, default)

    def texts(self) -> dict[str, str]:
        """A mapping of names to text."""
        return {name: child.text() for name, child in self.fields().items()}

    def value(self) -> Any:
        """Whatever is here as JSON would have it; complained about where it nests too deeply or names a key twice."""
        if self.is_list:
            return [item.value() for item in self.items()]
        if not isinstance(self.node, yaml.ScalarNode):
            return {name: child.value() for name, child in self.fields().items()}
        if self.node.tag == "tag:yaml.org,2002:timestamp":
            return str(self.node.value)
        return yaml.constructor.SafeConstructor().construct_object(self.node)

    def _child(self, node: yaml.Node, path: str) -> Node:
        return Node(node, path, self.errors, self._depth + 1)

    def _shallow(self) -> bool:
        if self._depth > MAX_DEPTH:
            self.fail(f"nested deeper than {MAX_DEPTH}")
            return False
        return True


def read(text: str, name: str, errors: Errors) -> Node | None:
    """The root of one YAML document, or None with errors. Aliases that multiply beyond measure are refused."""
    roots = _roots(text, errors, lambda: [yaml.compose(text, Loader=yaml.SafeLoader)])
    if not roots and not errors:
        errors.add(1, "", "is empty")
    return roots[0] if roots else None


def read_all(text: str, name: str, errors: Errors) -> list[Node]:
    """The roots of all documents of a text (`---` between them), none with errors; empty ones are left out."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return _roots(text, errors, lambda: list(yaml.compose_all(text, Loader=loader)))


def _roots(text: str, errors: Errors, compose: Callable[[], list[yaml.Node | None]]) -> list[Node]:
    if len(text) > MAX_BYTES:
        errors.add(1, "", f"larger than {MAX_BYTES >> 20} MiB")
        return []
    try:
        roots = [root for root in compose() if root is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        errors.add(mark.line + 1 if mark else 1, "", f"not YAML: {error.problem or error.context}")
        return []
    except yaml.YAMLError as error:
        errors.add(1, "", f"not YAML: {error}")
        return []
    except RecursionError:
        errors.add(1, "", "nested too deeply")
        return []
    budget = MAX_NODES
    for root in roots:
        budget = _size(root, budget)
    if budget <= 0:
        errors.add(1, "", "too many values (aliases that multiply?)")
        return []
    return [Node(root, "", errors) for root in roots]


def _size(root: yaml.Node, budget: int) -> int:
    """What is left of `budget` after counting the nodes, aliases written out."""
    stack = [root]
    while stack and budget > 0:
        node = stack.pop()
        budget -= 1
        if isinstance(node, yaml.MappingNode):
            stack.extend(value for pair in node.value for value in pair)
        elif isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)
    return budget
