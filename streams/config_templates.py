"""The Go templates of an alertmanager.yml: `templates:` files read, and each field checked before it is needed."""

from __future__ import annotations

from pathlib import Path

from streams.gotemplates import Library, TemplateError, data, library
from streams.gotemplates.gotime import ZERO, from_ms
from streams.gotemplates.values import Alert, Data
from streams.yaml_nodes import Node

MAX_FILES = 64
MAX_BYTES = 1 << 20
"""Of all template files together."""
Files = tuple[tuple[str, str], ...]
"""Name and text of each."""


class Templates:
    """What the fields of receivers may name; `files` go with every receiver that has a template of its own."""

    def __init__(self, files: Files = ()) -> None:
        """Raises TemplateError."""
        self.files = files
        self._library: Library = library(files)

    def has(self, name: str) -> bool:
        """Whether the configuration's own files define it."""
        return name in self._library.own

    def field(self, node: Node, *, html: bool = False) -> str:
        """A field's text; what is wrong with it whatever the alerts is complained about with its line."""
        return self.checked(node, node.text(), html=html)

    def checked(self, node: Node | None, text: str, *, html: bool = False) -> str:
        """`text`, complained about at `node`; without one nothing is: it was nobody's wish."""
        try:
            self._library.check(text)
            for dot in _samples():
                try:
                    self._library.render(text, dot, html=html)
                except TemplateError as error:
                    if error.final:
                        raise
        except TemplateError as error:
            place = f"{error.name}:{error.line}" if error.name else f"line {error.line} of the template"
            if node is not None:
                node.fail(f"{place}: {error.message}")
        return text


def read_templates(node: Node | None, folder: Path) -> Templates:
    """The files of a list of patterns, each relative to `folder`; a pattern of nothing is fine, as for Alertmanager."""
    found: list[tuple[str, str]] = []
    for item in node.items() if node else ():
        pattern = item.text()
        if not pattern:
            continue
        try:
            base = Path(pattern).anchor or str(folder)
            paths = sorted(
                path for path in Path(base).glob(pattern.removeprefix(Path(pattern).anchor)) if path.is_file()
            )
            for path in paths:
                if len(found) >= MAX_FILES or sum(len(text) for _, text in found) + path.stat().st_size > MAX_BYTES:
                    raise ValueError(f"more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB of templates")
                found.append((str(path), path.read_text("utf-8")))
                Library([found[-1]])
        except TemplateError as error:
            item.fail(f"{error.name}:{error.line}: {error.message}")
            found.pop()
        except (OSError, ValueError, NotImplementedError) as error:
            item.fail(f"cannot read {pattern[:200]!r}: {error}")
    return Templates(tuple(found))


def _samples() -> list[Data]:
    """Two notifications of the usual form: one fires, one is over."""
    labels = {"alertname": "Example", "namespace": "shop", "pod": "web-1", "severity": "critical"}
    notes = {"summary": "An example", "description": "Of an alert", "runbook_url": "https://example.org/"}
    firing = Alert("firing", labels, notes, from_ms(1_700_000_000_000), ZERO, "http://example.org/graph", "0" * 16)
    over = Alert("resolved", labels, notes, firing.starts_at, from_ms(1_700_000_060_000), "", "0" * 16)
    group = {"alertname": "Example"}
    return [data("example", alerts, group, "http://example.org") for alerts in ([firing, over], [over])]
