"""The gateway over HTTP, on a real broker and the embedded index: who may do what, what gets in, what is found."""

from __future__ import annotations

import base64
import gzip
import time
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import orjson
import pytest
import zstandard

from schemas.alerts import AlertState, Evidence, Status, alert_key
from schemas.base import encode
from schemas.catalogue import catalogue
from schemas.notifications import Decision, Notification, Outcome, Result
from streams.dead_letters import letter, source_letter
from streams.record import Record
from streams.sinks.index.port import Kind
from tests.gateway.serving import Served, eventually


def problem(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


def audits(served: Served, **wanted: Any) -> list[dict[str, Any]]:
    found = [orjson.loads(record.value or b"") for record in served.records("platform.audit")]
    return [entry for entry in found if all(entry.get(name) == value for name, value in wanted.items())]


# Who


@pytest.mark.parametrize("path", ["/api/v1/logs", "/api/v1/topics", "/api/v1/alerts", "/api/v1/me", "/api/v1/dlq"])
@pytest.mark.parametrize(
    "header", ["", "Bearer nonsense", "Bearer est_abc_def", "Basic Og==", "Digest x", "Bearer a.b.c"]
)
def test_nobody_gets_in_without_a_good_token(served: Served, path: str, header: str) -> None:
    answer = served.http.get(path, headers={"Authorization": header} if header else {})
    problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_may_do_what_its_scopes_say_also_as_a_basic_password(served: Served) -> None:
    headers = served.token("logs:read", name="reader")
    assert served.http.get("/api/v1/logs", headers=headers).status_code == 200
    denied = served.http.get("/api/v1/topics", headers=headers)
    assert problem(denied, 403)["scope"] == "status:read"
    text = headers["Authorization"].removeprefix("Bearer ")
    basic = base64.b64encode(f"anyone:{text}".encode()).decode()
    assert served.http.get("/api/v1/me", headers={"Authorization": f"Basic {basic}"}).json()["name"] == "token/reader"
    eventually(lambda: audits(served, request_id=denied.headers["x-request-id"], actor="token/reader", result="denied"))


def test_a_token_in_the_url_is_no_token(served: Served) -> None:
    text = served.token("logs:read")["Authorization"].removeprefix("Bearer ")
    for name in ("token", "access_token", "authorization"):
        assert served.http.get("/api/v1/logs", params={name: text}).status_code == 401


def test_a_revoked_token_is_refused_and_its_life_is_audited_once(served: Served) -> None:
    created = served.http.post("/api/v1/tokens", json={"scopes": ["logs:read"], "name": "short"}, headers=served.admin)
    token = created.json()
    headers = {"Authorization": f"Bearer {token['token']}"}
    assert served.http.get("/api/v1/logs", headers=headers).status_code == 200
    listed = served.http.get("/api/v1/tokens", headers=served.admin)
    assert token["id"] in listed.text
    assert token["token"].rpartition("_")[2] not in listed.text
    assert served.http.delete(f"/api/v1/tokens/{token['id']}", headers=served.admin).status_code == 204
    eventually(lambda: served.http.get("/api/v1/logs", headers=headers).status_code == 401, 10)
    for verb in ("create", "revoke"):
        entries = eventually(partial(audits, served, verb=verb, object=f"token/{token['id']}"))
        assert [(e["actor"], e["result"], e["address"]) for e in entries] == [("admin", "ok", "127.0.0.1")]


def test_a_token_made_with_a_token_ends_with_it(served: Served) -> None:
    body = {"scopes": ["tokens:write", "logs:read"], "expires_s": 3600}
    parent = served.http.post("/api/v1/tokens", json=body, headers=served.admin).json()
    using = {"Authorization": f"Bearer {parent['token']}"}
    child = served.http.post("/api/v1/tokens", json={"scopes": ["logs:read"]}, headers=using).json()
    assert child["expires"] == parent["expires"]
    headers = {"Authorization": f"Bearer {child['token']}"}
    assert served.http.get("/api/v1/logs", headers=headers).status_code == 200
    assert served.http.delete(f"/api/v1/tokens/{parent['id']}", headers=served.admin).status_code == 204
    assert served.http.get("/api/v1/logs", headers=headers).status_code == 401


def test_nobody_gives_away_more_than_they_hold(served: Served) -> None:
    headers = served.token("tokens:write", "logs:read")
    wide = served.http.post("/api/v1/tokens", json={"scopes": ["logs:write"]}, headers=headers)
    assert problem(wide, 403)["scopes"] == ["logs:write"]
    assert served.http.post("/api/v1/tokens", json={"scopes": ["logs:read"]}, headers=headers).status_code == 201
    problem(served.http.post("/api/v1/tokens", json={"scopes": ["nope:read"]}, headers=served.admin), 422)


def test_five_wrong_passwords_lock_and_say_so_with_the_address(served: Served) -> None:
    for _ in range(5):
        problem(served.http.post("/api/v1/login", json={"username": "mallory", "password": "x"}), 401)
    locked = served.http.post("/api/v1/login", json={"username": "mallory", "password": "x"})
    problem(locked, 429)
    assert int(locked.headers["retry-after"]) > 0
    (entry,) = eventually(lambda: audits(served, verb="lock", object="account/mallory"))
    assert entry["address"] == "127.0.0.1"
    assert len(audits(served, verb="login", object="account/mallory", reason="wrong password")) == 5


def test_logout_ends_the_session(served: Served) -> None:
    login = served.http.post("/api/v1/login", json={"username": "admin", "password": served.password}).json()
    assert login["expires_in"] == 12 * 3600
    headers = {"Authorization": f"Bearer {login['access_token']}"}
    assert served.http.get("/api/v1/me", headers=headers).json()["is_admin"]
    assert served.http.post("/api/v1/logout", headers=headers).status_code == 204
    problem(served.http.get("/api/v1/me", headers=headers), 401)


# The edge


def test_every_answer_is_hardened_and_carries_the_request_id(served: Served) -> None:
    answer = served.http.get("/livez", headers={"X-Request-Id": "my-own-id"})
    assert answer.headers["x-request-id"] == "my-own-id"
    assert (
        served.http.get("/livez", headers={"X-Request-Id": "no good\t" + "x" * 99}).headers["x-request-id"] != "no good"
    )
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_body_over_the_limit_is_refused_whatever_it_claims(served: Served) -> None:
    limit = served.settings.gateway.max_body_bytes
    headers = served.token("logs:write")
    claimed = served.http.post("/ingest/logs", content=b"x" * (limit + 1), headers=headers)
    problem(claimed, 413)

    def pieces() -> Any:
        for _ in range(limit // (1 << 20) + 1):
            yield b" " * (1 << 20)

    with suppress(httpx.WriteError):  # the connection is closed on the sender: refused as well
        problem(served.http.post("/ingest/logs", content=pieces(), headers=headers), 413)
    assert served.http.get("/livez").status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing"])
def test_what_is_not_there_is_a_problem_too(served: Served, path: str) -> None:
    problem(served.http.get(path, headers=served.admin), 404)


def test_readiness_lists_its_checks(served: Served) -> None:
    assert {"bus", "views", "index", "database"} <= served.http.get("/readyz").json()["checks"].keys()


def test_metrics_are_open_and_name_no_one(served: Served) -> None:
    text = served.http.get("/metrics").text
    assert 'route="/api/v1/me"' in served_once(served)
    assert 'eventsphere_topic_records{topic="logs"}' in text
    assert "admin" not in text


def served_once(served: Served) -> str:
    served.http.get("/api/v1/me")
    return served.http.get("/metrics").text


def test_openapi_describes_every_route_of_the_api(served: Served) -> None:
    problem(served.http.get("/api/openapi.json"), 401)
    document = served.get("/api/openapi.json")
    assert document["openapi"].startswith("3.")
    for path in ("/ingest/logs", "/api/v1/login", "/api/v1/streams/{topic}", "/api/v1/topics/{topic}/events"):
        assert path in document["paths"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert "application/problem+json" in operation["responses"]["default"]["content"], path
            for scheme in operation["security"]:
                assert scheme.keys() <= document["components"]["securitySchemes"].keys()
            verbs = ("/logout", "/reload", "/promote", "/resend", "/test", "/{action}")
            without = method == "post" and path.endswith(verbs)
            assert "requestBody" in operation or method != "post" or without, path


def test_what_openapi_calls_closed_is_closed(served: Served) -> None:
    for path, operations in served.get("/api/openapi.json")["paths"].items():
        for method, operation in operations.items():
            for name in ("topic", "offset", "partition", "id", "mail", "fingerprint", "identity", "hook"):
                path = path.replace(f"{{{name}}}", "1")
            answer = served.http.request(method, path)
            if operation["security"] and not path.startswith("/hooks/"):
                assert answer.status_code == 401, path
                assert answer.json()["title"] == "Unauthorized"
            elif not operation["security"]:
                assert answer.status_code in (200, 422, 503), path


@pytest.mark.parametrize(
    ("content", "kind", "status", "field"),
    [(b"{x", "application/json", 422, "body"), (b"{}", "application/json; charset=utf-8", 422, "username"),
     (b"a=b", "application/x-www-form-urlencoded", 415, None), (b"{}", "text/plain", 415, None)],
)  # fmt: skip
def test_a_body_that_is_no_json_is_told_apart(
    served: Served, content: bytes, kind: str, status: int, field: str | None
) -> None:
    answer = served.http.post("/api/v1/login", content=content, headers={"Content-Type": kind})
    assert problem(answer, status).get("field") == field


LISTS = ["logs", "events", "alerts", "notifications", "mailbox", "topics", "ledger", "dlq", "gaps", "audit", "tokens"]


@pytest.mark.parametrize("name", LISTS)
def test_every_list_takes_limit_cursor_and_sort(served: Served, name: str) -> None:
    page = served.get(f"/api/v1/{name}", limit=1)
    assert {"items", "total", "next"} <= page.keys()
    assert len(page["items"]) <= 1
    for wrong in ({"limit": 0}, {"limit": "x"}, {"cursor": "!!"}, {"sort": "nothing-like-it"}):
        answer = served.http.get(f"/api/v1/{name}", params=wrong, headers=served.admin)
        assert problem(answer, 422)["field"] in wrong


def walked(served: Served, path: str, **params: Any) -> list[Any]:
    """All items of a list, page by page of one."""
    out, cursor = [], ""
    while True:
        page = served.get(path, limit=1, cursor=cursor, **params)
        out += page["items"]
        cursor = page["next"]
        if not cursor:
            return out


def test_ledger_and_tokens_page_and_sort(served: Served) -> None:
    names = [item["topic"] for item in walked(served, "/api/v1/ledger", sort="-topic")]
    assert names == sorted(names, reverse=True)
    assert "logs" in names
    served.token("logs:read", name="early")
    served.token("logs:read", name="late")
    tokens = [item["name"] for item in walked(served, "/api/v1/tokens")]
    assert tokens.index("late") < tokens.index("early")
    assert [item["name"] for item in walked(served, "/api/v1/tokens", sort="time")] == tokens[::-1]


# Logs


def test_logs_sent_over_http_are_found_again(served: Served) -> None:
    now = int(time.time() * 1000)
    lines = [
        {
            "@timestamp": (now - 60_000 + n) / 1000,
            "log": f"payment {n} refused",
            "kubernetes": {"namespace_name": "shop", "pod_name": "pay-1", "container_name": "pay"},
        }
        for n in range(20)
    ]
    body = b"\n".join(orjson.dumps(line) for line in lines)
    headers = served.token("logs:write") | {"Idempotency-Key": "find-me"}
    bodies = {"": body, "gzip": gzip.compress(body), "zstd": zstandard.compress(body)}
    for encoding, content in bodies.items():
        extra = {"Content-Encoding": encoding} if encoding else {}
        answer = served.http.post("/ingest/logs", content=content, headers=headers | extra)
        assert (answer.status_code, answer.json()) == (202, {"accepted": 20})
    array = served.http.post("/ingest/logs", json=lines, headers=headers)
    assert array.status_code == 202
    keys = [record.key for record in served.records("logs")]
    assert len(keys) >= 80
    assert len(set(keys)) == len(keys) // 4
    served.index(Kind.LOGS, "logs")
    page = eventually(lambda: found(served.get("/api/v1/logs", q="payment refused", namespace="shop", limit=15)))
    assert page["total"] == 20
    assert page["items"][0]["record"]["log"] == "payment 19 refused"
    assert page["items"][0]["record"]["cluster"] == "test"
    rest = served.get("/api/v1/logs", q="payment refused", namespace="shop", limit=15, cursor=page["next"])
    assert [item["record"]["log"] for item in rest["items"]] == [f"payment {n} refused" for n in range(4, -1, -1)]
    assert rest["next"] == ""
    where = page["items"][0]
    exact = served.get(f"/api/v1/records/logs/{where['partition']}/{where['offset']}")
    assert exact["record"]["log"] == "payment 19 refused"
    histogram = served.get("/api/v1/logs/histogram", q="payment", start="-15m", end="now", bars=30)
    assert histogram["total"] == 20
    assert len(histogram["items"]) <= 30
    ledger = {item["topic"]: item for item in served.get("/api/v1/ledger")["items"]}
    assert ledger["logs"]["received"] == len(keys)
    assert ledger["logs"]["documents"] == 20
    assert {"cluster": "test", "namespace": "shop"} in [place["place"] for place in ledger["logs"]["places"]]


def found(page: Any) -> Any:
    return page if page["total"] else None


def test_bad_lines_are_named_and_nothing_is_stored(served: Served) -> None:
    before = len(served.records("logs"))
    answer = served.http.post("/ingest/logs", content=b'{"a":1}\n{"a":\n', headers=served.admin)
    assert list(problem(answer, 422)["indexes"]) == ["2"]
    bomb = gzip.compress(b"\0" * (served.settings.gateway.max_inflated_bytes + 1), 1)
    headers = served.admin | {"Content-Encoding": "gzip"}
    problem(served.http.post("/ingest/logs", content=bomb, headers=headers), 413)
    problem(served.http.post("/ingest/logs", content=b"{}", headers=served.admin | {"Content-Encoding": "br"}), 415)
    assert len(served.records("logs")) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start", "yesterday"),
        ("limit", "0"),
        ("limit", "5000"),
        ("cursor", "!!"),
        ("sort", "size"),
        ("end", "2020-13-01"),
        ("namspace", "shop"),
    ],
)
def test_a_wrong_parameter_is_named(served: Served, name: str, value: str) -> None:
    if name == "cursor":
        served.produce("logs", {"log": "so that there is an index"})
        served.index(Kind.LOGS, "logs")
    answer = served.http.get("/api/v1/logs", params={name: value}, headers=served.admin)
    assert name in problem(answer, 422)["detail"]


# Alerts, notifications


def state(name: str, status: Status, **more: Any) -> AlertState:
    return AlertState(
        tenant=more.pop("tenant", "platform"),
        fingerprint=name,
        episode=name,
        state=status,
        labels={"alertname": name, "severity": more.pop("severity", "warning"), "namespace": "shop"},
        starts_at_ms=1_767_607_200_000,
        updated_at_ms=more.pop("updated_at_ms", 1_767_607_200_000),
        seq=1,
        evidence=[Evidence(topic="logs", partition=0, offset=7)],
        **more,
    )


def test_alerts_are_listed_by_urgency_and_kept_to_their_tenants(served: Served) -> None:
    for alert in (
        state("resolved", Status.RESOLVED),
        state("warning", Status.FIRING),
        state("critical", Status.FIRING, severity="critical"),
        state("theirs", Status.FIRING, tenant="team-b"),
    ):
        served.produce("alerts.state", encode(alert), key=alert_key(alert.tenant, alert.fingerprint).encode())
    page = eventually(lambda: full(served.get("/api/v1/alerts"), 4))
    assert [item["fingerprint"] for item in page["items"]] == ["critical", "theirs", "warning", "resolved"]
    assert page["items"][0]["evidence"][0]["url"] == "/api/v1/records/logs/0/7"
    assert [i["fingerprint"] for i in served.get("/api/v1/alerts", state="resolved")["items"]] == ["resolved"]
    first = served.get("/api/v1/alerts", limit=3)
    assert first["total"] == 4
    assert len(served.get("/api/v1/alerts", limit=3, cursor=first["next"])["items"]) == 1
    theirs = served.token("alerts:read", tenant="team-b")
    seen = served.http.get("/api/v1/alerts", headers=theirs).json()
    assert [item["fingerprint"] for item in seen["items"]] == ["theirs"]
    assert served.http.get("/api/v1/alerts/critical?tenant=platform", headers=theirs).status_code == 404
    assert served.get("/api/v1/alerts/critical")["state"] == "firing"


def full(page: Any, count: int) -> Any:
    return page if page["total"] >= count else None


def test_a_notification_comes_with_what_became_of_it(served: Served) -> None:
    decision = Notification(
        id="n-1",
        tenant="platform",
        receiver="mail",
        group_key="g",
        group_labels={},
        flush=1,
        decision=Decision.SEND,
        status="firing",
        alerts=[],
        decided_at_ms=1_767_607_200_000,
    )
    outcome = Outcome(
        notification="n-1", tenant="platform", receiver="mail", channel="smtp", attempt=1, result=Result.SENT, at_ms=1
    )
    served.produce("notifications", encode(decision), timestamp=1_767_607_200_000)
    served.produce("notifications.outcomes", encode(outcome), timestamp=1_767_607_201_000)
    served.index(Kind.NOTIFICATIONS, "notifications")
    served.index(Kind.OUTCOMES, "notifications.outcomes")
    shown = eventually(lambda: served.http.get("/api/v1/notifications/n-1", headers=served.admin).json())
    assert shown["notification"]["record"]["receiver"] == "mail"
    assert [each["record"]["result"] for each in shown["outcomes"]] == ["sent"]
    assert served.get("/api/v1/notifications", name="mail")["total"] == 1


# Topics, dead letters


def test_topics_are_the_catalogues_with_offsets(served: Served) -> None:
    served.produce("gaps", {"id": "g"}, key=b"k")
    names = {item["name"]: item for item in served.get("/api/v1/topics")["items"]}
    assert "logs" in names
    assert names["logs"]["partitions"]
    eventually(lambda: served.get("/api/v1/topics/gaps")["records"] >= 1)
    assert served.get("/api/v1/topics/kube.events/schema")["$id"].startswith("urn:eventsphere:schema:kube.events")


def test_a_dead_letter_is_shown_and_sent_round_again_once_asked(served: Served) -> None:
    bad = Record("cicd.events", 1, 42, b"key", b'{"id": 1}', 1_767_607_200_000, [("ce_id", b"x")])
    for outgoing in (
        letter(bad, agent="trigger-pipelines", reason="schema", detail="id: not text", attempt=1),
        source_letter("cicd.events", b"\xff\xfe" * 99, peer="10.1.1.1", reason="json", detail="no", now_ms=5, limit=10),
    ):
        served.send(outgoing)
    page = eventually(lambda: full(served.get("/api/v1/dlq", topic="cicd.events"), 2))
    reasons = {item["reason"]: item for item in page["items"]}
    assert reasons["schema"]["original"] == {"topic": "cicd.events", "partition": 1, "offset": 42}
    assert not reasons["json"]["replayable"]
    assert page["next"] == ""
    assert len(served.get("/api/v1/dlq", limit=1)["items"]) == 1
    down = [(item["topic"], item["offset"]) for item in walked(served, "/api/v1/dlq")]
    assert [(item["topic"], item["offset"]) for item in walked(served, "/api/v1/dlq", sort="time")] == down[::-1]
    assert len(down) == served.get("/api/v1/dlq")["total"]
    whole = served.get(f"/api/v1/dlq/cicd.events/{reasons['schema']['offset']}")
    assert whole["record"] == {"id": 1}
    body = {"topic": "cicd.events", "offsets": [item["offset"] for item in page["items"]] + [999]}
    answer = served.http.post("/api/v1/dlq/replay", json=body, headers=served.admin)
    assert answer.status_code == 200
    assert answer.json()["replayed"] == 1
    assert set(answer.json()["refused"]) == {str(reasons["json"]["offset"]), "999"}
    (again,) = served.records("cicd.events")
    assert (again.key, again.value, again.headers) == (b"key", b'{"id": 1}', [("ce_id", b"x"), *marks(again)])
    eventually(lambda: audits(served, verb="replay", object="dlq/cicd.events", result="ok"))


def test_a_replayed_log_without_a_key_keeps_its_place_as_its_id(served: Served) -> None:
    served.produce("logs", {"log": "again", "cluster": "c"})
    record = next(r for r in served.records("logs") if b"again" in (r.value or b""))
    bad = letter(record, agent="index-logs", reason="refused", detail="", attempt=1)
    served.send(bad)
    (item,) = eventually(lambda: full(served.get("/api/v1/dlq", topic="logs"), 1))["items"]
    body = {"topic": "logs", "offsets": [item["offset"]]}
    assert served.http.post("/api/v1/dlq/replay", json=body, headers=served.admin).json()["replayed"] == 1
    copies = [r for r in served.records("logs") if b"again" in (r.value or b"")]
    (key,) = {r.key for r in copies} - {None}
    assert key is not None
    assert key.decode().endswith(f"-{record.partition}-{record.offset}")


def marks(record: Record) -> list[tuple[str, bytes]]:
    return [header for header in record.headers or [] if header[0] == "request_id"]


@pytest.mark.parametrize("path", ["logs/0/999999", "logs/77/0", "nothing/0/0"])
def test_a_record_that_is_not_there_is_not_found(served: Served, path: str) -> None:
    problem(served.http.get(f"/api/v1/records/{path}", headers=served.admin), 404)


def test_a_tenants_caller_sees_no_raw_records_of_others(served: Served) -> None:
    served.produce("gaps", {"id": "g2", "tenant": "team-b"}, key=b"k")
    served.produce("gaps", {"id": "g3"}, key=b"k")
    headers = served.token("topics:gaps:read", "dlq:read", tenant="team-b")
    records = {orjson.loads(r.value or b"")["id"]: r for r in served.records("gaps")}
    mine = served.http.get(f"/api/v1/records/gaps/0/{records['g2'].offset}", headers=headers)
    assert mine.status_code == 200
    problem(served.http.get(f"/api/v1/records/gaps/0/{records['g3'].offset}", headers=headers), 404)
    problem(served.http.get("/api/v1/dlq", headers=headers), 403)


def test_every_topic_is_known_to_the_bus(served: Served) -> None:
    assert catalogue().keys() <= set(_topics(served))


def _topics(served: Served) -> list[str]:
    text = served.http.get("/metrics").text
    return [
        line.partition('"')[2].partition('"')[0] + suffix
        for line in text.splitlines()
        for prefix, suffix in (("eventsphere_topic_records{", ""), ("eventsphere_dead_letters_held{", ".dlq"))
        if line.startswith(prefix)
    ]
