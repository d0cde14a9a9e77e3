"""How one log record reads as a line: its text and how bad it is. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

LOOKED_AT = 300
_ERROR = re.compile(r"\b(?:error|fatal|panic|critical|exception)\b", re.IGNORECASE)
_WARNING = re.compile(r"\bwarn(?:ing)?\b", re.IGNORECASE)


def text(record: Mapping[str, Any]) -> str:
    """The line itself; a record without one as JSON."""
    line = record.get("log", record.get("message"))
    return line.rstrip("\n") if isinstance(line, str) else json.dumps(record if line is None else line)


def level(line: str) -> str:
    """`error`, `warning` or nothing, by the words at its beginning."""
    head = line[:LOOKED_AT]
    if _ERROR.search(head):
        return "error"
    return "warning" if _WARNING.search(head) else ""


def shown(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item of the logs list, with what the page needs beside the record."""
    line = text(item["record"])
    return {**item, "text": line, "level": level(line), "here": False}
