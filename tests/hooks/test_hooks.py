"""Pushes over HTTP into cicd.events: proven, once, refused with a reason and a record when forged."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import orjson
import pytest

from schemas.cicd import CicdEvent
from streams.settings import Hook, Kafka
from tests.gateway.serving import Served, eventually, serving
from tests.hooks.test_proofs import GITHUB, GITLAB, github_header

SECRET = "sesame, open"


@pytest.fixture(scope="module")
def served(platform_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    hooks = [Hook(kind="github", id="main", secret=SECRET), Hook(kind="gitlab", id="main", secret=SECRET)]
    with serving(platform_kafka, tmp_path_factory.mktemp("hooks"), {"hooks": hooks}, max_body_bytes=1 << 20) as out:
        yield out


def github(served: Served, body: bytes, delivery: str, **headers: str) -> httpx.Response:
    sent = {"X-GitHub-Event": "push", "X-GitHub-Delivery": delivery, **github_header(body, SECRET), **headers}
    return served.http.post("/hooks/github/main", content=body, headers=sent)


def events(served: Served) -> list[CicdEvent]:
    return [msgspec.json.decode(record.value or b"", type=CicdEvent) for record in served.records("cicd.events")]


def push(commit: str) -> bytes:
    return json.dumps(GITHUB | {"after": commit * 40}).encode()


def test_a_signed_push_is_in_kafka_when_it_is_acknowledged(served: Served) -> None:
    answer = github(served, push("1"), "delivery-1")
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "accepted"
    record = next(r for r in served.records("cicd.events") if json.loads(r.value or b"")["commit"] == "1" * 40)
    assert record.key == b"shop/pay@main"
    headers = dict(record.headers or [])
    assert headers["ce_type"] == b"change.merged"
    assert headers["ce_id"].decode() == answer.json()["id"]


def test_three_deliveries_are_one_event(served: Served) -> None:
    ids = {github(served, push("2"), "delivery-2").json()["id"] for _ in range(3)}
    assert len(ids) == 1
    assert {event.id for event in events(served) if event.commit == "2" * 40} == ids


@pytest.mark.parametrize(
    "headers",
    [
        {"x-hub-signature-256": "sha256=" + "0" * 64},
        {"x-hub-signature-256": ""},
        {"x-hub-signature-256": "sha256=" + hmac.new(b"wrong", b"", hashlib.sha256).hexdigest()},
        {"x-hub-signature-256": "sha1=abc"},
    ],
)
def test_forged_ones_are_refused_and_written_down(served: Served, headers: dict[str, str]) -> None:
    answer = github(served, push("3"), "delivery-3", **headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    request_id = answer.headers["x-request-id"]

    def written() -> list[dict[str, Any]]:
        found = [orjson.loads(record.value or b"") for record in served.records("platform.audit")]
        return [entry for entry in found if entry["request_id"] == request_id]

    (entry,) = eventually(written)
    assert (entry["result"], entry["status"], entry["object"]) == ("denied", 401, "/hooks/github/main")
    assert "X-Hub-Signature-256" in entry["reason"]
    assert all(event.commit != "3" * 40 for event in events(served))


def test_gitlab_by_its_token(served: Served) -> None:
    body = json.dumps(GITLAB | {"after": "4" * 40}).encode()
    sent = {"X-Gitlab-Event": "Push Hook", "Idempotency-Key": "k4", "X-Gitlab-Token": SECRET}
    for _ in range(2):
        answer = served.http.post("/hooks/gitlab/main", content=body, headers=sent)
        assert answer.status_code == 202, answer.text
    (found,) = {event.id for event in events(served) if event.commit == "4" * 40}
    assert found == answer.json()["id"]
    assert (
        served.http.post("/hooks/gitlab/main", content=body, headers=sent | {"X-Gitlab-Token": "x"}).status_code == 401
    )


def test_what_is_not_used_is_ignored_with_the_reason(served: Served) -> None:
    answer = github(served, b'{"zen": "x"}', "d5", **{"X-GitHub-Event": "ping"})
    assert (answer.status_code, answer.json()) == (
        202,
        {"status": "ignored", "id": "", "reason": "event 'ping' is not used"},
    )


def test_a_form_is_understood(served: Served) -> None:
    body = httpx.QueryParams({"payload": push("6").decode()}).__str__().encode()
    answer = github(served, body, "d6", **{"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.json()["status"] == "accepted", answer.text


def test_a_form_of_too_many_fields_is_malformed(served: Served) -> None:
    body = b"&".join(b"f%d=1" % n for n in range(11))
    answer = github(served, body, "d6", **{"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert "more than 10 fields" in answer.json()["detail"]


def test_malformed_too_large_and_unknown(served: Served) -> None:
    assert github(served, b"{nonsense", "d7").status_code == 400
    assert github(served, b"[" * 100_000, "d7").status_code == 400
    assert github(served, b"x" * (2 << 20), "d7").status_code == 413
    assert served.http.post("/hooks/github/nosuch", content=b"{}").status_code == 404
    assert github(served, push("8"), "d8").status_code == 202
