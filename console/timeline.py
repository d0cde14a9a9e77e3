"""When alerts fired, as a picture (SVG): one line for each alert, over one axis of time. Pure.

Only attributes, no style sheets: it may stand in a page that allows none, and be opened by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

WIDTH = 960
NAMES = 300
"""Of that, for the names."""
LINE, TOP, BOTTOM = 22, 14, 26
LEAST = 3.0
"""A short alert is still to be seen."""
MAX_LINES = 200
COLOURS = {"critical": "#d8453c", "warning": "#d99a1c", "info": "#3b86c8", "ok": "#2e9e8f"}
STEPS_MS = tuple(s * 1000 for s in (1, 5, 15, 60, 300, 900, 3600, 10_800, 21_600, 86_400, 604_800, 2_592_000))


class Span(NamedTuple):
    """An alert from begin to end (0: it still fires)."""

    name: str
    from_ms: int
    until_ms: int
    severity: str = ""
    about: str = ""


def picture(spans: Sequence[Span], from_ms: int, until_ms: int, *, alone: bool = False) -> str:
    """Alerts of one name share a line. `alone`: a file of its own, with a background."""
    lines: dict[str, list[Span]] = {}
    for span in spans:
        lines.setdefault(span.name, []).append(span)
    shown = list(lines.items())[:MAX_LINES]
    more = len(lines) - len(shown)
    height = TOP + LINE * max(1, len(shown) + bool(more)) + BOTTOM
    until_ms = max(until_ms, from_ms + 1)
    label = f"{len(spans)} alerts from {_time(from_ms)} to {_time(until_ms)}"
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    font = 'font-family="sans-serif" font-size="12" fill="currentColor"'
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}" {font}>']
    if alone:
        out.append(f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>')
    out += _axis(from_ms, until_ms, height)
    for number, (name, mine) in enumerate(shown):
        y = TOP + LINE * number
        out.append(f'<text x="{NAMES - 8}" y="{y + 15}" text-anchor="end">{escape(_short(name))}</text>')
        out += (_bar(span, from_ms, until_ms, y) for span in mine)
    if more:
        out.append(f'<text x="{NAMES}" y="{TOP + LINE * len(shown) + 15}">and {more} more</text>')
    if not spans:
        out.append(f'<text x="{NAMES}" y="{TOP + 15}">no alert</text>')
    return "\n".join([*out, "</svg>"])


def _bar(span: Span, from_ms: int, until_ms: int, y: int) -> str:
    begin = _x(max(span.from_ms, from_ms), from_ms, until_ms)
    width = max(LEAST, _x(min(span.until_ms or until_ms, until_ms), from_ms, until_ms) - begin)
    end = _time(span.until_ms) if span.until_ms else "still firing"
    told = f"{span.name} {span.about}\n{_time(span.from_ms)} to {end}"
    fill = COLOURS.get(span.severity, COLOURS["ok"])
    return (
        f'<rect x="{begin:.1f}" y="{y + 4}" width="{width:.1f}" height="{LINE - 8}" rx="2" fill="{fill}">'
        f"<title>{escape(told)}</title></rect>"
    )


def _axis(from_ms: int, until_ms: int, height: int) -> Iterable[str]:
    """Lines at whole times, at most eight or so."""
    step = next((step for step in STEPS_MS if (until_ms - from_ms) / step <= 8), STEPS_MS[-1])
    form = "%d %b" if step >= 86_400_000 else "%H:%M" if step >= 60_000 else "%H:%M:%S"
    bottom = height - BOTTOM
    yield f'<path d="M{NAMES} {bottom}H{WIDTH}" stroke="#8b98a5"/>'
    for at in range(from_ms - from_ms % step + step, until_ms, step):
        x = _x(at, from_ms, until_ms)
        yield f'<path d="M{x:.1f} {TOP}V{bottom + 4}" stroke="#8b98a5" stroke-opacity="0.35"/>'
        anchor = "end" if x > WIDTH - 24 else "middle"
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="{anchor}">{_date(at).strftime(form)}</text>'


def _x(at_ms: int, from_ms: int, until_ms: int) -> float:
    return NAMES + (WIDTH - NAMES) * (at_ms - from_ms) / (until_ms - from_ms)


def _date(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _time(ms: int) -> str:
    return _date(ms).strftime("%Y-%m-%d %H:%M:%SZ")


def _short(text: str, length: int = 46) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
