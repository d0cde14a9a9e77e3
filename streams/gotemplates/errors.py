"""What can be wrong with a template."""

from __future__ import annotations


class TemplateError(ValueError):
    """`line` counts from 1 within the text, `final`: wrong whatever the data (else it depends on the alerts)."""

    def __init__(self, message: str, line: int = 0, name: str = "", *, final: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.name = name
        self.final = final

    def __str__(self) -> str:
        place = ":".join(part for part in (self.name, str(self.line or "")) if part)
        return f"{place}: {self.message}" if place else self.message

    def at(self, line: int, name: str = "") -> TemplateError:
        """The same with its place, unless it has one."""
        self.line = self.line or line
        self.name = self.name or name
        return self
