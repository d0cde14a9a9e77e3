"""Rule files of ElastAlert 2 -> drafts.

Source: github.com/jertel/elastalert2, docs/source/ruletypes.rst and elastalert/ruletypes.py. What decides when a rule
alerts is taken over or refused; where alerts are sent is a matter of routes here, and is told of as a note.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streams.rules.alert import duration
from streams.rules.imports import conditions as c
from streams.rules.imports import elastic
from streams.rules.imports.conditions import Condition
from streams.rules.imports.draft import Draft, Outcome, Refused, attempt, slug, words
from streams.rules.imports.elastic import Fields
from streams.rules.imports.mapping import Mapped, Source
from streams.yaml_nodes import Node

_UNITS_MS = {
    "milliseconds": 1, "seconds": 1000, "minutes": 60_000, "hours": 3_600_000, "days": 86_400_000,
    "weeks": 7 * 86_400_000,
}  # fmt: skip
WEEK_MS = 7 * 86_400_000
TYPES = frozenset({
    "any", "blacklist", "whitelist", "change", "frequency", "spike", "flatline", "new_term", "cardinality",
    "metric_aggregation", "percentage_match", "spike_aggregation",
})  # fmt: skip
_HOW_OFTEN = ("realert", "exponential_realert", "realert_key", "aggregation", "aggregation_key")
_REFUSED = {
    "match_enhancements": "runs code of its own on matches",
    "metric_agg_script": "runs a script in Elasticsearch",
    "threshold_ref": "a least number of records in the time before cannot be asked for here",
    "field_value": "a spike of a field's mean is not known here",
    "import": "the rule is in several files: write it into one",
}
_HARMLESS = frozenset({
    "name", "type", "index", "filter", "description", "owner", "priority", "is_enabled", "query_key", "timeframe",
    "num_events", "use_count_query", "use_terms_query", "terms_size", "doc_type", "attach_related", "compare_key",
    "blacklist", "whitelist", "ignore_null", "spike_height", "spike_type", "threshold_cur", "alert_on_new_data",
    "threshold", "forget_keys", "fields", "terms_window_size", "window_step_size", "alert_on_missing_field",
    "use_keyword_postfix", "max_cardinality", "min_cardinality", "cardinality_field", "metric_agg_key",
    "metric_agg_type", "percentile_range", "max_threshold", "min_threshold", "min_doc_count", "buffer_time",
    "bucket_interval", "sync_bucket_interval", "use_run_every_query_size", "allow_buffer_time_overlap",
    "metric_format_string", "match_bucket_filter", "min_percentage", "max_percentage", "percentage_format_string",
    "min_denominator", "timestamp_field", "timestamp_type", "timestamp_format", "use_strftime_index", "query_delay",
    "max_query_size", "max_scrolling", "scan_entire_timeframe", "include", "include_fields", "_source_enabled",
    "run_every", "filter_by_list",
})  # fmt: skip
"""Options that are taken over, or that say how records are fetched: here they come by themselves."""


def is_rule(fields: Mapping[str, Node]) -> bool:
    return "type" in fields and "index" in fields


def outcomes(file: str, root: Node, mapped: Mapped) -> list[Outcome]:
    fields = root.fields()
    name = fields["name"].text() if "name" in fields and fields["name"].is_text else ""
    return attempt(file, root, name, lambda: _Reader(file, root, fields, mapped).drafts())


class _Reader:
    def __init__(self, file: str, root: Node, fields: dict[str, Node], mapped: Mapped) -> None:
        self._root = root
        self._fields = fields
        self._file = file
        self._kind = fields["type"].text() if "type" in fields else ""
        source = self._source(mapped)
        self._es = Fields(source.input, {**mapped.fields, **source.fields}, mapped.text)
        self._where = source.where

    def drafts(self) -> list[Draft]:
        if self._kind not in TYPES or self._kind == "spike_aggregation":
            raise Refused(self._line("type"), f"type {self._kind}: not known here")
        left_out = self._options()
        filters = elastic.every(self._fields["filter"], self._es) if "filter" in self._fields else c.ALWAYS
        where = c.all_of([self._where, filters])
        made: dict[str, Callable[[], Condition | None]] = {
            "any": lambda: None, "blacklist": self._listed, "whitelist": self._listed, "change": self._change,
            "frequency": self._frequency, "spike": self._spike, "flatline": self._flatline, "new_term": lambda: None,
            "cardinality": self._cardinality, "metric_aggregation": self._metric, "percentage_match": self._percentage,
        }  # fmt: skip
        self.own: dict[str, Any] = {}
        more = made[self._kind]()
        bounds: list[dict[str, Any]] = [{}]
        if self._kind == "new_term":
            bounds = [{"type": "new_term", "within": duration(self._window()), "field": each} for each in self._terms()]
        elif self._kind in _BOUNDS:
            bounds = self._bounds(*_BOUNDS[self._kind])
        notes = [*self._es.notes, *left_out]
        return [self._draft(c.all_of([where, more]) if more else where, each, notes) for each in bounds]

    def _draft(self, where: Condition, bound: dict[str, Any], notes: list[str]) -> Draft:
        name = slug(self._fields["name"].text() if "name" in self._fields else "", "elastalert")
        draft = Draft(name, self._es.input, where, origin=f"{self._file}:{self._root.line}", notes=list(notes))
        group = [] if self._kind == "new_term" else [self._es.path(key) for key in self._texts("query_key")]
        draft.fields = {**self.own, **bound, "group_by": group, "severity": self._severity(), "annotations": {}}
        if "description" in self._fields:
            draft.fields["annotations"]["description"] = words(self._fields["description"].text())
        if "owner" in self._fields:
            draft.fields["labels"] = {"owner": self._fields["owner"].text()}
        if "is_enabled" in self._fields and not self._fields["is_enabled"].flag():
            draft.fields["enabled"] = False
        return draft

    # reading

    def _line(self, name: str) -> int:
        return self._fields[name].line if name in self._fields else self._root.line

    def _need(self, name: str) -> Node:
        if name not in self._fields:
            raise Refused(self._root.line, f"expected {name}")
        return self._fields[name]

    def _texts(self, name: str) -> list[str]:
        if name not in self._fields:
            return []
        node = self._fields[name]
        return [item.text() for item in node.items()] if node.is_list else [node.text()]

    def _flag(self, name: str) -> bool:
        return name in self._fields and self._fields[name].flag()

    def _number(self, name: str) -> int | float:
        value = self._need(name).value()
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refused(self._line(name), f"{name}: expected a number")
        return value

    def _time(self, name: str) -> int:
        """`minutes: 5` and the like, in milliseconds."""
        total = 0.0
        for unit, node in self._need(name).fields().items():
            value = node.value()
            if unit not in _UNITS_MS or isinstance(value, bool) or not isinstance(value, (int, float)):
                raise Refused(node.line, f"{name}: expected such as minutes: 5, not {unit}")
            total += value * _UNITS_MS[unit]
        return int(total)

    def _source(self, mapped: Mapped) -> Source:
        index = self._fields["index"].text() if "index" in self._fields else ""
        source = mapped.of_index(index)
        if source is None:
            raise Refused(self._line("index"), f"index {index}: say in a mapping which records these are (--mapping)")
        return source

    def _severity(self) -> str:
        priority = str(self._fields["priority"].value()) if "priority" in self._fields else ""
        return {"1": "critical", "2": "warning", "3": "info", "4": "info", "5": "info"}.get(priority, "warning")

    def _options(self) -> list[str]:
        """What is left out, as notes. Options that decide when there is an alert and are not known here are refused."""
        for name, why in _REFUSED.items():
            if name in self._fields:
                raise Refused(self._line(name), f"{name}: {why}")
        notes = []
        if often := [name for name in _HOW_OFTEN if name in self._fields]:
            notes.append(f"{', '.join(often)}: how often and how much together is told is a matter of routes")
        rest = [n for n in self._fields if n not in _HARMLESS and n not in _HOW_OFTEN and not n.startswith("_")]
        if rest:
            notes.append(f"left out, for routes and receivers to say: {', '.join(rest)}")
        return notes

    # types

    def _listed(self) -> Condition | None:
        keys = self._texts("compare_key")
        if len(keys) != 1:
            raise Refused(self._line("compare_key"), "compare_key: expected one field")
        values = [str(item.value()) for item in self._need(self._kind).items()]
        if any(value.startswith("!file") for value in values):
            raise Refused(self._line(self._kind), f"{self._kind}: values of a file of their machine: write them here")
        if self._kind == "whitelist" and not self._flag("ignore_null"):
            return c.negated(c.among(f"string({self._es.path(keys[0])})", values))
        self.own = {"type": self._kind, "field": self._es.path(keys[0]), "values": values}
        return None

    def _change(self) -> None:
        keys = self._texts("compare_key")
        if len(keys) != 1:
            raise Refused(self._line("compare_key"), "compare_key: one field alone can be watched for a change")
        if not self._flag("ignore_null"):
            raise Refused(self._line("ignore_null"), "ignore_null: a record without the field is no change here")
        self._need("query_key")
        self.own = {"type": "change", "field": self._es.path(keys[0])}
        if "timeframe" in self._fields:
            self.own["within"] = duration(self._time("timeframe"))

    def _frequency(self) -> None:
        self.own = {
            "type": "frequency",
            "count": self._number("num_events"),
            "within": duration(self._time("timeframe")),
        }

    def _spike(self) -> None:
        if self._flag("alert_on_new_data"):
            raise Refused(self._line("alert_on_new_data"), "alert_on_new_data: there is a time to compare with first")
        self.own = {
            "type": "spike",
            "times": self._number("spike_height"),
            "direction": self._need("spike_type").text(),
            "within": duration(self._time("timeframe")),
        }
        if "threshold_cur" in self._fields:
            if self.own["direction"] != "up":
                raise Refused(self._line("threshold_cur"), "threshold_cur: can be asked for of spikes up alone")
            self.own["count"] = self._number("threshold_cur")

    def _flatline(self) -> None:
        self.own = {
            "type": "flatline",
            "count": self._number("threshold"),
            "within": duration(self._time("timeframe")),
        }
        self._es.notes.append("begins when a first record was seen, and is given up after a day without any (forget)")

    def _window(self) -> int:
        wanted = self._time("terms_window_size") if "terms_window_size" in self._fields else 30 * 86_400_000
        if wanted > WEEK_MS:
            self._es.notes.append(f"values are remembered for 7d, not {duration(wanted)}: more of them are new")
        return min(wanted, WEEK_MS)

    def _terms(self) -> list[str]:
        if self._flag("alert_on_missing_field"):
            raise Refused(self._line("alert_on_missing_field"), "alert_on_missing_field: no value is none that is new")
        name = "fields" if "fields" in self._fields else "query_key"
        node = self._need(name)
        if node.is_list and any(item.is_list for item in node.items()):
            raise Refused(node.line, "fields: several fields together cannot be one value here")
        return [self._es.path(each) for each in self._texts(name)]

    def _cardinality(self) -> None:
        self.own = {
            "type": "cardinality",
            "field": self._es.path(self._need("cardinality_field").text()),
            "within": duration(self._time("timeframe")),
        }

    def _metric(self) -> None:
        how = self._need("metric_agg_type").text()
        self.own = {"type": "metric", "field": self._es.path(self._need("metric_agg_key").text())}
        if how == "cardinality":
            self.own["type"] = "cardinality"
        elif how == "percentiles":
            self.own["aggregate"] = f"p{self._number('percentile_range')}"
        elif how in ("min", "max", "avg", "sum", "value_count"):
            self.own["aggregate"] = "count" if how == "value_count" else how
        else:
            raise Refused(self._line("metric_agg_type"), f"metric_agg_type {how}: not known here")
        if "min_doc_count" in self._fields and self._number("min_doc_count") > 1:
            raise Refused(self._line("min_doc_count"), "min_doc_count: a least number of records cannot be asked for")
        self.own["within"] = duration(self._calculated())

    def _percentage(self) -> None:
        match = elastic.every(self._need("match_bucket_filter"), self._es)
        self.own = {"type": "percentage_match", "match": match.text, "within": duration(self._calculated())}
        if "min_denominator" in self._fields:
            self.own["count"] = self._number("min_denominator")

    def _calculated(self) -> int:
        """The window that a measure is calculated over."""
        if self._flag("use_run_every_query_size"):
            raise Refused(self._line("use_run_every_query_size"), "use_run_every_query_size: give buffer_time instead")
        for name in ("bucket_interval", "buffer_time"):
            if name in self._fields:
                return self._time(name)
        raise Refused(self._root.line, "buffer_time: the rule is to say it, not the configuration of ElastAlert alone")

    def _bounds(self, above: str, below: str) -> list[dict[str, Any]]:
        found = [(name, ours) for name, ours in ((above, "above"), (below, "below")) if name in self._fields]
        if not found:
            raise Refused(self._root.line, f"expected {above} or {below}")
        return [{ours: self._number(name)} for name, ours in found]


_BOUNDS = {
    "cardinality": ("max_cardinality", "min_cardinality"),
    "metric_aggregation": ("max_threshold", "min_threshold"),
    "percentage_match": ("max_percentage", "min_percentage"),
}
