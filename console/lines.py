"""How one log record reads as a line: its text and how bad it is. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

LOOKED_AT = 300
PLACES = {"namespace": "namespace_name", "pod": "pod_name", "container": "container_name"}
MAX_STRUCTURED = 64 << 10
MESSAGES = ("message", "msg", "event")
UNSHOWN = frozenset({"level", "timestamp", "time", "ts", "@timestamp", "logger"})
_ERROR = re.compile(r"\b(?:error|fatal|panic|critical|exception)\b", re.IGNORECASE)
_WARNING = re.compile(r"\bwarn(?:ing)?\b", re.IGNORECASE)


def text(record: Mapping[str, Any]) -> str:
    """The line itself, a structured one with its message first; a record without a line as JSON."""
    line = record.get("log", record.get("message", record.get("msg")))
    if not isinstance(line, str):
        return json.dumps(record if line is None else line, ensure_ascii=False)
    return _structured(line) if line.startswith("{") and len(line) <= MAX_STRUCTURED else line.rstrip("\n")


def _structured(line: str) -> str:
    """`{"level": "info", "message": "started", "port": 80}` -> `INFO started port=80`."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line.rstrip("\n")
    name = next((name for name in MESSAGES if isinstance(fields.get(name), str)), "")
    if not name:
        return line.rstrip("\n")
    bad = str(fields.get("level", "")).upper()
    rest = [f"{key}={value}" for key, value in fields.items() if key not in (name, *UNSHOWN)]
    return " ".join(filter(None, [bad, fields[name], *rest]))


def level(line: str) -> str:
    """`error`, `warning` or nothing, by the words at its beginning."""
    head = line[:LOOKED_AT]
    if _ERROR.search(head):
        return "error"
    return "warning" if _WARNING.search(head) else ""


def shown(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item of the logs list, with what the page needs beside the record."""
    record = item["record"]
    line, kubernetes = text(record), record.get("kubernetes")
    about: Mapping[str, Any] = kubernetes if isinstance(kubernetes, dict) else {}
    place = {name: str(about.get(field) or "") for name, field in PLACES.items()}
    more = {"place": place, "cluster": str(record.get("cluster") or "")}
    bad = level(line) or level(str(record.get("level") or record.get("severity") or ""))
    return {**item, **more, "text": line, "level": bad, "here": False}
