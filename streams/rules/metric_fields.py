"""The fields of a rule over `metrics`, read from YAML: what is asked, how often, and what no answer means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import re2

from schemas.rule_document import Level, Without
from streams.rules.inputs import METRICS
from streams.rules.metric_catalogue import NamedMetric, named
from streams.rules.typed_fields import TypedFields
from streams.yaml_nodes import Node, one_of

METRIC_FIELDS = ("query", "metric", "select", "every", "on_error")
"""That rules over records do not have."""
SHARED = frozenset({
    "alert", "name", "input", "above", "below", "for", "keep_firing_for", "severity", "labels", "annotations", "tenant",
    "enabled", "mode", "owner", "limit", "on_no_data", *METRIC_FIELDS,
})  # fmt: skip
EVERY_MS = 60_000
LEAST_MS = 1_000
MAX_QUERY = 8192


class MetricFields:
    """Complains through the nodes and goes on."""

    def __init__(self, node: Node, fields: Mapping[str, Node]) -> None:
        self._node = node
        self._fields = fields
        self._typed = TypedFields(node, fields, ())

    def read(self) -> dict[str, Any]:
        """Fields of `schemas.rule_document.Rule`."""
        self._only_mine()
        metric = self._metric()
        bounds = self._typed.bounds()
        if "above" in bounds and "below" in bounds:
            self._fields["below"].fail("expected one of above and below")
        out = {
            "input": METRICS,
            "where": "",
            "level": metric.level if metric else Level.CLUSTER,
            "query": self._asked(metric) if metric else self._query(),
            "metric": metric.name if metric else "",
            "every_ms": self._every(),
            "for_ms": self._typed.duration("for", 0),
            "keep_firing_for_ms": self._typed.duration("keep_firing_for", 0),
            "on_no_data": self._without("on_no_data", Without.OK, not_=Without.ERROR),
            "on_error": self._without("on_error", Without.KEEP, not_=Without.NO_DATA),
            **bounds,
        }
        if metric and not bounds:
            self._node.fail("expected above or below: when is the metric an alert?")
        if out["on_no_data"] is not Without.OK and not bounds:
            self._fields["on_no_data"].fail(
                "needs above or below: a comparison within the query leaves nothing also when all is well"
            )
        return out

    def _only_mine(self) -> None:
        for name, node in self._fields.items():
            if name == "tests":
                node.fail("rules over metrics have none here: promtool tests queries")
            elif name not in SHARED:
                node.fail(
                    f"does not belong to input: {METRICS}, which has query or metric, every, above, below, for, ..."
                )

    def _metric(self) -> NamedMetric | None:
        if ("query" in self._fields) == ("metric" in self._fields):
            self._node.fail("expected one of query (PromQL) and metric (a name of the catalogue)")
        if "metric" not in self._fields:
            if "select" in self._fields:
                self._fields["select"].fail("narrows a metric; a query has matchers of its own")
            return None
        node = self._fields["metric"]
        try:
            return named(node.text())
        except ValueError as error:
            node.fail(str(error))
            return None

    def _asked(self, metric: NamedMetric) -> str:
        select: dict[str, str] = {}
        for name, node in self._fields["select"].fields().items() if "select" in self._fields else ():
            select[name] = node.text()
            try:
                metric.asked({name: "x"})
                re2.compile(select[name])
            except ValueError as error:
                node.fail(str(error))
                return ""
            except re2.error:
                node.fail("expected a name, or a pattern RE2 takes")
        return metric.asked(select)

    def _query(self) -> str:
        if "query" not in self._fields:
            return "?"
        query = self._fields["query"].text().strip()
        if not query:
            self._fields["query"].fail("expected PromQL")
        if len(query) > MAX_QUERY:
            self._fields["query"].fail(f"longer than {MAX_QUERY} characters")
        return query

    def _every(self) -> int:
        every_ms = self._typed.duration("every", EVERY_MS)
        if every_ms < LEAST_MS:
            self._fields["every"].fail("expected at least 1s")
        return every_ms

    def _without(self, name: str, default: Without, *, not_: Without) -> Without:
        if name not in self._fields:
            return default
        found = self._fields[name].checked(one_of(Without), default)
        if found is not_:
            self._fields[name].fail(f"expected one of {', '.join(w for w in Without if w is not not_)}")
        return found
