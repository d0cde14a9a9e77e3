"""In Alertmanager's place: a real Prometheus posts to us, mail leaves by a real SMTP server, amtool lists and silences,
and a real Alertmanager is handed our alerts."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.parts.local import Local, local, until
from tests.parts.monitoring import alertmanager, amtool, prometheus
from tests.parts.postfix import Postfix, postfix
from tests.parts.process import Missing
from tests.parts.session import missing

RULES = """\
groups:
  - name: test
    interval: 1s
    rules:
      - alert: DiskFull
        expr: vector(1)
        labels: {severity: critical, namespace: shop}
        annotations: {summary: "the disk of shop is full"}
      - alert: Muted
        expr: vector(1)
        labels: {severity: warning, namespace: quiet}
"""
ROUTES = """\
route:
  receiver: people
  group_by: [alertname]
  group_wait: 1s
  group_interval: 2s
  repeat_interval: 1h
receivers:
  - name: people
    email_configs: [{{to: ops@example.org}}]
    alertmanager_configs: [{{url: "{alertmanager}"}}]
"""


class World(NamedTuple):
    platform: Local
    mail: Postfix
    alertmanager: str
    amtool: list[str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Prometheus -> Eventsphere -> Postfix and Alertmanager."""
    base = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        try:
            tool = amtool()
            mail = stack.enter_context(postfix(require_tls=False))
            other = stack.enter_context(alertmanager())
        except Missing as error:
            missing("monitoring", str(error))
        routes = base / "routes.yml"
        routes.write_text(ROUTES.format(alertmanager=other), "utf-8")
        smtp = f"smtp://127.0.0.1:{mail.port}?from=alerts@example.org"
        platform = stack.enter_context(local(ALERTING__CONFIG=str(routes), SMTP__URL=smtp))
        token = base / "token"
        token.write_text(platform.token("alerts:write", "alerts:read", "silences:write", "silences:read"), "ascii")
        http = base / "amtool-http.yml"
        http.write_text(yaml.safe_dump({"authorization": {"credentials_file": str(token)}}), "utf-8")
        target = {"static_configs": [{"targets": [f"127.0.0.1:{platform.base}"]}]}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [target | {"authorization": {"credentials_file": str(token)}}]},
        }
        stack.enter_context(prometheus(yaml.safe_dump(config), RULES))
        command = [tool, f"--alertmanager.url={platform.url}", f"--http.config.file={http}"]
        yield World(platform, mail, other, command)


def _run(world: World, *arguments: str) -> str:
    done = subprocess.run([*world.amtool, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_prometheus_alert_becomes_a_mail(world: World) -> None:
    mail = until(lambda: [m for m in world.mail.mails() if "DiskFull" in m["Subject"]])[0]
    assert mail["To"] == "ops@example.org"
    assert mail["Auto-Submitted"] == "auto-generated"
    body = mail.get_body(("plain",))
    assert body is not None
    assert "the disk of shop is full" in body.get_content()


def test_amtool_lists_it(world: World) -> None:
    assert until(lambda: "DiskFull" in _run(world, "alert", "query"))


def test_somebody_takes_it_on(world: World) -> None:
    def disk() -> dict[str, Any]:
        items = world.platform.get("/api/v1/alerts", q="DiskFull", state="firing")["items"]
        return dict(items[0]) if items else {}

    found = until(disk)
    path = f"/api/v1/alerts/{found['fingerprint']}/acknowledge"
    taken = world.platform.call("POST", path, {"comment": "on it"})
    assert (taken["acknowledged"]["by"], taken["acknowledged"]["comment"]) == ("token/test", "on it")
    assert until(disk, lambda alert: bool(alert["acknowledged"]))["state"] == "firing"
    assert "DiskFull" in _run(world, "alert", "query"), "it stays active"
    explained = world.platform.get(f"/api/v1/alerts/{found['fingerprint']}/explain")
    assert [where["told"] for where in explained["destinations"]] == [False] * len(explained["destinations"])
    assert explained["destinations"][0]["why"] == "acknowledged by token/test: not repeated"
    world.platform.call("DELETE", path)
    assert until(disk, lambda alert: alert["acknowledged"] is None)
    explained = world.platform.get(f"/api/v1/alerts/{found['fingerprint']}/explain")
    assert all(where["told"] for where in explained["destinations"])
    assert any(decision["record"]["decision"] == "send" for decision in explained["decisions"])


def test_a_silence_by_amtool_mutes_it(world: World) -> None:
    until(lambda: "Muted" in _run(world, "alert", "query"))
    identity = _run(world, "silence", "add", "alertname=Muted", "--comment=test", "--author=ada").strip()
    until(lambda: "Muted" not in _run(world, "alert", "query"))
    assert "Muted" in _run(world, "alert", "query", "--silenced")
    assert identity in _run(world, "silence", "query")
    items = until(lambda: [n for n in world.platform.get("/api/v1/notifications", limit=500)["items"] if _muted(n)])
    assert items
    _run(world, "silence", "expire", identity)
    until(lambda: "Muted" in _run(world, "alert", "query"))


def _muted(item: dict[str, object]) -> bool:
    return '"silenced"' in json.dumps(item)


def test_a_real_alertmanager_is_handed_the_alert(world: World) -> None:
    def names() -> set[str]:
        with urllib.request.urlopen(f"{world.alertmanager}/api/v2/alerts", timeout=10) as reply:
            return {alert["labels"]["alertname"] for alert in json.load(reply)}

    assert until(names, lambda found: "DiskFull" in found)


def test_a_prometheus_without_a_right_is_refused(world: World, tmp_path: Path) -> None:
    reader = world.platform.token("alerts:read")
    request = urllib.request.Request(
        f"{world.platform.url}/api/v2/alerts",
        b"[]",
        {"Authorization": f"Bearer {reader}", "Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10)
