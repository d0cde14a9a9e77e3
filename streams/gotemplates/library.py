"""Templates that belong together: those of the configured files over the ones Alertmanager has built in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from streams.gotemplates.defaults import DEFAULTS
from streams.gotemplates.errors import TemplateError
from streams.gotemplates.evaluate import Interpreter
from streams.gotemplates.functions import FUNCTIONS
from streams.gotemplates.nodes import Body
from streams.gotemplates.output import Html, Plain
from streams.gotemplates.parser import parse

File = tuple[str, str]
"""Name and text."""


class Library:
    def __init__(self, files: Sequence[File] = ()) -> None:
        """Raises TemplateError naming the file. A later file's template of the same name holds."""
        self._known: dict[str, tuple[Body, str]] = {}
        self.own: set[str] = set()
        for name, text in ((("", DEFAULTS)), *files):
            try:
                _, defined = parse(text, FUNCTIONS)
            except TemplateError as error:
                raise error.at(0, name) from None
            self._known |= {each: (body, name) for each, body in defined.items()}
            if name:
                self.own |= defined.keys()

    def check(self, text: str) -> None:
        """Raises TemplateError for what can never be rendered."""
        _parsed(text)

    def render(self, text: str, dot: object, *, html: bool = False) -> str:
        """Raises TemplateError."""
        body, defined = _parsed(text)
        output = Html() if html else Plain()

        def find(name: str) -> tuple[Body, str] | None:
            return (defined[name], "") if name in defined else self._known.get(name)

        Interpreter(find, output).run(body, "", dot)
        return str(output)


@lru_cache(maxsize=512)
def _parsed(text: str) -> tuple[Body, dict[str, Body]]:
    return parse(text, FUNCTIONS)


@lru_cache(maxsize=16)
def library(files: tuple[File, ...]) -> Library:
    """The library of these files, made once."""
    return Library(files)
