"""Texts of alerts: `{{ field }}` is replaced, nothing else happens. Bounded: no rule can blow up a mail."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

MAX_TEXT = 4096
MAX_VALUE = 1024
PLAIN = ("count", "message", "rule", "severity", "value", "within")
_FIELD = re.compile(r"\{\{\s*(?:\$?labels\.([A-Za-z_]\w*)|\$?(\w+))\s*\}\}")
_LEFT_OVER = re.compile(r"\{\{|\}\}")


def check(text: str) -> str | None:
    """What is wrong with a template, None when nothing is."""
    if len(text) > MAX_TEXT:
        return f"longer than {MAX_TEXT} characters"
    for found in _FIELD.finditer(text):
        if found[2] and found[2] not in PLAIN:
            return f"unknown field {found[2]!r} in {found[0]!r}: there is labels.<name>, {', '.join(PLAIN)}"
    if _LEFT_OVER.search(_FIELD.sub("", text)):
        return "expected {{ field }}: one name, or labels.name; no functions and no conditions"
    return None


def render(text: str, labels: Mapping[str, str], values: Mapping[str, str]) -> str:
    """`text` with its fields replaced; unknown labels give nothing. At most MAX_TEXT characters."""
    out: list[str] = []
    left = MAX_TEXT
    for literal, label, name in _parts(text):
        part = literal or (labels.get(label, "") if label else values.get(name, ""))[:MAX_VALUE]
        out.append(part[:left])
        left -= len(part)
        if left <= 0:
            break
    return "".join(out)


@lru_cache(maxsize=1024)
def _parts(text: str) -> tuple[tuple[str, str, str], ...]:
    """(literal, label, value name), one of the three set."""
    out = []
    end = 0
    for found in _FIELD.finditer(text):
        if found.start() > end:
            out.append((text[end : found.start()], "", ""))
        out.append(("", found[1] or "", found[2] or ""))
        end = found.end()
    if end < len(text):
        out.append((text[end:], "", ""))
    return tuple(out)
