"""Alertmanager's API in its place, with the real amtool, over a real broker.

There is no worker here: states are written as keep-alert-state would, by its own core, from what was posted.
"""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml
from confluent_kafka import Producer

from agents.keep_alert_state import KeepAlertState
from gateway import acknowledging
from gateway.am_diff import differences
from gateway.cli.alerts import of_topics, of_url
from schemas.alerts import Alert
from schemas.base import rfc3339
from streams.episodes import Entry
from streams.kafka import client
from streams.settings import Hook, Kafka
from streams.state import State
from tests.gateway.serving import Served, eventually, serving
from tests.parts.monitoring import alertmanager, amtool
from tests.parts.process import Missing
from tests.parts.session import missing

CONFIG = """\
route:
  receiver: team
  group_by: [alertname]
  routes:
    - matchers: [severity="page"]
      receiver: pager
      group_by: ['...']
receivers:
  - name: team
    email_configs: [{to: ops@example.test}]
  - name: pager
    webhook_configs: [{url: "http://user:hunter2@pager.test/s3cret"}]
    apprise_configs: [{url: "slack://s3cret/token"}]
inhibit_rules:
  - source_matchers: [severity="page"]
    target_matchers: [severity="warning"]
    equal: [cluster]
"""
SECRET = "hook secret of the other Alertmanager"


class World:
    """A gateway, and what a worker's keep-alert-state would have done by now."""

    def __init__(self, served: Served, config: Path) -> None:
        self.served = served
        self.config = config
        self.core = KeepAlertState()
        self.state: State[Entry] = State()
        self.done: set[tuple[int, int]] = set()

    def settle(self) -> None:
        """Bring `alerts.state` up to date with `alerts`."""
        producer = Producer(client(self.served.kafka))
        for record in self.served.records("alerts"):
            if (record.partition, record.offset) not in self.done:
                self.done.add((record.partition, record.offset))
                for out in self.core.decide(self.state, record):
                    producer.produce(out.topic, out.value, key=out.key)
        assert producer.flush(60) == 0

    def posted(self) -> list[Alert]:
        decode = msgspec.json.Decoder(Alert).decode
        return [decode(record.value or b"") for record in self.served.records("alerts")]

    def names(self, **params: Any) -> list[str]:
        return [each["labels"]["alertname"] for each in self.served.get("/api/v2/alerts", **params)]


@pytest.fixture(scope="module")
def world(platform_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("alertmanager")
    config = folder / "alertmanager.yml"
    config.write_text(CONFIG, "utf-8")
    more = {"alerting": {"config": str(config)}, "hooks": [Hook(kind="alertmanager", id="am", secret=SECRET)]}
    with serving(platform_kafka, folder / "data", sections=more) as served:
        yield World(served, config)


@pytest.fixture(scope="module")
def tool(world: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    try:
        program = amtool()
    except Missing as error:
        missing("alertmanager", str(error))
    token = world.served.token("alerts:read", "alerts:write", "silences:read", "silences:write")
    file = tmp_path_factory.mktemp("amtool") / "http.yml"
    credentials = token["Authorization"].removeprefix("Bearer ")
    file.write_text(yaml.safe_dump({"authorization": {"credentials": credentials}}), "utf-8")
    command = [program, f"--alertmanager.url={world.served.url}", f"--http.config.file={file}"]

    def run(*arguments: str, fails: bool = False) -> str:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)
        assert (done.returncode != 0) is fails, done.stderr
        return done.stderr if fails else done.stdout

    return run


def _post(world: World, alerts: Any, **headers: str) -> httpx.Response:
    return world.served.http.post("/api/v2/alerts", json=alerts, headers=world.served.admin | headers)


def test_an_alert_by_amtool_is_listed_by_it(world: World, tool: Callable[..., str]) -> None:
    tool("alert", "add", "alertname=ByTool", "severity=page", "--annotation=summary=it is broken")
    world.settle()
    eventually(lambda: "ByTool" in tool("alert", "query"))
    assert "it is broken" in tool("alert", "query", "severity=page")
    assert "ByTool" not in tool("alert", "query", "severity=~warn.*")
    assert "ByTool" in tool("alert", "query", "--receiver=pager")
    assert "ByTool" not in tool("alert", "query", "--receiver=team")
    assert "ByTool" in tool("-o", "json", "alert", "query")


def test_a_silence_by_amtool_suppresses(world: World, tool: Callable[..., str]) -> None:
    tool("alert", "add", "alertname=Noisy", "severity=page")
    world.settle()
    eventually(lambda: "Noisy" in tool("alert", "query"))
    identity = tool("silence", "add", "alertname=Noisy", "--comment=known", "--author=ada", "--duration=1h").strip()
    assert "Noisy" not in tool("alert", "query")
    assert "Noisy" in tool("alert", "query", "--silenced")
    status = next(a["status"] for a in world.served.get("/api/v2/alerts") if a["labels"]["alertname"] == "Noisy")
    assert status == {"state": "suppressed", "silencedBy": [identity], "inhibitedBy": [], "mutedBy": []}
    assert identity in tool("silence", "query", "alertname=Noisy")
    assert identity not in tool("silence", "query", "alertname=Other")
    longer = tool("silence", "update", "--duration=2h", identity)
    assert identity in longer
    tool("silence", "expire", identity)
    assert "Noisy" in tool("alert", "query")
    assert identity not in tool("silence", "query")
    assert identity in tool("silence", "query", "--expired")
    assert world.served.get(f"/api/v2/silence/{identity}")["status"] == {"state": "expired"}


def test_amtool_imports_silences(world: World, tool: Callable[..., str], tmp_path: Path) -> None:
    tool("silence", "add", "alertname=Exported", "--comment=c", "--author=ada")
    exported = tmp_path / "silences.json"
    exported.write_text(tool("-o", "json", "silence", "query", "alertname=Exported"), "utf-8")
    tool("silence", "import", str(exported))
    silences = world.served.get("/api/v2/silences", filter="alertname=Exported")
    assert [each["comment"] for each in silences] == ["c"] * len(silences)
    assert silences


def test_a_bad_silence_is_refused_with_the_reason(world: World, tool: Callable[..., str]) -> None:
    assert "must not match the empty string" in tool("silence", "add", "alertname=~.*", "-c=c", fails=True)
    silence = {"matchers": [], "startsAt": "2030-01-01T00:00:00Z", "endsAt": "2031-01-01T00:00:00Z", "createdBy": "a"}
    for change, why in (
        ({}, "at least one matcher"),
        ({"matchers": [{"name": "a", "value": "(", "isRegex": True}]}, "regular expression"),
        ({"matchers": [{"name": "a-b", "value": "c", "isRegex": False}]}, "label name"),
        ({"matchers": [{"name": "a", "value": "c", "isRegex": False}], "endsAt": "2029-01-01T00:00:00Z"}, "before end"),
        ({"matchers": [{"name": "a", "value": "c", "isRegex": False}], "endsAt": "soon"}, "RFC 3339"),
        ({"matchers": [{"value": "c", "isRegex": False}]}, "name"),
        (
            {"id": "11111111-1111-1111-1111-111111111111", "matchers": [{"name": "a", "value": "c", "isRegex": False}]},
            "not found",
        ),
    ):
        answer = world.served.http.post("/api/v2/silences", json=silence | change, headers=world.served.admin)
        assert answer.status_code in (400, 404)
        assert why in answer.json()


def test_amtool_reads_configuration_routes_and_cluster(tool: Callable[..., str]) -> None:
    shown = tool("config", "show")
    assert "s3cret" not in shown
    assert "hunter2" not in shown
    assert "pager" in shown
    assert tool("config", "routes", "test", "severity=page").strip() == "pager"
    assert tool("config", "routes", "test", "severity=info").strip() == "team"
    assert "disabled" in tool("cluster", "show")


def test_one_alert_inhibits_another(world: World) -> None:
    _post(world, [{"labels": {"alertname": "Cause", "severity": "page", "cluster": "c1"}}])
    _post(world, [{"labels": {"alertname": "Effect", "severity": "warning", "cluster": "c1"}}])
    world.settle()
    eventually(lambda: {"Cause", "Effect"} <= set(world.names()))
    effect = next(a for a in world.served.get("/api/v2/alerts") if a["labels"]["alertname"] == "Effect")
    assert effect["status"]["state"] == "suppressed"
    assert effect["status"]["inhibitedBy"]
    (listed,) = world.served.get("/api/v1/alerts", q="Effect")["items"]
    assert listed["suppressed"]["inhibited_by"] == effect["status"]["inhibitedBy"]
    one = world.served.get(f"/api/v1/alerts/{effect['fingerprint']}")
    assert one["suppressed"] == listed["suppressed"]
    assert "Effect" not in world.names(inhibited=False)
    assert "Effect" not in world.names(silenced=False, inhibited=False, unprocessed=False)
    assert "Cause" not in world.names(active=False)


def test_groups_are_those_of_the_route_tree(world: World) -> None:
    _post(world, [{"labels": {"alertname": "Grouped", "pod": pod}} for pod in ("a", "b")])
    world.settle()
    eventually(lambda: world.names().count("Grouped") == 2)
    groups = world.served.get("/api/v2/alerts/groups", receiver="team")
    mine = [group for group in groups if group["labels"] == {"alertname": "Grouped"}]
    assert [len(group["alerts"]) for group in mine] == [2]
    assert {group["receiver"]["name"] for group in groups} == {"team"}


def test_what_is_wrong_is_named_and_the_rest_is_taken(world: World) -> None:
    hour = 3_600_000
    now = time.time_ns() // 1_000_000
    answer = _post(
        world,
        [
            {"labels": {}},
            {"labels": {"a-b": "x"}},
            {"labels": {"alertname": "Backwards"}, "startsAt": rfc3339(now), "endsAt": rfc3339(now - hour)},
            {"labels": {"alertname": "Future"}, "startsAt": rfc3339(now + 2 * hour)},
            {"labels": {f"l{i}": "x" for i in range(10_000)}},
            {"labels": {"alertname": "Long"}, "annotations": {"a": "x" * 100_000}},
            {"labels": {"alertname": "Good", "gone": ""}},
        ],
    )
    assert answer.status_code == 400
    for text in ("[0].labels", "[1].labels", "[2].endsAt", "[3].startsAt", "[4].labels", "[5].annotations.a"):
        assert text in answer.json()
    assert {"alertname": "Good"} in [alert.labels for alert in world.posted()]


@pytest.mark.parametrize("body", [b"{", b"{}", b'[{"annotations": {}}]', b'[{"labels": {"a": 1}}]', b"[1]"])
def test_what_is_no_list_of_alerts_is_refused(world: World, body: bytes) -> None:
    answer = world.served.http.post("/api/v2/alerts", content=body, headers=world.served.admin)
    assert answer.status_code == 400
    assert isinstance(answer.json(), str)


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-12:00"])
def test_an_alert_may_fire_until_the_end_of_time(world: World, end: str) -> None:
    name = "Forever" + str(len(end))
    assert _post(world, [{"labels": {"alertname": name}, "endsAt": end}]).status_code == 200
    world.settle()
    (shown,) = eventually(lambda: [a for a in world.served.get("/api/v2/alerts") if a["labels"]["alertname"] == name])
    assert shown["status"]["state"] == "active"


def test_more_alerts_than_are_taken_are_refused_whole(world: World) -> None:
    def refused() -> float:
        text = world.served.http.get("/metrics").text
        lines = [line for line in text.splitlines() if 'refused_total{reason="malformed",source="hook-alert' in line]
        return sum(float(line.split()[-1]) for line in lines)

    before = refused()
    one = {"status": "firing", "labels": {"alertname": "Flood"}, "startsAt": "2026-01-01T00:00:00Z"}
    answer = _hook(world, {"version": "4", "alerts": [one] * 10_001}, f"Bearer {SECRET}")
    assert answer.status_code == 400
    assert "at most 10000" in answer.json()["detail"]
    assert refused() == before + 1
    assert _post(world, [{"labels": {"alertname": "Flood"}}] * 10_001).status_code == 400
    assert all(alert.labels["alertname"] != "Flood" for alert in world.posted())


def test_what_others_wrote_to_the_topics_breaks_no_list(world: World) -> None:
    """Any Kafka producer may write: a silence that cannot hold is left out, a time that is none is clamped."""
    _post(world, [{"labels": {"alertname": "Standing"}}])
    world.settle()
    silence = {"starts_at_ms": 0, "ends_at_ms": 9 * 10**17, "created_by": "x", "updated_at_ms": -(9 * 10**17)}
    for id_, matchers in (
        ("paren", [{"name": "alertname", "value": "(", "is_regex": True}]),
        ("none", []),
        ("everything", [{"name": "alertname", "value": ".*", "is_regex": True}]),
        ("good", [{"name": "alertname", "value": "Nothing"}]),
    ):
        world.served.produce("silences", silence | {"id": id_, "matchers": matchers}, key=id_.encode())
    state = next(r for r in world.served.records("alerts.state") if b'"Standing"' in (r.value or b""))
    strange = msgspec.json.decode(state.value or b"") | {"starts_at_ms": 9 * 10**17, "ends_at_ms": -(9 * 10**17)}
    strange |= {"labels": {"alertname": "Strange"}, "fingerprint": "5" * 16, "updated_at_ms": 9 * 10**17}
    world.served.produce("alerts.state", strange, key=b"platform/" + b"5" * 16)
    eventually(lambda: "Strange" in world.names())
    eventually(lambda: "good" in [each["id"] for each in world.served.get("/api/v2/silences")])
    ids = {each["id"] for each in world.served.get("/api/v2/silences")}
    assert not ids & {"paren", "none", "everything"}
    (standing,) = [a for a in world.served.get("/api/v2/alerts") if a["labels"]["alertname"] == "Standing"]
    assert standing["status"]["state"] == "active"
    (listed,) = world.served.get("/api/v1/alerts", q="Strange")["items"]
    assert (listed["starts_at"], listed["ends_at"]) == ("9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z")
    assert world.served.get("/api/v2/alerts/groups")
    for id_ in ("paren", "none", "everything"):
        assert world.served.http.delete(f"/api/v2/silence/{id_}", headers=world.served.admin).status_code == 200


def test_times_default_as_alertmanagers_do(world: World) -> None:
    before = time.time_ns() // 1_000_000
    _post(world, [{"labels": {"alertname": "Defaults"}, "endsAt": "0001-01-01T00:00:00Z"}])
    alert = next(each for each in world.posted() if each.labels == {"alertname": "Defaults"})
    assert before <= alert.starts_at_ms == alert.observed_at_ms
    assert alert.ends_at_ms == alert.observed_at_ms + 300_000
    assert alert.cluster == "test"
    record = next(r for r in world.served.records("alerts") if (r.value or b"").find(b"Defaults") > 0)
    assert record.key == f"platform/{alert.fingerprint}".encode()
    assert dict(record.headers or [])["ce_type"] == b"alert.observed"


def test_a_tenant_sees_its_own(world: World) -> None:
    theirs = world.served.token("alerts:read", "alerts:write", "silences:read", "silences:write", tenant="shop")
    world.served.http.post("/api/v2/alerts", json=[{"labels": {"alertname": "OfShop"}}], headers=theirs)
    _post(world, [{"labels": {"alertname": "OfPlatform"}}])
    world.settle()
    eventually(lambda: {"OfShop", "OfPlatform"} <= set(world.names()))
    seen = world.served.http.get("/api/v2/alerts", headers=theirs).json()
    assert [each["labels"]["alertname"] for each in seen] == ["OfShop"]
    silence = {
        "matchers": [{"name": "alertname", "value": "Of.*", "isRegex": True}],
        "startsAt": "2020-01-01T00:00:00Z",
        "endsAt": "2100-01-01T00:00:00Z",
        "createdBy": "shop",
        "comment": "",
    }
    identity = world.served.http.post("/api/v2/silences", json=silence, headers=theirs).json()["silenceID"]
    states = {a["labels"]["alertname"]: a["status"]["state"] for a in world.served.get("/api/v2/alerts")}
    assert (states["OfShop"], states["OfPlatform"]) == ("suppressed", "active")
    ours = world.served.http.post("/api/v2/silences", json=silence, headers=world.served.admin).json()["silenceID"]
    assert world.served.http.delete(f"/api/v2/silence/{ours}", headers=theirs).status_code == 404
    for each in (identity, ours):
        assert world.served.http.delete(f"/api/v2/silence/{each}", headers=world.served.admin).status_code == 200


def test_rights_are_asked_for(world: World) -> None:
    reader = world.served.token("alerts:read")
    assert world.served.http.post("/api/v2/alerts", json=[], headers=reader).status_code == 403
    refused = world.served.http.get("/api/v2/silences", headers=reader)
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/json"), "amtool reads no other"
    assert "silences:read" in refused.json()["detail"]
    assert world.served.http.get("/api/v2/alerts").status_code == 401
    for path in ("/-/healthy", "/-/ready"):
        assert world.served.http.get(path, headers=reader).text == "OK"
    assert world.served.http.get("/api/v2/alerts", params={"filter": "a===b"}, headers=reader).status_code == 200
    assert world.served.http.get("/api/v2/alerts", params={"filter": "nonsense"}, headers=reader).status_code == 400
    assert world.served.http.get("/api/v2/alerts", params={"receiver": "("}, headers=reader).status_code == 400


def _hook(world: World, body: Any, authorization: str) -> httpx.Response:
    return world.served.http.post("/hooks/alertmanager/am", json=body, headers={"Authorization": authorization})


def test_another_alertmanagers_webhook_is_taken(world: World) -> None:
    alert = {
        "status": "firing",
        "labels": {"alertname": "Handed"},
        "annotations": {"summary": "x"},
        "startsAt": "2026-01-01T00:00:00.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "ffff",
    }
    body = {"version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "es", "alerts": [alert]}
    basic = base64.b64encode(f"any:{SECRET}".encode()).decode()
    for header in (f"Bearer {SECRET}", f"Basic {basic}"):
        assert _hook(world, body, header).status_code == 200
    resolved = body | {"alerts": [alert | {"status": "resolved", "endsAt": "2026-01-01T01:00:00Z"}]}
    assert _hook(world, resolved, f"Bearer {SECRET}").status_code == 200
    assert _hook(world, body, f"Bearer {SECRET}").status_code == 200  # the pair's other half, late
    seen = [each for each in world.posted() if each.labels == {"alertname": "Handed"}]
    assert {each.source for each in seen} == {"alertmanager/am"}
    assert [each.ends_at_ms for each in seen] == [0, 0, seen[2].ends_at_ms, 0]
    world.settle()
    states = [r for r in world.served.records("alerts.state") if b'"Handed"' in (r.value or b"")]
    assert [msgspec.json.decode(r.value or b"")["state"] for r in states] == ["firing", "resolved"]


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic !", "Basic d3Jvbmc6d3Jvbmc=", "Digest x"])
def test_a_webhook_without_the_secret_is_refused(world: World, header: str) -> None:
    answer = _hook(world, {"alerts": []}, header)
    assert answer.status_code == 401
    assert SECRET not in answer.text
    assert world.served.http.post("/hooks/alertmanager/other", json={}).status_code == 404


@pytest.mark.parametrize(("body", "why"), [({}, "alerts"), ({"alerts": [{"labels": {"a": "b"}}]}, "alerts[0].status")])
def test_a_bad_webhook_is_refused(world: World, body: Any, why: str) -> None:
    answer = _hook(world, body, f"Bearer {SECRET}")
    assert answer.status_code == 400
    assert why in answer.text


def test_reload_takes_a_good_configuration_and_refuses_a_bad_one(world: World) -> None:
    def receivers() -> list[str]:
        return [each["name"] for each in world.served.get("/api/v2/receivers")]

    world.config.write_text(CONFIG + "  - nonsense: 1\n", "utf-8")
    answer = world.served.http.post("/-/reload", headers=world.served.admin)
    assert answer.status_code == 500
    assert "alertmanager.yml:18: inhibit_rules[1].nonsense" in answer.text
    assert receivers() == ["team", "pager"]
    assert not world.served.records("platform.control")
    world.config.write_text(CONFIG + "receivers: [{name: twice}]\n", "utf-8")
    assert world.served.http.post("/-/reload", headers=world.served.admin).status_code == 500
    world.config.write_text(CONFIG.replace("  - name: pager", "  - name: other\n  - name: pager"), "utf-8")
    assert world.served.http.post("/-/reload", headers=world.served.admin).status_code == 200
    assert receivers() == ["team", "other", "pager"]
    assert [record.key for record in world.served.records("platform.control")] == [b"alerting.changed"]


def test_differences_to_a_real_alertmanager_are_found(world: World) -> None:
    both = {"alertname": "Both", "cluster": "d"}
    _post(world, [{"labels": both | {"severity": severity}} for severity in ("page", "warning")])
    silence = {
        "matchers": [
            {"name": "alertname", "value": "Bo.*", "isRegex": True},
            {"name": "cluster", "value": "x", "isRegex": False},
        ],
        "startsAt": rfc3339(time.time_ns() // 1_000_000),
        "endsAt": "2099-01-01T00:00:00.000Z",
        "createdBy": "differs",
        "comment": "c",
    }
    assert world.served.http.post("/api/v2/silences", json=silence, headers=world.served.admin).status_code == 200
    world.settle()
    eventually(lambda: world.names().count("Both") == 2)
    world.config.write_text(CONFIG, "utf-8")
    found = of_topics(world.served.settings, "")
    ours = found._replace(
        alerts=[each for each in found.alerts if each["labels"].get("cluster") == "d"],
        groups=[each for each in found.groups if each["alerts"][0]["labels"].get("cluster") == "d"],
        silences=[each for each in found.silences if each["createdBy"] == "differs"],
    )
    text = "global: {smtp_smarthost: 'localhost:25', smtp_from: a@b.c}\n"
    text += CONFIG.replace('    apprise_configs: [{url: "slack://s3cret/token"}]\n', "")
    try:
        with alertmanager(text, alone=True) as url, httpx.Client(base_url=url, timeout=30) as other:
            copied = [{name: each[name] for name in ("labels", "annotations", "startsAt")} for each in ours.alerts]
            assert other.post("/api/v2/alerts", json=copied).status_code == 200
            for each in ours.silences:
                made = {name: each[name] for name in silence}
                assert other.post("/api/v2/silences", json=made).status_code == 200
            with suppress(AssertionError):
                eventually(lambda: differences(ours, of_url(url, {})) == [])
            assert differences(ours, of_url(url, {})) == []
            other.post("/api/v2/alerts", json=[{"labels": {"alertname": "Theirs", "severity": "page"}}])
            alert, group = differences(ours, of_url(url, {}))
    except Missing as error:
        missing("alertmanager", str(error))
    assert alert == ("alert", "{alertname=Theirs, severity=page}", "", "active -> pager")
    assert group[:3] == ("group", "pager {alertname=Theirs, severity=page}", "")


def test_people_say_whose_it_is_and_what_they_think(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledging, "SEEN_S", 0.05)  # there is no worker: what is written shows after `settle`
    _post(world, [{"labels": {"alertname": "Talked", "severity": "page"}}])
    world.settle()
    eventually(lambda: "Talked" in world.names())
    (alert,) = world.served.get("/api/v1/alerts", q="Talked")["items"]
    path = f"/api/v1/alerts/{alert['fingerprint']}"
    http, admin = world.served.http, world.served.admin
    assert http.post(f"{path}/comments", json={"text": "the disk is full"}, headers=admin).status_code == 200
    assert http.put(f"{path}/assignee", json={"assignee": "grace"}, headers=admin).status_code == 200
    body = {"snooze": True, "comment": "tomorrow"}
    assert http.post(f"{path}/acknowledge", json=body, headers=admin).status_code == 200
    world.settle()
    eventually(lambda: world.served.get(path)["assignee"] == "grace" and world.served.get(path)["acknowledged"])
    shown = world.served.get(path)
    assert [(each["by"], each["text"]) for each in shown["comments"]] == [("admin", "the disk is full")]
    assert shown["acknowledged"]["snoozed"]
    kinds = [(each["kind"], each["what"].split(" (")[0]) for each in world.served.get(f"{path}/history")["items"]]
    assert kinds == [("acknowledged", "snoozed: tomorrow"), ("comment", "the disk is full"), ("state", "firing")]
    assert "snoozed by admin" in world.served.get(f"{path}/explain")["destinations"][0]["why"]
    assert http.delete(f"{path}/assignee", headers=admin).status_code == 200
    world.settle()
    eventually(lambda: world.served.get(path)["assignee"] == "")
    for wrong in ({}, {"text": ""}, {"text": "x" * 1001}, {"text": "x", "more": 1}):
        assert http.post(f"{path}/comments", json=wrong, headers=admin).status_code == 422
    assert http.post("/api/v1/alerts/0000/comments", json={"text": "x"}, headers=admin).status_code == 404
    reader = world.served.token("alerts:read")
    assert http.post(f"{path}/comments", json={"text": "x"}, headers=reader).status_code == 403


SILENCE = {
    "matchers": [{"name": "a", "value": "b", "isRegex": False}],
    "startsAt": "2099-01-01T00:00:00Z",
    "endsAt": "2099-01-02T00:00:00Z",
    "createdBy": "me",
    "comment": "c",
}
BACKWARDS = {"labels": {"a": "b"}, "startsAt": "2030-01-01T00:00:00Z", "endsAt": "2029-01-01T00:00:00Z"}
DEEP = b'[{"labels": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}]"
CHANGES: list[dict[str, Any]] = [
    {"matchers": []},
    {"matchers": None},
    {"matchers": [{"name": "", "value": "b", "isRegex": False}]},
    {"matchers": [{"name": "a", "value": "(", "isRegex": True}]},
    {"matchers": [{"name": "a", "value": "(?=x)", "isRegex": True}]},
    {"matchers": [{"name": "a", "value": "", "isRegex": False}]},
    {"matchers": [{"name": "a", "value": ".*", "isRegex": True}]},
    {"matchers": [{"name": "a", "value": 7, "isRegex": False}]},
    {"matchers": [{"name": "a", "value": "b"}]},
    {"startsAt": "2099-01-02T00:00:00Z"},
    {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2020-01-02T00:00:00Z"},
    {"startsAt": ""},
    {"endsAt": "never"},
    {"createdBy": None},
    {"id": "not-an-id"},
    {"id": "00000000-0000-0000-0000-000000000000"},
]
BAD: list[tuple[str, str, Any]] = [
    *(("POST", "/api/v2/alerts", body) for body in (b"", b"null", b"{", b'"x"', b"[null]", b"[[]]", b"\xff\xfe", DEEP)),
    ("POST", "/api/v2/alerts", b'[{"labels": {"a": "\xff\xfe"}}]'),
    ("POST", "/api/v2/alerts", [{"labels": None}]),
    ("POST", "/api/v2/alerts", [{"labels": {"": "x"}}]),
    ("POST", "/api/v2/alerts", [{"labels": {"ä": "x"}}]),
    ("POST", "/api/v2/alerts", [{"labels": {"a": None}}]),
    ("POST", "/api/v2/alerts", [{"labels": {"a": "b"}, "annotations": {"x y": "z"}}]),
    ("POST", "/api/v2/alerts", [{"labels": {"a": "b"}, "startsAt": "yesterday"}]),
    ("POST", "/api/v2/alerts", [{"labels": {"a": "b"}, "startsAt": 17}]),
    ("POST", "/api/v2/alerts", [BACKWARDS]),
    ("POST", "/api/v2/alerts", [{"labels": {f"l{i}": "x" for i in range(10_000)}}]),
    ("POST", "/api/v2/alerts", [{"labels": {"a": "x\x00\u2028"}}]),
    *(("POST", "/api/v2/silences", SILENCE | change) for change in CHANGES),
    ("POST", "/api/v2/silences", b'{"comment": "\xff"'),
    ("GET", "/api/v2/alerts?filter=%28", None),
    ("GET", "/api/v2/alerts?filter=a%3D~%22%28%22", None),
    ("GET", "/api/v2/alerts?receiver=%28", None),
    ("GET", "/api/v2/alerts?active=perhaps", None),
    ("GET", "/api/v2/silences?filter=x", None),
    ("GET", "/api/v2/silence/11111111-1111-1111-1111-111111111111", None),
    ("GET", "/api/v2/silence/x", None),
    ("DELETE", "/api/v2/silence/x", None),
    ("PUT", "/api/v2/alerts", [{"labels": {"a": "b"}}]),
]  # fmt: skip


def test_bad_input_is_refused_wherever_a_real_alertmanager_refuses_it(world: World) -> None:
    try:
        with alertmanager(alone=True) as url, httpx.Client(base_url=url, timeout=60) as other:
            for method, path, body in BAD:
                given: dict[str, Any] = {"content": body} if isinstance(body, bytes | None) else {"json": body}
                kind = {"Content-Type": "application/json"} if body is not None else {}
                try:
                    theirs = other.request(method, path, headers=kind, **given).status_code
                except httpx.RemoteProtocolError:
                    theirs = 500  # it hangs up on some of these
                ours = world.served.http.request(method, path, headers=kind | world.served.admin, **given)
                told = f"{method} {path} {str(body)[:200]}: {theirs}, {ours.status_code} {ours.text[:200]}"
                assert ours.status_code < 500, told
                assert theirs < 300 or ours.status_code >= 400, told
    except Missing as error:
        missing("alertmanager", str(error))
    assert world.served.http.get("/-/ready", headers=world.served.admin).status_code == 200
