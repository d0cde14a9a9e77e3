"""KubeSphere's log query API: its parameters as our query, our answers in its form. Pure.

Parameters and JSON names as documented by KubeSphere 3 (`logging.kubesphere.io/v1alpha2`): exact lists and `*_query`
lists are alternatives separated by commas; `log_query` finds records with at least one of its keywords, or words
beginning with it, in any case; times are seconds or milliseconds since the epoch, `end_time` inclusive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.lists import names
from gateway.log_export import line_of, places_of
from gateway.problems import Problem
from schemas.base import rfc3339
from streams.sinks.index import language_pattern as patterns
from streams.sinks.index.language import Is, Like, Node, Or, Word, Words, all_of, any_of
from streams.sinks.index.port import Hit, Kind, Query
from streams.sinks.index.query import is_word, keyword

EXACT = {"namespaces": "namespace", "workloads": "workload", "pods": "pod", "containers": "container"}
SIMILAR = {
    "namespace_query": "namespace",
    "workload_query": "workload",
    "pod_query": "pod",
    "container_query": "container",
}
SECONDS_UNTIL = 100_000_000_000
"""Smaller times are seconds."""
LATEST_MS = 253_402_300_799_999
MAX_WINDOW = 10_000
"""`from` + `size` at most, as Elasticsearch's own default."""
MAX_BARS = 10_000
FIXED_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DAY_MS = 86_400_000
MONTHS = {"M": 1, "q": 3, "y": 12}
_INTERVAL = re.compile(r"(\d{1,5})([smhdwMqy])", re.ASCII)
_MONDAY_MS = 4 * DAY_MS
"""The first Monday since the epoch."""


def asked(place: Mapping[str, str], params: Mapping[str, str], tenants: tuple[str, ...]) -> Query:
    """The query of a request: `place` is what its path says of namespace, workload, pod, container. Raises 400."""
    conditions = [Is(field, (value,)) for field, value in place.items()]
    conditions += [Is(field, values) for name, field in EXACT.items() if (values := _values(name, params))]
    similar = [_similar(field, values) for name, field in SIMILAR.items() if (values := _values(name, params))]
    words = _values("log_query", params)
    start, end = (_time(name, params.get(name, "")) for name in ("start_time", "end_time"))
    return Query(
        kind=Kind.LOGS,
        where=all_of(*conditions, *similar, _words(words) if words else None),
        tenants=tenants,
        start_ms=start,
        end_ms=end + 1 if params.get("end_time") else 0,
        oldest_first=params.get("sort") == "asc",
    )


def _values(name: str, params: Mapping[str, str]) -> tuple[str, ...]:
    return names(name, params.get(name, ""))


def _similar(field: str, values: Iterable[str]) -> Node | None:
    return any_of(
        *(Like(field, patterns.any_case(patterns.containing(value[: patterns.MAX_LENGTH]))) for value in values)
    )


def _words(values: Iterable[str]) -> Node:
    found = [Words(keyword(value)) for value in values if is_word(value)]
    starts = [Word(patterns.any_case(patterns.wildcard(f"{value}*"))) for value in values if value.isalnum()]
    return Or((*found, *starts))


def _time(name: str, text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"\d{1,15}", text, re.ASCII):
        raise bad(name, "expected seconds or milliseconds since the epoch")
    value = int(text) * (1000 if int(text) < SECONDS_UNTIL else 1)
    return min(value, LATEST_MS)


def window(params: Mapping[str, str]) -> tuple[int, int]:
    """`from` and `size`; what is no number is their default, as in KubeSphere."""
    start, size = (_number(params.get(name, ""), default) for name, default in (("from", 0), ("size", 10)))
    if start + size > MAX_WINDOW:
        raise bad("size", f"from + size is at most {MAX_WINDOW}: export instead")
    return start, size


def _number(text: str, default: int) -> int:
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else default


def bad(field: str, reason: str) -> Problem:
    return Problem(400, "Invalid request", f"{field}: {reason}", field=field)


def records(total: int, hits: Iterable[Hit]) -> dict[str, Any]:
    return {"query": {"total": total, "records": [_record(hit) for hit in hits]}}


def _record(hit: Hit) -> dict[str, str]:
    at = places_of(hit.record)
    about = {name: at[name] for name in ("namespace", "pod", "container")}
    return {"log": line_of(hit.record), "time": rfc3339(hit.time_ms), **about}


def statistics(containers: int, logs: int) -> dict[str, Any]:
    return {"statistics": {"containers": containers, "logs": logs}}


class Interval:
    """`15m`, `1h`, `1d` in fixed steps from the epoch; `1w` from Monday on, `M`, `q`, `y` by the calendar (UTC)."""

    def __init__(self, text: str) -> None:
        """Raises 400."""
        match = _INTERVAL.fullmatch(text)
        if not match or not int(match[1]):
            raise bad("interval", "expected a number and one of s, m, h, d, w, M, q, y")
        self.text = text
        count, unit = int(match[1]), match[2]
        self.step_ms = count * FIXED_MS[unit] if unit in FIXED_MS else DAY_MS
        """What is asked of the index."""
        self.start: Callable[[int], int] = lambda time_ms: time_ms // self.step_ms * self.step_ms
        self.next: Callable[[int], int] = lambda start: start + self.step_ms
        if unit == "w":
            week = 7 * count * DAY_MS
            self.start = lambda time_ms: (time_ms - _MONDAY_MS) // week * week + _MONDAY_MS
            self.next = lambda start: start + week
        elif unit in MONTHS:
            months = count * MONTHS[unit]
            self.start = lambda time_ms: _month_ms(_month(time_ms) // months * months)
            self.next = lambda start: _month_ms(_month(start) + months)


def _month(time_ms: int) -> int:
    at = datetime.fromtimestamp(time_ms / 1000, UTC)
    return at.year * 12 + at.month - 1


def _month_ms(month: int) -> int:
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000)


def histogram(interval: Interval, counts: Mapping[int, int]) -> dict[str, Any]:
    """Every interval from the first to the last with records in it. Raises 400 when they are too many."""
    sums: dict[int, int] = {}
    for time_ms, count in counts.items():
        start = interval.start(time_ms)
        sums[start] = sums.get(start, 0) + count
    bars: list[dict[str, int]] = []
    at, last = min(sums, default=1), max(sums, default=0)
    while at <= last:
        bars.append({"time": at, "count": sums.get(at, 0)})
        at = interval.next(at)
        if len(bars) > MAX_BARS:
            raise bad("interval", f"over {MAX_BARS} intervals: take a longer one or a shorter time")
    return {"histogram": {"total": sum(sums.values()), "interval": interval.text, "histograms": bars}}
