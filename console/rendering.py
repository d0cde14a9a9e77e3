"""Templates and static files, read once. Everything put into a page is escaped."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

FOLDER = Path(__file__).parent
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


class Static(NamedTuple):
    content: bytes
    media_type: str
    etag: str


def render(template: str, **context: Any) -> str:
    """The page. A name the template uses and nobody gave is an error, not an empty place."""
    return _environment().get_template(template).render(**context)


@cache
def static(name: str) -> Static | None:
    """A file of `console/static`, None for any other name."""
    path = FOLDER / "static" / name
    if name not in _names() or path.suffix not in TYPES:
        return None
    content = path.read_bytes()
    return Static(content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"')


@cache
def _names() -> frozenset[str]:
    return frozenset(path.name for path in (FOLDER / "static").iterdir())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "moment": moment,
        "span": span,
        "pretty": pretty,
        "short": short,
        "at": at,
        "size": size,
    }
    return environment


def number(value: float) -> str:
    """1234567 -> 1,234,567."""
    return f"{value:,}"


def moment(text: str) -> str:
    """RFC 3339 -> `24 Nov 09:08:13.487`, in UTC; the script turns it into the reader's own time."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%d %b %H:%M:%S.%f")[:-3]
    except ValueError:
        return text


def at(ms: int) -> str:
    """Milliseconds since the epoch -> RFC 3339."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def span(milliseconds: float) -> str:
    """5400000 -> `1h 30m`: the two largest units."""
    left, parts = int(milliseconds // 1000), []
    for unit, seconds in UNITS:
        if left >= seconds:
            parts.append(f"{left // seconds}{unit}")
            left %= seconds
    return " ".join(parts[:2]) or "0s"


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def short(text: str, length: int = 120) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def size(count: int) -> str:
    """1536 -> `1.5 KiB`."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"
