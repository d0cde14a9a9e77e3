"""Receivers and their test button, previews, sending again, and lineage both ways, over HTTP."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from schemas.base import encode
from schemas.notifications import Notification
from streams.record import Outgoing
from streams.settings import Alerting, Kafka, Smtp
from streams.sinks.index.port import Kind
from tests.delivery.samples import alert
from tests.gateway.serving import Served, eventually, serving
from tests.parts.process import free_port
from tests.parts.smtpd import Smtpd, smtpd


class Hooks(http.server.ThreadingHTTPServer):
    """Takes every POST; `/broken` is answered 500."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", free_port()), Handler)
        self.bodies: list[Any] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hooks

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(500 if self.path.startswith("/broken") else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def hooks() -> Iterator[Hooks]:
    server = Hooks()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def mails() -> Iterator[Smtpd]:
    with smtpd() as server:
        yield server


@pytest.fixture(scope="module")
def told(
    platform_kafka: Kafka, hooks: Hooks, mails: Smtpd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("told")
    config: Path = folder / "alertmanager.yml"
    url = f"http://127.0.0.1:{hooks.server_port}"
    config.write_text(
        f"""
route: {{receiver: ops}}
receivers:
  - name: ops
    email_configs: [{{to: "ops@example.org, gone@example.org"}}]
    webhook_configs: [{{url: "{url}/hook"}}, {{url: "{url}/broken?token=s3cret"}}]
  - name: nobody
"""
    )
    smtp = Smtp(url=f"smtp://127.0.0.1:{mails.port}?from=es@example.org")
    sections = {"alerting": Alerting(config=str(config)), "smtp": smtp}
    with serving(platform_kafka, folder, sections) as out:
        yield out


def test_receivers_are_shown_without_secrets(told: Served) -> None:
    page = told.get("/api/v1/receivers")
    targets = {each["name"]: each["targets"] for each in page["items"]}
    assert "s3cret" not in json.dumps(page)
    assert (len(targets["ops"]), targets["nobody"]) == (4, [])


def test_the_test_button_tells_of_each_target(told: Served, hooks: Hooks, mails: Smtpd) -> None:
    mails.replies["gone@example.org"] = "550 5.1.1 no such user"
    answer = told.http.post("/api/v1/receivers/ops/test", headers=told.admin)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert not answer.json()["ok"]
    assert sorted((each["channel"], each["result"], each["reason"]) for each in results) == [
        ("email", "failed", "smtp_550: 5.1.1 no such user"),
        ("email", "sent", ""),
        ("webhook", "retry", "http_500"),
        ("webhook", "sent", ""),
    ]
    assert mails.received[-1]["Subject"].startswith("[TEST] EventsphereTest")
    assert hooks.bodies[-1]["commonLabels"]["alertname"] == "EventsphereTest"
    assert "s3cret" not in answer.text


def test_who_may_press_it(told: Served) -> None:
    reader = told.token("notifications:read")
    tenant = told.token("notifications:write", tenant="shop")
    assert told.http.post("/api/v1/receivers/ops/test", headers=reader).status_code == 403
    assert told.http.post("/api/v1/receivers/ops/test", headers=tenant).status_code == 403
    assert told.http.post("/api/v1/receivers/ops/test").status_code == 401
    assert told.http.post("/api/v1/receivers/none/test", headers=told.admin).status_code == 404


def test_channels_have_a_schema(told: Served) -> None:
    found = {each["name"]: each for each in told.get("/api/v1/channels")}
    assert set(found) == {"slack", "dingtalk", "wecom", "feishu"}
    assert found["slack"]["schema"]["required"] == ["api_url"]
    assert found["dingtalk"]["schema"]["properties"]["secret"]["writeOnly"]


def test_a_template_is_previewed_in_its_bounds(told: Served) -> None:
    def shown(**body: Any) -> Any:
        answer = told.http.post("/api/v1/templates/preview", json=body, headers=told.admin)
        assert answer.status_code == 200, answer.text
        return answer.json()

    seen = shown(template="{{ title }}: {{ counts }}", language="zh")
    assert (seen["text"], seen["error"]) == ("EventsphereTest: 1 触发中", "")
    assert "alerts" in seen["fields"]
    assert "undefined" in shown(template="{{ nothing }}")["error"]
    assert "line 2" in shown(template="\n{% for %}")["error"]
    assert shown(template="{{ 'a' * 10000000 }}")["error"]
    answer = told.http.post("/api/v1/templates/preview", json={"template": "x", "language": "fr"}, headers=told.admin)
    assert answer.status_code == 422


@pytest.fixture(scope="module")
def known(told: Served) -> Notification:
    """A notification of tenant `shop` that is in the index."""
    raised = msgspec.structs.replace(alert("Late"), tenant="shop")
    made = Notification(
        id="a" * 32,
        tenant="shop",
        receiver="ops",
        group_key="{}:{}",
        group_labels={},
        flush=1,
        decision="send",  # type: ignore[arg-type]
        reason="first",
        status="firing",
        alerts=[raised],
        thread="a" * 32,
        decided_at_ms=raised.updated_at_ms,
    )
    index(told, made)
    return made


def index(told: Served, *made: Notification) -> None:
    told.send(*(Outgoing("notifications", encode(each), b"k") for each in made))
    told.index(Kind.NOTIFICATIONS, "notifications")


def test_a_notification_is_sent_again_under_a_new_id(told: Served, known: Notification) -> None:
    answer = told.http.post(f"/api/v1/notifications/{known.id}/resend", headers=told.admin)
    assert answer.status_code == 202, answer.text
    again = answer.json()["id"]
    (record,) = [each for each in told.records("notifications") if again.encode() in (each.value or b"")]
    sent = msgspec.json.decode(record.value or b"", type=Notification)
    assert (sent.resend_of, sent.reason, sent.thread, sent.alerts) == (known.id, "resend", known.id, known.alerts)
    assert record.key == b"shop/ops/{}:{}"
    told.index(Kind.NOTIFICATIONS, "notifications")
    found = eventually(
        lambda: resent if (resent := told.get(f"/api/v1/notifications/{known.id}/lineage"))["resent"] else None
    )
    assert found["resent"] == [again]


def test_sending_again_is_refused_to_others(told: Served, known: Notification) -> None:
    path = f"/api/v1/notifications/{known.id}/resend"
    assert told.http.post(path, headers=told.token("notifications:read")).status_code == 403
    assert told.http.post(path, headers=told.token("notifications:write", tenant="other")).status_code == 404
    silenced = msgspec.structs.replace(known, id="b" * 32, decision="silenced")
    index(told, silenced)
    assert told.http.post(f"/api/v1/notifications/{silenced.id}/resend", headers=told.admin).status_code == 409


def test_lineage_goes_back_to_records_and_forward_from_them(told: Served, known: Notification) -> None:
    back = told.get(f"/api/v1/notifications/{known.id}/lineage")
    assert [each["record"] for each in back["records"]] == ["logs/0/7"]
    forward = told.get("/api/v1/records/logs/0/7/effects")
    assert known.id in [each["id"] for each in forward["notifications"]]
    assert told.get("/api/v1/records/logs/0/8/effects")["notifications"] == []
    tenant = told.token("notifications:read", "alerts:read", tenant="other")
    hidden = told.http.get("/api/v1/records/logs/0/7/effects", headers=tenant)
    assert hidden.json()["notifications"] == []


def test_a_person_says_how_to_be_told(told: Served) -> None:
    path = "/api/v1/me/notifications"
    wanted = {
        "address": "ada@example.org",
        "language": "zh",
        "severity": "warning",
        "quiet": {"start": "22:00", "end": "07:00", "zone": "Asia/Shanghai", "weekdays": [0]},
        "digest_minutes": 30,
    }
    answer = told.http.put(path, json=wanted, headers=told.admin)
    assert answer.status_code == 200, answer.text
    eventually(lambda: told.http.get(path, headers=told.admin).status_code == 200)
    found = told.get(path)
    assert {name: found[name] for name in wanted} == wanted
    assert (found["through"], found["enabled"]) == ("critical", True)
    assert told.http.delete(path, headers=told.admin).status_code == 204
    eventually(lambda: told.http.get(path, headers=told.admin).status_code == 404)


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "nobody"},
        {"address": "a@b\r\nBcc: c@d"},
        {"address": "a@b", "quiet": {"start": "25:00", "end": "07:00"}},
        {"address": "a@b", "quiet": {"start": "22:00", "end": "07:00", "zone": "../etc/passwd"}},
        {"address": "a@b", "language": "fr"},
        {"address": "a@b", "severity": "awful"},
        {"address": "a@b", "colour": "red"},
    ],
)
def test_what_is_wrong_with_it_is_named(told: Served, wrong: dict[str, Any]) -> None:
    answer = told.http.put("/api/v1/me/notifications", json=wrong, headers=told.admin)
    assert answer.status_code == 422
    assert list(wrong)[-1] in answer.text


def test_a_machine_is_no_person(told: Served) -> None:
    token = told.token("alerts:read")
    assert told.http.get("/api/v1/me/notifications", headers=token).status_code == 403


@pytest.fixture(scope="module")
def reader(told: Served) -> Iterator[httpx.Client]:
    """Logged in to the console."""
    with httpx.Client(base_url=told.url, timeout=60, follow_redirects=True) as client:
        client.post("/login", data={"username": "admin", "password": told.password, "next": "/receivers"})
        yield client


def csrf(page: str) -> str:
    return page.partition('name="csrf" value="')[2].partition('"')[0]


def test_the_console_tests_a_receiver(reader: httpx.Client) -> None:
    page = reader.get("/receivers")
    assert page.status_code == 200
    assert "s3cret" not in page.text
    done = reader.post("/receivers/test", data={"csrf": csrf(page.text), "receiver": "ops"})
    assert "Test of ops" in done.text
    assert "ops@example.org" in done.text
    assert reader.post("/receivers/test", data={"csrf": "no", "receiver": "ops"}).status_code == 403


def test_the_console_takes_wishes(reader: httpx.Client) -> None:
    page = reader.get("/me/notifications")
    form = {"csrf": csrf(page.text), "address": "ada@example.org", "enabled": "1", "language": "zh", "severity": ""}
    wrong = reader.post("/me/notifications", data=form | {"start": "22:00", "end": "07:00", "zone": "Nowhere"})
    assert wrong.status_code == 422
    assert "quiet.zone" in wrong.text
    assert reader.post("/me/notifications", data=form | {"start": "22:00", "end": "07:00"}).status_code == 200
    eventually(lambda: 'value="22:00"' in reader.get("/me/notifications").text)
    reader.post("/me/notifications", data={"csrf": csrf(page.text), "remove": "1"})
    eventually(lambda: 'value="22:00"' not in reader.get("/me/notifications").text)


def test_the_console_sends_again(told: Served, reader: httpx.Client, known: Notification) -> None:
    page = reader.get(f"/notifications/{known.id}")
    assert "Send again" in page.text
    before = len(told.records("notifications"))
    assert reader.post(f"/notifications/{known.id}/resend", data={"csrf": csrf(page.text)}).status_code == 200
    assert len(told.records("notifications")) == before + 1
