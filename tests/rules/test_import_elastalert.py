"""Rule files of ElastAlert taken over: queries mean what Elasticsearch makes of them, types what ElastAlert does."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
import yaml

from streams.rules.cases import compared, episodes_of, records_of
from streams.rules.document import parse_document
from streams.rules.imports.mapping import Mapped, parse_mapping
from streams.rules.rehearsal import DAY_MS, rehearsed
from streams.rules.ruleset import RuleSet
from tests.rules.imported import matcher, refusals, rules_of

RECORD: dict[str, Any] = {
    "log": "GET /pay: connection refused, Error 17",
    "status": 503,
    "code": "E17",
    "tags": ["web", "slow"],
    "nothing": None,
    "kubernetes": {"namespace_name": "shop", "pod_name": "pay-1"},
}


def rule(**more: Any) -> str:
    return yaml.safe_dump({"name": "r", "type": "any", "index": "logstash-*", "alert": ["debug"], **more}, width=10_000)


def matches(query: Any, record: dict[str, Any] = RECORD) -> bool:
    return matcher(rules_of(rule(filter=[query]))["r"])(record)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"term": {"code": "E17"}}, True),
        ({"term": {"code.keyword": {"value": "E17"}}}, True),
        ({"term": {"code": "e17"}}, False),
        ({"term": {"code": {"value": "e17", "case_insensitive": True}}}, True),
        ({"term": {"status": "503"}}, True),
        ({"term": {"tags": "slow"}}, True),
        ({"term": {"log": "refused"}}, True),
        ({"term": {"log": "refuse"}}, False),
        ({"terms": {"status": [500, 503]}}, True),
        ({"match": {"log": "nothing refused"}}, True),
        ({"match": {"log": {"query": "nothing refused", "operator": "and"}}}, False),
        ({"match_phrase": {"log": "connection REFUSED error"}}, True),
        ({"match_phrase": {"log": "refused connection"}}, False),
        ({"prefix": {"code": "E1"}}, True),
        ({"prefix": {"log": "refu"}}, True),
        ({"wildcard": {"code": "E?7"}}, True),
        ({"wildcard": {"code": "?7"}}, False),
        ({"wildcard": {"log": "*fuse*"}}, True),
        ({"regexp": {"code": "E[0-9]+"}}, True),
        ({"regexp": {"code": "[0-9]+"}}, False),
        ({"range": {"status": {"gte": 500, "lt": 600}}}, True),
        ({"range": {"status": {"gt": "503"}}}, False),
        ({"exists": {"field": "kubernetes.pod_name"}}, True),
        ({"exists": {"field": "nothing"}}, False),
        ({"bool": {"must_not": [{"exists": {"field": "missing"}}]}}, True),
        ({"bool": {"must_not": {"term": {"missing": "x"}}}}, True),
        ({"bool": {"must": {"term": {"code": "E17"}}, "should": [{"term": {"code": "x"}}]}}, True),
        ({"bool": {"should": [{"term": {"code": "x"}}, {"term": {"status": 1}}]}}, False),
        ({"bool": {"filter": [], "should": [{"term": {"code": "x"}}], "minimum_should_match": 1}}, False),
        ({"query": {"query_string": {"query": "status: 503 AND code: E17"}}}, True),
        ({"query_string": {"query": "kubernetes.namespace_name:shop"}}, True),
    ],
)  # fmt: skip
def test_queries(query: Any, expected: bool) -> None:
    assert matches(query) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("code:E17", True),
        ("code:E17 status:1", True),
        ("code:E17 AND status:1", False),
        ("code:x OR status:503 AND log:refused", True),
        ("status:503 OR code:x AND log:refused", False),  # AND makes its neighbours required, OR does not
        ("status:503 OR (code:x AND log:refused)", True),
        ("+code:E17 -status:503", False),
        ("NOT code:x", True),
        ("NOT missing:x AND code:E17", True),
        ("code:(x OR E17)", True),
        ("code:E*", True),
        ("code:*", True),
        ("missing:*", False),
        ("_exists_:status", True),
        ("status:[500 TO 599]", True),
        ("status:[500 TO 503}", False),
        ("status:[* TO 502]", False),
        ("status:>=503 && status:<600", True),
        ('log:"connection refused"', True),
        ('"connection refused"', True),
        ("refused", True),
        ("refuse?", True),
        ("conn*", True),
        ("nection", False),
        ("code:/E[0-9]{2}/", True),
        (r"code:E\17", True),
        ("!code:E17", False),
        ("log:connection-refused^2", True),
        ("*", True),
    ],
)
def test_query_strings(text: str, expected: bool) -> None:
    assert matches({"query_string": {"query": text}}) is expected


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"filter": [{"query_string": {"query": "log:refusd~"}}]}, "similar words"),
        ({"filter": [{"query_string": {"query": "(code:x"}}]}, "expected ')'"),
        ({"filter": [{"query_string": {"query": "code:[a TO b]"}}]}, "only numbers have an order"),
        ({"filter": [{"query_string": {"query": "code:"}}]}, "expected something"),
        ({"filter": [{"query_string": {"query": "kube*:x"}}]}, "pattern of field names"),
        ({"filter": [{"range": {"@timestamp": {"gt": "now-1h"}}}]}, "@timestamp"),
        ({"filter": [{"script": {"script": "1"}}]}, "script: queries of this kind"),
        ({"filter": [{"regexp": {"code": "a~b"}}]}, "operators"),
        ({"filter": [{"term": {"_type": "x"}}]}, "_type"),
        ({"type": "my_module.Rule"}, "not known here"),
        ({"type": "spike_aggregation"}, "not known here"),
        ({"index": "metricbeat-*"}, "say in a mapping"),
        ({"match_enhancements": ["x.Y"]}, "code of its own"),
        ({"type": "frequency", "num_events": 3}, "expected timeframe"),
        ({"type": "frequency", "num_events": 3, "timeframe": {"fortnights": 1}}, "fortnights"),
        ({"type": "frequency", "num_events": 3, "timeframe": {"days": 8}}, "at most 7d"),
        ({"type": "spike", "spike_height": 3, "spike_type": "up", "timeframe": {"hours": 1}, "threshold_ref": 9},
         "threshold_ref"),
        ({"type": "change", "compare_key": ["a", "b"], "ignore_null": True, "query_key": "u"}, "one field alone"),
        ({"type": "change", "compare_key": "a", "ignore_null": False, "query_key": "u"}, "ignore_null"),
        ({"type": "new_term", "fields": [["a", "b"]]}, "several fields together"),
        ({"type": "blacklist", "compare_key": "a", "blacklist": ["!file /x"]}, "file of their machine"),
        ({"type": "metric_aggregation", "metric_agg_key": "a", "metric_agg_type": "avg", "max_threshold": 1},
         "buffer_time"),
        ({"type": "metric_aggregation", "metric_agg_key": "a", "metric_agg_type": "percentiles",
          "percentile_range": 33, "max_threshold": 1, "buffer_time": {"minutes": 5}}, "p33"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(more: dict[str, Any], says: str) -> None:
    ((line, reason),) = refusals(rule(**more))
    assert says in reason
    assert line >= 1


FIVE = {"minutes": 5}


@pytest.mark.parametrize(
    ("more", "records", "alerts"),
    [
        (
            {"type": "frequency", "num_events": 3, "timeframe": FIVE, "query_key": "user.keyword"},
            [(0, {"user": "a"}), (60, {"user": "b"}), (90, {"user": "a"}), (120, {"user": "a"})],
            [{"from": "2m", "labels": {"user": "a"}}],
        ),
        (
            {"type": "blacklist", "compare_key": "user", "blacklist": ["eve", "7"]},
            [(0, {"user": "ada"}), (1, {"user": "eve"}), (2, {})],
            [{"from": "1s"}],
        ),
        (
            {"type": "whitelist", "compare_key": "user", "whitelist": ["ada"], "ignore_null": True},
            [(0, {"user": "ada"}), (1, {}), (2, {"user": "eve"})],
            [{"from": "2s"}],
        ),
        (
            {"type": "whitelist", "compare_key": "user", "whitelist": ["ada"], "ignore_null": False},
            [(0, {"user": "ada"}), (1, {}), (2, {"user": "eve"})],
            [{"from": "1s"}],
        ),
        (
            {"type": "change", "compare_key": "land", "ignore_null": True, "query_key": "user", "timeframe": FIVE},
            [(0, {"user": "a", "land": "x"}), (1, {"user": "b", "land": "y"}), (2, {"user": "a", "land": "z"})],
            [{"from": "2s", "labels": {"user": "a"}}],
        ),
        (
            {"type": "cardinality", "cardinality_field": "host", "max_cardinality": 2, "timeframe": FIVE},
            [(0, {"host": "a"}), (1, {"host": "b"}), (2, {"host": "b"}), (3, {"host": "c"})],
            [{"from": "3s"}],
        ),
        (
            {"type": "metric_aggregation", "metric_agg_key": "ms", "metric_agg_type": "max", "max_threshold": 9,
             "buffer_time": FIVE},
            [(0, {"ms": 3}), (1, {"ms": 9}), (2, {"ms": 10})],
            [{"from": "2s"}],
        ),
        (
            {"type": "percentage_match", "match_bucket_filter": [{"range": {"status": {"gte": 500}}}],
             "max_percentage": 40, "min_denominator": 4, "buffer_time": FIVE},
            [(0, {"status": 200}), (1, {"status": 500}), (2, {"status": 200}), (3, {"status": 503})],
            [{"from": "3s"}],
        ),
        (
            {"type": "spike", "spike_height": 3, "spike_type": "up", "timeframe": {"minutes": 1}, "threshold_cur": 3},
            [(0, {}), (61, {}), (62, {}), (63, {})],
            [{"from": "63s"}],
        ),
    ],
)  # fmt: skip
def test_types_alert_when_elastalert_does(
    more: dict[str, Any], records: list[tuple[int, dict[str, Any]]], alerts: list[dict[str, Any]]
) -> None:
    found = rules_of(rule(**more))["r"]
    cases = [{"records": [{"at": f"{at}s", "record": record} for at, record in records], "alerts": alerts}]
    text = yaml.safe_dump({"groups": [{"name": "g", "rules": [
        {"alert": "other", "input": "logs", "where": "true", "tests": cases}
    ]}]})  # fmt: skip
    ((other,), errors) = parse_document(text, "cases.yaml")
    assert errors == []
    (case,) = other.tests
    told = records_of(found, case)
    until_ms = max(each.timestamp_ms for each in told) + DAY_MS
    assert compared(case, episodes_of(rehearsed(RuleSet([found]), told, until_ms))) == []


def test_a_rule_with_two_bounds_or_several_new_terms_is_several_rules() -> None:
    both = rules_of(
        rule(type="cardinality", cardinality_field="host", max_cardinality=9, min_cardinality=2, timeframe=FIVE)
    )
    assert [(each.above, each.below) for each in both.values()] == [(9.0, None), (None, 2.0)]
    terms = rules_of(rule(type="new_term", fields=["a", "b.keyword"], terms_window_size={"days": 3}))
    assert [each.field for each in terms.values()] == ["a", "b"]


def test_a_mapping_says_which_records_they_are() -> None:
    mapped, errors = parse_mapping(
        textwrap.dedent("""\
            sources:
            - {index: metricbeat-*, input: logs, where: agent == "metricbeat", fields: {beat.hostname: host.name}}
            fields: {source.ip: client.ip}
            text: [line]
        """),
        "mapping.yaml",
    )
    assert errors == []
    text = rule(
        index="metricbeat-*", query_key="beat.hostname", filter=[{"query_string": {"query": "source.ip:a* AND down"}}]
    )
    found = rules_of(text, mapped=mapped)["r"]
    assert found.group_by == ("host.name",)
    matches = matcher(found)
    record = {"agent": "metricbeat", "client": {"ip": "abc"}, "line": "it is DOWN"}
    assert matches(record)
    for changed in ({"agent": "x"}, {"client": {"ip": "b"}}, {"line": "downtown"}):
        assert not matches(record | changed)
    _, errors = parse_mapping("sources: [{input: nowhere}]\nfoelds: {}\n", "mapping.yaml")
    assert [error.split(":")[1] for error in errors] == ["1", "1", "2"]
    assert Mapped().of_index("metricbeat-*") is None
