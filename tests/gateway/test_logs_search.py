"""Search in logs over HTTP: the query language, histogram, fields, context, export, and whose records they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from confluent_kafka import Producer

from schemas.base import rfc3339
from streams.kafka import client
from streams.settings import Kafka
from streams.sinks.index.port import Kind
from tests.gateway.serving import Served, eventually, serving

NOON = 1_795_608_000_000
COUNT = 5_000
LINES = ("payment failed: connection refused", "GET /items 200", "=cmd|' /C calc'!A0", "\x1b[31mred\x1b[0m words\n")


def _record(number: int) -> dict[str, Any]:
    tenant = "blue" if number % 5 == 0 else "red"
    pod = f"pay-7d9c8f6b5-x{number % 3}kpz"
    about = {"namespace_name": f"{tenant}-shop", "pod_name": pod, "container_name": "pay", "labels": {"app": "pay"}}
    level = "error" if number % 4 == 0 else "info"
    more = {"level": level, "status": 500 if number % 4 == 0 else 200, "n": number}
    return {"log": LINES[number % 4], "cluster": "prod", "tenant": tenant, "kubernetes": about, **more}


@pytest.fixture(scope="module")
def logs(platform_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(platform_kafka, tmp_path_factory.mktemp("logs")) as served:
        produce(served)
        served.index(Kind.LOGS, "logs")
        eventually(lambda: served.get("/api/v1/logs", limit=1)["total"] == COUNT)
        yield served


def produce(served: Served) -> None:
    producer = Producer(client(served.kafka))
    for number in range(COUNT):
        value, at_ms = orjson.dumps(_record(number)), NOON + number * 100
        producer.produce("logs", value, key=b"r%d" % number, timestamp=at_ms, partition=number % 2)
    assert producer.flush(60) == 0


def test_the_language_is_compiled_and_errors_name_their_position(logs: Served) -> None:
    page = logs.get("/api/v1/logs", q="(refused OR items) status:>=500 NOT namespace:blue-shop", limit=5)
    assert page["total"] == COUNT // 4 - COUNT // 20
    assert {item["record"]["level"] for item in page["items"]} == {"error"}
    answer = logs.http.get("/api/v1/logs", params={"q": "refused AND (pod:x"}, headers=logs.admin)
    assert answer.status_code == 422
    problem = answer.json()
    assert (problem["field"], problem["position"], problem["reason"]) == ("q", 12, "query")
    assert "character 13" in problem["detail"]
    for path in ("histogram", "fields", "export"):
        again = logs.http.get(f"/api/v1/logs/{path}", params={"q": '"open', "end": NOON + 1}, headers=logs.admin)
        assert again.status_code == 422, path
        assert again.json()["position"] == 0


def test_a_histogram_counts_every_record_once(logs: Served) -> None:
    span = {"start": str(NOON), "end": str(NOON + COUNT * 100)}
    found = logs.get("/api/v1/logs/histogram", q="level:error", bars=50, **span)
    assert found["total"] == sum(bar["count"] for bar in found["items"]) == COUNT // 4
    assert [bar["time_ms"] % found["interval_ms"] for bar in found["items"]] == [0] * len(found["items"])
    clipped = logs.get("/api/v1/logs/histogram", start=str(NOON + 50), end=str(NOON + 1000), bars=60)
    assert clipped["total"] == 9


def test_fields_with_their_most_frequent_values(logs: Served) -> None:
    span = {"start": str(NOON), "end": str(NOON + COUNT * 100)}
    found = logs.get("/api/v1/logs/fields", **span)
    assert found["total"] == COUNT
    values = {each["field"]: {v["value"]: v["count"] for v in each["values"]} for each in found["items"]}
    assert values["level"] == {"error": COUNT // 4, "info": COUNT - COUNT // 4}
    assert values["namespace"] == {"red-shop": COUNT - COUNT // 5, "blue-shop": COUNT // 5}
    assert len(values["pod"]) == 3
    assert set(found["others"]) == {"label.app", "status", "n"}
    some = logs.get("/api/v1/logs/fields", field="status,label.app", q="refused", top=1, **span)
    assert [each["field"] for each in some["items"]] == ["status", "label.app"]
    assert some["items"][0]["values"] == [{"value": "500", "count": COUNT // 4}]
    answer = logs.http.get("/api/v1/logs/fields", params={"field": "log"}, headers=logs.admin)
    assert (answer.status_code, answer.json()["field"]) == (422, "field")


def test_the_lines_around_a_record_are_those_of_its_container(logs: Served) -> None:
    found = logs.get("/api/v1/logs/r1000/context", before=3, after=2)
    assert found["item"]["record"]["n"] == 1000
    same = [n for n in range(COUNT) if n % 3 == 1000 % 3 and n % 5 == 0]
    at = same.index(1000)
    assert [each["record"]["n"] for each in found["before"]] == same[at - 3 : at]
    assert [each["record"]["n"] for each in found["after"]] == same[at + 1 : at + 3]
    first = logs.get("/api/v1/logs/r0/context", before=5, after=0)
    assert (first["before"], first["after"]) == ([], [])
    assert logs.http.get("/api/v1/logs/none/context", headers=logs.admin).status_code == 404


def test_one_record_by_its_id(logs: Served) -> None:
    found = logs.get("/api/v1/logs", q="n:1000", limit=1)["items"][0]
    assert logs.get("/api/v1/logs/r1000") == found
    assert logs.get("/api/v1/logs/r1000/context")["item"] == found
    assert logs.http.get("/api/v1/logs/none", headers=logs.admin).status_code == 404
    blue = logs.token("logs:read", tenant="blue")
    assert logs.http.get("/api/v1/logs/r0", headers=blue).json()["record"]["tenant"] == "blue"
    assert logs.http.get("/api/v1/logs/r1", headers=blue).status_code == 404, "another tenant's"


def test_an_export_is_of_all_that_match_in_order(logs: Served) -> None:
    def export(**params: Any) -> str:
        with logs.http.stream("GET", "/api/v1/logs/export", params=params, headers=logs.admin) as answer:
            assert answer.status_code == 200
            out = answer.read().decode()
            assert int(answer.headers["eventsphere-total"]) >= out.count("\n") - 1
            return out

    lines = [orjson.loads(line) for line in export(format="ndjson").splitlines()]
    assert [line["record"]["n"] for line in lines] == list(range(COUNT))
    newest = [orjson.loads(line) for line in export(format="ndjson", sort="-time", limit=7).splitlines()]
    assert [line["record"]["n"] for line in newest] == list(range(COUNT - 1, COUNT - 8, -1))
    text = export(q="refused", limit=1)
    assert text == f"{rfc3339(NOON)} blue-shop/pay-7d9c8f6b5-x0kpz/pay payment failed: connection refused\n"
    rows = list(csv.reader(io.StringIO(export(format="csv", q="level:info", limit=4), newline="")))
    assert rows[0] == ["time", "cluster", "namespace", "pod", "container", "level", "log", "id"]
    assert [row[6] for row in rows[1:4]] == ["GET /items 200", "'=cmd|' /C calc'!A0", "red words"]
    assert export(q="nothing", format="ndjson") == ""


def test_tenants_never_see_each_others_records(logs: Served) -> None:
    blue = logs.token("logs:read", tenant="blue")

    def get(path: str, **params: Any) -> Any:
        answer = logs.http.get(path, params=params, headers=blue)
        assert answer.status_code == 200, answer.text
        return answer

    span = {"start": str(NOON), "end": str(NOON + COUNT * 100)}
    assert get("/api/v1/logs", q="tenant:red OR namespace:red-shop").json()["total"] == 0
    assert get("/api/v1/logs", q="NOT tenant:blue").json()["total"] == 0
    assert get("/api/v1/logs/histogram", **span).json()["total"] == COUNT // 5
    fields = get("/api/v1/logs/fields", field="namespace", **span).json()
    assert fields["items"][0]["values"] == [{"value": "blue-shop", "count": COUNT // 5}]
    exported = get("/api/v1/logs/export", format="ndjson").text.splitlines()
    assert len(exported) == COUNT // 5
    assert all(orjson.loads(line)["record"]["tenant"] == "blue" for line in exported)
    assert logs.http.get("/api/v1/logs/r1/context", headers=blue).status_code == 404
    around = get("/api/v1/logs/r0/context", after=50).json()
    assert {each["record"]["tenant"] for each in around["after"]} == {"blue"}


def test_all_of_it_needs_the_scope(logs: Served) -> None:
    other = logs.token("alerts:read")
    for path in ("", "/histogram", "/fields", "/export", "/r0", "/r0/context"):
        assert logs.http.get(f"/api/v1/logs{path}", headers=other).status_code == 403, path
        assert logs.http.get(f"/api/v1/logs{path}").status_code == 401, path


# Saved queries


def test_saved_queries_are_their_owners_and_shared_in_the_tenant(logs: Served) -> None:
    anna, ben, eve = (
        logs.token("logs:read", tenant=tenant, name=name)
        for tenant, name in (("blue", "anna"), ("blue", "ben"), ("red", "eve"))
    )
    path = "/api/v1/log-queries"

    def names(headers: dict[str, str]) -> list[str]:
        return [item["name"] for item in logs.http.get(path, headers=headers).json()["items"]]

    body = {"name": "refused", "asks": {"q": "refused level:error", "start": "-1h"}}
    made = logs.http.post(path, json=body, headers=anna)
    assert made.status_code == 201, made.text
    own = f"{path}/{made.json()['id']}"
    assert made.json()["asks"] == body["asks"]
    assert (names(anna), names(ben), names(eve)) == (["refused"], [], [])
    assert logs.http.get(own, headers=ben).status_code == 404

    shared = logs.http.put(own, json=body | {"shared": True, "name": "both"}, headers=anna)
    assert shared.status_code == 200, shared.text
    assert (names(anna), names(ben), names(eve)) == (["both"], ["both"], [])
    assert logs.http.put(own, json=body, headers=ben).status_code == 403
    assert logs.http.delete(own, headers=ben).status_code == 403
    assert logs.http.delete(own, headers=eve).status_code == 404
    assert logs.http.delete(own, headers=anna).status_code == 204
    assert names(ben) == []


@pytest.mark.parametrize(
    "asks", [{"q": "a OR"}, {"q": "x" * 2000}, {"start": "yesterday"}, {"other": "x"}, {"q": 'pod:"open'}]
)
def test_what_cannot_be_asked_is_not_saved(logs: Served, asks: dict[str, str]) -> None:
    answer = logs.http.post("/api/v1/log-queries", json={"name": "wrong", "asks": asks}, headers=logs.admin)
    assert answer.status_code == 422


# KubeSphere's API

BASE = "/kapis/logging.kubesphere.io/v1alpha2"


def _kapi(served: Served, path: str, headers: dict[str, str] | None = None, **params: Any) -> Any:
    url = httpx.URL(BASE + path).copy_merge_params(params)
    answer = served.http.get(url, headers=headers or served.admin)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_kubesphere_queries_at_every_level(logs: Served) -> None:
    pod = "pay-7d9c8f6b5-x0kpz"
    counts = {
        "/cluster": COUNT,
        "/workspaces/blue": COUNT // 5,
        "/namespaces/red-shop": COUNT - COUNT // 5,
        "/namespaces/red-shop/workloads/pay": COUNT - COUNT // 5,
        "/namespaces/red-shop/workloads/none": 0,
        f"/namespaces/blue-shop/pods/{pod}": len([n for n in range(COUNT) if n % 15 == 0]),
        f"/namespaces/blue-shop/pods/{pod}/containers/pay": len([n for n in range(COUNT) if n % 15 == 0]),
        f"/namespaces/blue-shop/pods/{pod}/containers/side": 0,
    }
    for path, count in counts.items():
        found = _kapi(logs, path, size=1)["query"]
        assert (found["total"], len(found["records"])) == (count, min(1, count)), path
    (record,) = _kapi(logs, "/namespaces/blue-shop", operation="query", sort="asc", size="1")["query"]["records"]
    assert record == {
        "log": LINES[0],
        "time": rfc3339(NOON),
        "namespace": "blue-shop",
        "pod": pod,
        "container": "pay",
    }


def test_kubesphere_filters_are_alternatives_by_commas(logs: Served) -> None:
    quarter = COUNT // 4
    cases: list[tuple[dict[str, Any], int]] = [
        ({"namespaces": "blue-shop,none"}, COUNT // 5),
        ({"namespace_query": "BLUE,none"}, COUNT // 5),
        ({"namespace_query": "shop"}, COUNT),
        ({"workloads": "pay"}, COUNT),
        ({"workload_query": "PA"}, COUNT),
        ({"pods": "pay-7d9c8f6b5-x0kpz,pay-7d9c8f6b5-x1kpz"}, len([n for n in range(COUNT) if n % 3 < 2])),
        ({"pod_query": "X0K"}, len([n for n in range(COUNT) if n % 3 == 0])),
        ({"containers": "pa"}, 0),
        ({"container_query": "a"}, COUNT),
        ({"log_query": "REFUSED"}, quarter),
        ({"log_query": "refused,items"}, 2 * quarter),
        ({"log_query": "refu"}, quarter),
        ({"log_query": "connection refused"}, quarter),
        ({"log_query": "---"}, 0),
        ({"log_query": "refused", "namespaces": "blue-shop"}, COUNT // 20),
        ({"start_time": str(NOON + 100), "end_time": str(NOON + 500)}, 5),
        ({"start_time": str(NOON // 1000), "end_time": str(NOON // 1000 + 1)}, 11),
    ]
    for params, count in cases:
        assert _kapi(logs, "/cluster", **params)["query"]["total"] == count, params


def test_kubesphere_windows_statistics_and_histograms(logs: Served) -> None:
    whole = _kapi(logs, "/cluster", sort="asc", size=30)["query"]["records"]
    window = _kapi(logs, "/cluster?from=10", sort="asc", size=5)["query"]["records"]
    assert window == whole[10:15]
    deep = _kapi(logs, f"/cluster?from={COUNT - 3}", sort="asc", size=2000)["query"]["records"]
    assert len(deep) == 3
    assert len(_kapi(logs, "/cluster")["query"]["records"]) == 10
    statistics = _kapi(logs, "/cluster", operation="statistics", log_query="refused")["statistics"]
    assert statistics == {"containers": 6, "logs": COUNT // 4}
    found = _kapi(logs, "/cluster", operation="histogram", interval="2m")["histogram"]
    assert (found["total"], found["interval"]) == (COUNT, "2m")
    assert [bar["time"] for bar in found["histograms"]] == [NOON + n * 120_000 for n in range(5)]
    assert [bar["count"] for bar in found["histograms"]] == [1200, 1200, 1200, 1200, 200]
    month = _kapi(logs, "/cluster", operation="histogram", interval="1M")["histogram"]["histograms"]
    assert month == [{"time": 1_793_491_200_000, "count": COUNT}]
    for params in ({"interval": "x"}, {"interval": "1s", "start_time": "abc"}, {"operation": "other"}):
        answer = logs.http.get(f"{BASE}/cluster", params={"operation": "histogram"} | params, headers=logs.admin)
        assert answer.status_code in (400, 422), params
    assert logs.http.get(f"{BASE}/cluster?from=9999&size=2", headers=logs.admin).status_code == 400


def test_kubesphere_exports_lines(logs: Served) -> None:
    answer = logs.http.get(f"{BASE}/namespaces/blue-shop?operation=export&log_query=words", headers=logs.admin)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.splitlines() == ["red words"] * (COUNT // 20)


def test_kubesphere_tenants_are_apart(logs: Served) -> None:
    blue = logs.token("logs:read", tenant="blue")
    assert _kapi(logs, "/cluster", blue)["query"]["total"] == COUNT // 5
    assert _kapi(logs, "/namespaces/red-shop", blue)["query"]["total"] == 0
    assert _kapi(logs, "/workspaces/blue", blue, operation="statistics")["statistics"]["containers"] == 3
    assert logs.http.get(f"{BASE}/workspaces/red", headers=blue).status_code == 403
    assert logs.http.get(f"{BASE}/cluster").status_code == 401
