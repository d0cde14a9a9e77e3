"""Trust before enabling, and trust in the pager: rules by API on a fresh instance, over kills, and the heartbeat.

Long: it starts an instance. Its pieces have shorter tests (tests/gateway/test_rules*.py, test_canary.py,
test_break_glass.py, tests/rules/test_stored.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.parts.local import Local, local, until
from tests.parts.process import free_port

pytestmark = pytest.mark.long

RULE = """\
alert: Refused
input: logs
where: log.contains("payment refused")
level: namespace
count: 3
within: 5m
severity: critical
"""


@pytest.fixture(scope="module")
def beats() -> Iterator[tuple[str, list[str]]]:
    """A dead man's switch: its URL, and what it heard."""
    heard: list[str] = []

    class Switch(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Switch)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/beat", heard
    server.shutdown()


@pytest.fixture(scope="module")
def instance(beats: tuple[str, list[str]]) -> Iterator[Local]:
    with local(CANARY__EVERY_S="5", CANARY__LATE_S="20", CANARY__HEARTBEAT_URL=beats[0]) as part:
        yield part


def refuse(instance: Local, namespace: str, times: int) -> None:
    for number in range(times):
        record = {"log": f"payment refused {number}", "kubernetes": {"namespace_name": namespace}}
        instance.call("POST", "/ingest/logs", record)


def firing(instance: Local) -> set[str]:
    items = instance.get("/api/v1/alerts", limit=100)["items"]
    return {each["labels"]["namespace"] for each in items if each["source"] == "rule/Refused"}


def test_a_rule_by_api_fires_over_kills_and_a_draft_tells_nobody(instance: Local, tmp_path: Path) -> None:
    before = instance.call("POST", "/api/v1/rules/preview", {"text": RULE})
    assert before["total"] == 0
    assert instance.call("POST", "/api/v1/rules", {"text": RULE})["published"] is True
    refuse(instance, "shop", 2)
    for name in ("worker", "gateway"):
        pid = instance.now.children[name]
        instance.kill(name)
        until(lambda name=name, pid=pid: instance.now.children[name] not in (0, pid), within_s=60)  # type: ignore[misc]
    until(lambda: instance.get("/readyz"), within_s=90)
    refuse(instance, "shop", 1)
    until(lambda: firing(instance), lambda found: found == {"shop"}, within_s=90)

    draft = {"text": RULE.replace("count: 3", "count: 2")}
    instance.call("PUT", "/api/v1/rules/Refused?draft=true", draft)

    def compared() -> Any:
        refuse(instance, "data", 1)
        return instance.get("/api/v1/rules/Refused/shadow")

    # The draft is there within a moment; from then on two are enough for it, and never too few for the live version.
    found = until(compared, lambda found: bool(found["only_shadow"] or found["changed"]), within_s=60, every_s=2)
    told = [*found["only_shadow"], *(each["shadow"] for each in found["changed"])]
    assert {each["labels"]["namespace"] for each in told} == {"data"}

    fingerprint = instance.get("/api/v1/alerts")["items"][0]["fingerprint"]
    assert instance.get(f"/api/v1/alerts/{fingerprint}/explain")["alert"]["fingerprint"] == fingerprint
    (tmp_path / "rule.yaml").write_text(RULE, "utf-8")
    data = ("--data-dir", str(instance.data_dir))
    picture = str(tmp_path / "fired.svg")
    out = instance.run("rules", "backtest", str(tmp_path / "rule.yaml"), "--since", "1h", "--picture", picture, *data)
    assert "Refused" in out
    assert (tmp_path / "fired.svg").read_text("utf-8").startswith("<svg")


def test_heartbeats_come_while_alerts_make_their_way_and_end_with_it(
    instance: Local, beats: tuple[str, list[str]]
) -> None:
    heard = beats[1]
    until(lambda: len(heard), lambda count: count >= 2, within_s=90)
    assert "took" in instance.get("/readyz")["checks"]["canary"]["detail"]
    assert instance.get("/api/v2/receivers") == [{"name": "mailbox"}]
    listed = [*instance.get("/api/v1/alerts")["items"], *instance.get("/api/v2/alerts")]
    assert not any(each["labels"]["alertname"] == "EventsphereCanary" for each in listed)
    silence = {
        "matchers": [{"name": "alertname", "value": ".+", "isRegex": True, "isEqual": True}],
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "2099-01-01T00:00:00Z",
        "createdBy": "ada",
        "comment": "all of them",
    }
    instance.call("POST", "/api/v2/silences", silence)
    known = len(heard)
    until(lambda: len(heard), lambda count: count >= known + 2, within_s=60)
    instance.call("PUT", "/api/v1/rules/EventsphereCanary", {"text": STOPPED})
    until(lambda: "EventsphereCanary" in str(instance.get("/api/v1/rules", q="canary")), within_s=30)
    canary = until(lambda: instance.get("/api/v1/canary"), lambda seen: bool(seen["late"]), within_s=240, every_s=5)
    assert canary["heartbeat"]["configured"]


STOPPED = "alert: EventsphereCanary\ninput: platform.canary\nwhere: id == 'nothing'\n"
