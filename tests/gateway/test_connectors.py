"""`/api/v1/connectors` on a real Kafka Connect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.connectors import HIDDEN
from streams.connect_settings import ConnectCluster
from streams.settings import Kafka
from tests.gateway.serving import Served, eventually, serving
from tests.parts.connect import connect

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SOURCE = "org.apache.kafka.connect.file.FileStreamSourceConnector"


@pytest.fixture(scope="module")
def served(platform_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        worker = stack.enter_context(connect(platform_kafka))
        sections = {"connect": ConnectCluster(url=worker.url)}
        yield stack.enter_context(serving(platform_kafka, tmp_path_factory.mktemp("gateway"), sections))


def config(file: Path, **more: str) -> dict[str, str]:
    return {
        "connector.class": SOURCE,
        "tasks.max": "1",
        "topic": "logs",
        "file": str(file),
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "producer.override.sasl.jaas.config.unused.password": "hush",
    } | more


def put(served: Served, name: str, given: dict[str, str], who: dict[str, str] | None = None) -> Any:
    return served.http.put(f"/api/v1/connectors/{name}", json={"config": given}, headers=who or served.admin)


def test_a_connector_is_made_seen_changed_paused_and_gone(served: Served, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text('{"log": "one"}\n', "ascii")
    made = put(served, "my lines", config(lines))
    assert (made.status_code, made.json()["created"]) == (200, True), made.text
    assert "hush" not in made.text

    def one() -> dict[str, Any]:
        found: dict[str, Any] = served.get("/api/v1/connectors")["items"][0]
        return found

    def is_(state: str) -> bool:
        return bool(one()["state"] == state)

    eventually(lambda: one()["state"] == "RUNNING" and one()["tasks"])
    assert one()["name"] == "my lines"
    assert one()["type"] == "source"
    assert one()["config"]["producer.override.sasl.jaas.config.unused.password"] == HIDDEN
    eventually(lambda: served.get("/api/v1/connectors/my lines/offsets")["items"])
    again = put(served, "my lines", one()["config"] | {"topic": "cicd.events"})
    assert (again.status_code, again.json()["created"]) == (200, False), again.text
    assert served.get("/api/v1/connectors/my lines")["config"]["topic"] == "cicd.events"
    for action, state in (("pause", "PAUSED"), ("resume", "RUNNING"), ("restart", "RUNNING"), ("stop", "STOPPED")):
        asked = served.http.post(f"/api/v1/connectors/my lines/{action}", headers=served.admin)
        assert asked.status_code == 202, asked.text
        eventually(partial(is_, state))
    assert served.http.delete("/api/v1/connectors/my lines", headers=served.admin).status_code == 204
    eventually(lambda: served.get("/api/v1/connectors")["items"] == [])
    verbs = [r.value for r in served.records("platform.audit") if b"connector/my lines" in (r.value or b"")]
    assert len(verbs) == 7
    assert all(b"hush" not in (value or b"") for value in verbs)


def test_what_its_class_refuses_is_named_field_by_field(served: Served, tmp_path: Path) -> None:
    wrong = put(served, "wrong", config(tmp_path, **{"tasks.max": "none", "errors.tolerance": "some"}))
    assert wrong.status_code == 422
    assert {each["field"] for each in wrong.json()["errors"]} == {"tasks.max", "errors.tolerance"}
    unknown = put(served, "wrong", config(tmp_path) | {"connector.class": "no.such.Sink"})
    assert (unknown.status_code, unknown.json()["field"]) == (422, "config.connector.class")
    assert served.http.get("/api/v1/connectors/wrong", headers=served.admin).status_code == 404
    assert any(each["class"] == SOURCE for each in served.get("/api/v1/connector-plugins")["items"])


def test_who_may(served: Served, tmp_path: Path) -> None:
    reader = served.token("connectors:read")
    assert served.http.get("/api/v1/connectors", headers=reader).status_code == 200
    assert put(served, "x", config(tmp_path), reader).status_code == 403
    assert served.http.get("/api/v1/connectors").status_code == 401
    tenants = served.token("connectors:read", "connectors:write", tenant="shop")
    assert served.http.get("/api/v1/connectors", headers=tenants).status_code == 403
