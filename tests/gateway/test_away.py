"""The gateway while the bus is away and afterwards, and how often one caller may ask."""

from __future__ import annotations

from pathlib import Path

from deploy.local.broker import Broker
from gateway.authentication import CSRF_HEADER
from gateway.sessions import COOKIE
from streams import topics
from tests.gateway.serving import events_of, eventually, serving


def test_without_the_bus_it_says_so_and_goes_on_when_it_is_back(own_broker: Broker, tmp_path: Path) -> None:
    topics.apply(own_broker.kafka)
    with serving(own_broker.kafka, tmp_path / "data") as served:
        headers = served.token("logs:write")
        with served.http.stream("GET", "/api/v1/streams/logs", headers=served.admin) as answer:
            lines = answer.iter_lines()
            eventually(lambda: next(lines).startswith("id: "))
            own_broker.stop()
            assert served.http.get("/livez").status_code == 200
            eventually(lambda: served.http.get("/readyz").status_code == 503)
            assert "bus" in served.http.get("/readyz").json()["detail"]
            login = served.http.post("/api/v1/login", json={"username": "admin", "password": served.password})
            assert login.status_code == 200
            refused = served.http.post("/ingest/logs", content=b'{"log":"lost?"}', headers=headers)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            own_broker.start()
            own_broker.wait_ready(120)
            eventually(served.is_ready, 120)
            sent = {"log": "back", "cluster": "c"}
            eventually(lambda: served.http.post("/ingest/logs", json=[sent], headers=headers).status_code == 202, 120)
            while True:
                (event,) = events_of(lines, 1)
                if event["data"].get("record", {}).get("log") == "back":
                    break


def test_a_caller_that_asks_too_often_is_told_when_to_come_back(own_broker: Broker, tmp_path: Path) -> None:
    topics.apply(own_broker.kafka)
    with serving(own_broker.kafka, tmp_path / "data", requests_per_s=0.05, burst=6) as served:
        eager, other = served.token("logs:read"), served.token("logs:read")
        answers = [served.http.get("/api/v1/logs", headers=eager) for _ in range(8)]
        assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) > 0
        assert served.http.get("/api/v1/logs", headers=other).status_code == 200
        assert served.http.get("/livez").status_code == 200


def test_a_cookie_alone_changes_nothing_over_the_api(own_broker: Broker, tmp_path: Path) -> None:
    topics.apply(own_broker.kafka)
    with serving(own_broker.kafka, tmp_path / "data") as served:
        entered = served.http.post("/login", data={"username": "admin", "password": served.password})
        cookie = {"Cookie": f"{COOKIE}={entered.cookies[COOKIE]}"}
        assert served.http.get("/api/v1/me", headers=cookie).status_code == 200
        body = {"scopes": ["logs:read"]}
        assert served.http.post("/api/v1/tokens", json=body, headers=cookie).status_code == 403
        forged = cookie | {CSRF_HEADER: "0" * 32}
        assert served.http.post("/api/v1/tokens", json=body, headers=forged).status_code == 403
        page = served.http.get("/topics", headers=cookie).text
        right = cookie | {CSRF_HEADER: page.partition('name="csrf" value="')[2].partition('"')[0]}
        assert served.http.post("/api/v1/tokens", json=body, headers=right).status_code == 201
