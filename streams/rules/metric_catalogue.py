"""KubeSphere's named metrics, at its levels: data (deploy/rules/metrics), each a query with a place for selectors."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec
import yaml

from schemas.rule_document import Level

SELECT = "$select"
"""Stands in each selector of a query that can be narrowed."""
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class NamedMetric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`labels` of its series, which are what it can be narrowed by."""

    name: str
    level: Level
    unit: str
    about: str
    query: str
    labels: tuple[str, ...] = ()

    def asked(self, select: Mapping[str, str] | None = None) -> str:
        """PromQL for the series whose labels match these (RE2, whole values). Raises ValueError for other labels."""
        wanted = select or {}
        for label in wanted:
            if label not in self.labels:
                raise ValueError(f"{self.name} has no label {label!r}: there is {', '.join(self.labels) or 'none'}")
        matchers = "".join(f"{label}=~{quoted(value)}," for label, value in sorted(wanted.items()))
        return self.query.replace(SELECT, matchers).strip()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    metrics: list[NamedMetric]


@cache
def named_metrics() -> dict[str, NamedMetric]:
    folder = resources.files("deploy").joinpath("rules", "metrics")
    out: dict[str, NamedMetric] = {}
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".yaml"):
            for metric in msgspec.convert(yaml.safe_load(file.read_text("utf-8")), _File).metrics:
                out[metric.name] = metric
    return out


def named(name: str) -> NamedMetric:
    """Raises ValueError, with the nearest name, when there is no such metric."""
    known = named_metrics()
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else "docs/reference/metric-catalogue.md lists them"
        raise ValueError(f"no metric called {name[:80]!r}: {hint}")
    return known[name]


def quoted(text: str) -> str:
    """A PromQL string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
