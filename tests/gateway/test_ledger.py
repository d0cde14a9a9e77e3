"""The ledger, usage and quotas over HTTP: who may ask for what, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.serving import Served


def problem(answer: Any, status: int) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_line_a_topic_in_records_and_bytes(served: Served) -> None:
    page = served.get("/api/v1/ledger")
    assert page["adds_up"], [item["problems"] for item in page["items"]]
    for item in page["items"]:
        parts = ("indexed", "dropped", "joined", "dead_lettered", "in_flight", "expired")
        assert item["received"] == sum(item[part] for part in parts)
        assert item["bytes"]["received"] == sum(item["bytes"][part] for part in parts)


@pytest.mark.parametrize("by", ["source", "cluster", "namespace"])
def test_lines_by_place_are_a_list_as_others(served: Served, by: str) -> None:
    page = served.get("/api/v1/ledger", by=by, window="1h", start="-6h", end="now", limit=1)
    assert {"items", "total", "next", "at", "adds_up"} <= page.keys()


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/api/v1/ledger", "window", "30m"),
        ("/api/v1/ledger", "window", "0h"),
        ("/api/v1/ledger", "by", "pod"),
        ("/api/v1/ledger", "start", "noon"),
        ("/api/v1/usage", "by", "pod"),
        ("/api/v1/usage", "sort", "nothing"),
        ("/api/v1/dlq", "start", "noon"),
        ("/api/v1/dlq", "cursor", "!!"),
    ],
)
def test_what_is_asked_wrongly_is_named(served: Served, path: str, field: str, value: str) -> None:
    answer = served.http.get(path, params={field: value}, headers=served.admin)
    assert problem(answer, 422)["field"] == field


def test_a_tenant_sees_its_own_lines_only(served: Served) -> None:
    theirs = served.token("ledger:read", tenant="acme")
    assert served.http.get("/api/v1/ledger", headers=theirs).json()["items"] == []
    problem(served.http.get("/api/v1/ledger", params={"by": "source"}, headers=theirs), 403)
    assert served.http.get("/api/v1/usage", headers=theirs).json()["items"] == []
    assert served.http.get("/api/v1/quotas", headers=theirs).json()["items"] == []
    problem(served.http.get("/api/v1/usage", headers=served.token("logs:read")), 403)
