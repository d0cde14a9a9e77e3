"""The value at a path of a record. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def at(record: Any, parts: Sequence[str | int]) -> Any:
    """None where the record has no such field."""
    for part in parts:
        if isinstance(part, str) and isinstance(record, dict):
            record = record.get(part)
        elif isinstance(part, int) and isinstance(record, list) and part < len(record):
            record = record[part]
        else:
            return None
    return record
