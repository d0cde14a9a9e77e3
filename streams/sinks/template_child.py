"""The process that renders people's Jinja templates: a request a line on stdin, an answer a line on stdout.

Sandboxed (no attributes of Python's own, nothing can be changed) and bounded: output here, memory by the system,
time by whoever asks, who ends this process. Imports nothing of ours.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from typing import Any

LINE_BYTES = 8 << 20
MAX_OUTPUT = 400_000
MEMORY = 384 << 20
MAX_DIGITS = 4_000


def environment(*, html: bool) -> Any:
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        """Powers and repetitions make huge values of few characters."""

        intercepted_binops = frozenset({"**", "*", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**":
                raise SecurityError("** is not allowed")
            if operator == "%" and isinstance(left, str):
                raise SecurityError("% on text is not allowed: use ~ or format")
            if operator == "*":
                for value, times in ((left, right), (right, left)):
                    if hasattr(value, "__len__") and isinstance(times, int) and len(value) * times > MAX_OUTPUT:
                        raise SecurityError("that is too long")
                if isinstance(left, int) and isinstance(right, int) and _digits(left) + _digits(right) > MAX_DIGITS:
                    raise SecurityError("that number is too large")
            return super().call_binop(context, operator, left, right)

    found = Bounded(autoescape=html, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for name in ("lipsum", "cycler", "joiner", "namespace"):
        found.globals.pop(name, None)
    return found


def _digits(number: int) -> int:
    return abs(number).bit_length()


def render(template: str, data: dict[str, Any], *, html: bool) -> str:
    """Raises what Jinja raises, and ValueError for too much output."""
    out: list[str] = []
    size = 0
    for piece in environment(html=html).from_string(template).generate(**data):
        size += len(piece)
        if size > MAX_OUTPUT:
            raise ValueError(f"it gives more than {MAX_OUTPUT} characters")
        out.append(piece)
    return "".join(out)


def answer(line: str, rendering: Callable[..., str] = render) -> dict[str, str]:
    try:
        asked = json.loads(line)
        return {"text": rendering(asked["template"], asked["data"], html=bool(asked.get("html")))}
    except MemoryError:
        return {"error": "it took more memory than a template may"}
    except RecursionError:
        return {"error": "it calls itself without end"}
    except Exception as error:
        line_number = getattr(error, "lineno", None)
        where = f"line {line_number}: " if line_number else ""
        said = " ".join(str(error).split())[:300] or type(error).__name__
        return {"error": f"{where}{said}"}


def main() -> None:
    environment(html=False)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
