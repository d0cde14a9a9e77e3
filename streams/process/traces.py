"""Which lines of one container belong together: stack traces of known languages, or records that begin by a pattern.
Pure. After Fluent Bit's multiline rules and Google's fluent-plugin-detect-exceptions: states, and what leads on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from schemas.process_document import Join, Traces
from streams.process.patterns import compiled

State = str
_Rules = dict[State, tuple[tuple[str, State], ...]]

_PYTHON: _Rules = {
    "": ((r"^\s*Traceback \(most recent call last\):\s*$", "python"),),
    "python": ((r"^[\t ]+\S", "python"), (r"^\S[^ ]*(?:: .*|:?\s*)$", "python end"), (r"^\s*$", "python end")),
    "python end": (
        (r"^\s*$", "python end"),
        (r"^(?:During handling of the above exception|The above exception was the direct cause)", "python end"),
        (r"^\s*Traceback \(most recent call last\):\s*$", "python"),
    ),
}
_GO: _Rules = {
    "": ((r"^(?:panic: |fatal error: |http: panic serving )", "go"),),
    "go": (
        (r"^\s*$", "go"),
        (r"^goroutine \d+ (?:gp=\S+ .*)?\[[^\]]+\]:\s*$", "go"),
        (r"^\[signal ", "go"),
        (r"^\s+panic: ", "go"),
        (r"^(?:[\w./*()%~-]+)\(.*\)\s*$", "go"),
        (r"^created by ", "go"),
        (r"^\t+\S+:\d+", "go"),
        (r"^exit status \d+\s*$", "go"),
    ),
}
_JAVA = (
    r"^[\t ]+(?:at |\.\.\. \d+ (?:more|common frames omitted)|Suppressed: |- (?:locked|waiting|parking) )"
    r"|^(?:Caused by|Suppressed): |^[\t ]*\[CIRCULAR REFERENCE"
)
"""These go on whatever the line before them is (so do JavaScript's and .NET's)."""
TABLES: dict[Traces, _Rules] = {Traces.PYTHON: _PYTHON, Traces.GO: _GO}
RAW: dict[Traces, bytes] = {
    Traces.JAVA: rb"(?:\\t| )(?:at |\.\.\. [0-9])|Caused by: |Suppressed: ",
    Traces.PYTHON: rb"Traceback \(most recent",
    Traces.GO: rb"panic: |fatal error: |panic serving",
}
"""What raw JSON holds of some line of every trace."""


class Run(NamedTuple):
    """Lines [first, end) that belong together."""

    first: int
    end: int


class Grouping:
    """How a `Join` takes lines together. Raises ValueError for a pattern that is none."""

    def __init__(self, join: Join) -> None:
        self._max_lines, self._max_bytes = join.max_lines, join.max_bytes
        self._begins: Any = compiled(join.start).search if join.start else None
        self._goes_on: Any = compiled(_JAVA).search if Traces.JAVA in join.traces else None
        self._table: dict[State, list[tuple[Any, State]]] = {}
        for kind in join.traces:
            for state, rules in TABLES.get(kind, {}).items():
                found = [(compiled(text).search, after) for text, after in rules]
                self._table.setdefault(state, []).extend(found)

    def runs(self, lines: Sequence[bytes]) -> Iterator[Run]:
        """The runs of two lines or more, in order."""
        first, state, size = 0, "", 0
        begun = False
        for number, line in enumerate([*lines, None]):
            after = None
            if line is not None:
                full = number - first >= self._max_lines or size + len(line) > self._max_bytes
                after = None if full or number == 0 else self._next(state, line, begun)
            if after is not None and line is not None:
                state = after
                size += len(line) + 1
                continue
            if number and (end := self._trimmed(lines, first, number)) - first > 1:
                yield Run(first, end)
            if line is not None:
                first, size = number, len(line)
                state = self._state(line)
                begun = self._begins is not None and self._begins(line) is not None

    def _next(self, state: State, line: bytes, begun: bool) -> State | None:
        """The state after a line that goes on with what is before it; None when it does not."""
        if self._begins is not None and self._begins(line) is not None:
            return None
        if begun:
            return state
        if state:
            for matches, after in self._table[state]:
                if matches(line) is not None:
                    return after
        return state if self._goes_on is not None and self._goes_on(line) is not None else None

    def _state(self, line: bytes) -> State:
        return next((after for matches, after in self._table.get("", ()) if matches(line) is not None), "")

    @staticmethod
    def _trimmed(lines: Sequence[bytes], first: int, end: int) -> int:
        """Blank lines after a trace are not of it."""
        while end - first > 1 and not lines[end - 1].strip():
            end -= 1
        return end
