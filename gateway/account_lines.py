"""Lines of accounts by source, cluster, namespace or tenant, and by window of time, as ledger and usage show. Pure.

Windows are whole hours of record time. A line without a place is of records that do not say whose they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from gateway.cluster import Snapshot
from gateway.usage import Subject
from schemas.base import rfc3339
from streams.accounts import HOUR_MS, Fate, Line, Sum

RECEIVED = "received"
"""The fate of a source's lines: given to the topic."""
REFUSED = "refused"

Workspaces = Mapping[tuple[str, str], str]
"""(cluster, namespace) -> the workspace it is in."""


def place_of(by: str, workspaces: Workspaces) -> Callable[[Line], dict[str, str]]:
    """What is told apart, by the name of what it is asked by. A namespace of no workspace counts for its tenant."""
    if by == "cluster":
        return lambda line: {"cluster": line.cluster}
    if by == "namespace":
        return lambda line: {"cluster": line.cluster, "namespace": line.namespace}
    if by == "tenant":
        return lambda line: {"tenant": line.tenant}
    return lambda line: {"workspace": workspaces.get((line.cluster, line.namespace)) or line.tenant}


class Span(NamedTuple):
    """Hours since the epoch, `until` exclusive; `window` hours are counted together (0: all)."""

    since: int = 0
    until: int = 1 << 40
    window: int = 0

    def start(self, hour: int) -> int | None:
        """Where the window begins that holds `hour`; None outside of the span, -1 for all time."""
        if not self.since <= hour < self.until:
            return None
        return hour - hour % self.window if self.window else -1


def span_of(start_ms: int, end_ms: int, window_ms: int) -> Span:
    """Times 0: without that bound. The hours they fall into count whole."""
    until = -(-end_ms // HOUR_MS) if end_ms else 1 << 40
    return Span(start_ms // HOUR_MS, until, -(-window_ms // HOUR_MS) if window_ms else 0)


Key = tuple[Any, ...]


class Item:
    """What became of the records of one place in one window."""

    def __init__(self, about: dict[str, str]) -> None:
        self.about = about
        self.fates: dict[str, Sum] = {}
        self.by: dict[str, dict[str, Sum]] = {}

    def add(self, line: Line, sum_: Sum) -> None:
        self.fates[line.fate] = self.fates.get(line.fate, Sum()).plus(sum_)
        if line.by:
            known = self.by.setdefault(line.fate, {})
            known[line.by] = known.get(line.by, Sum()).plus(sum_)

    @property
    def received(self) -> Sum:
        return Sum(sum(s.records for s in self.fates.values()), sum(s.bytes for s in self.fates.values()))

    def shown(self) -> dict[str, Any]:
        """Records under the fate's name, bytes under `bytes`, and what a rule or reason did under `<fate>_by`."""
        of = {fate.value: self.fates.get(fate, Sum()) for fate in Fate}
        return (
            self.about
            | {"received": self.received.records}
            | {name: sum_.records for name, sum_ in of.items()}
            | {"bytes": {"received": self.received.bytes} | {name: sum_.bytes for name, sum_ in of.items()}}
            | {
                f"{fate}_by": {by: sum_._asdict() for by, sum_ in sorted(found.items())}
                for fate, found in self.by.items()
            }
        )


def by_place(
    lines: Mapping[Subject, Mapping[Line, Sum]],
    by: str,
    span: Span,
    *,
    topics: Mapping[str, str],
    tenants: Iterable[str] = (),
    workspaces: Workspaces | None = None,
) -> list[Item]:
    """Of the agents' lines: one item a topic, place and window. `topics`: topic -> the agent whose accounts count;
    `tenants`: only theirs (empty: all)."""
    of, only = place_of(by, workspaces or {}), frozenset(tenants)
    out: dict[Key, Item] = {}
    for subject, tally in lines.items():
        if subject.source or topics.get(subject.topic) != subject.agent:
            continue
        for line, sum_ in tally.items():
            start = span.start(line.hour)
            if start is None or (only and line.tenant not in only):
                continue
            place = of(line)
            key = (subject.topic, start, *place.values())
            if key not in out:
                out[key] = Item({"topic": subject.topic, "agent": subject.agent} | place | _window(start, span))
            out[key].add(line, sum_)
    return [out[key] for key in sorted(out)]


def by_source(lines: Mapping[Subject, Mapping[Line, Sum]], span: Span, seen: Snapshot) -> list[dict[str, Any]]:
    """Of the sources' lines: what each gave to a topic, and refused. Without a span, one line more a topic: what no
    source counted, because others wrote it there themselves (or a source was killed before it said so)."""
    out: dict[Key, dict[str, Any]] = {}
    told: dict[str, Sum] = {}
    for subject, tally in lines.items():
        if not subject.source:
            continue
        for line, sum_ in tally.items():
            if (start := span.start(line.hour)) is None:
                continue
            item = out.setdefault(
                (subject.topic, start, subject.agent),
                {"topic": subject.topic, "source": subject.agent}
                | {"received": 0, "refused": 0, "bytes": {"received": 0, "refused": 0}}
                | _window(start, span),
            )
            item[line.fate] += sum_.records
            item["bytes"][line.fate] += sum_.bytes
            if line.fate == RECEIVED:
                told[subject.topic] = told.get(subject.topic, Sum()).plus(sum_)
    if span == Span():
        for topic, sum_ in told.items():
            rest = seen.produced(topic) - sum_.records
            key = (topic, -1, "~")
            out[key] = {"topic": topic, "source": "", "received": max(0, rest), "refused": 0}
    return [out[key] for key in sorted(out)]


def _window(start: int, span: Span) -> dict[str, str]:
    if start < 0:
        return {}
    return {"start": rfc3339(start * HOUR_MS), "end": rfc3339((start + span.window) * HOUR_MS)}
