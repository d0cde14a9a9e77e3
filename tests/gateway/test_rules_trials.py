"""Rules tried by API before they are enabled: checked, tested, previewed and played over what is there."""

from __future__ import annotations

import time
from typing import Any
from xml.etree import ElementTree

import pytest

from console.timeline import Span, picture
from gateway.backtest import Bounds, backtest
from streams.rules.ruleset import RuleSet
from streams.rules.stored import parsed
from tests.gateway.serving import Served

RULE = """\
alert: TrialRefused
input: logs
where: log.contains("trial refused")
level: namespace
count: 3
within: 5m
severity: critical
tests:
- name: three within five minutes
  records:
  - {at: 0s, times: 3, every: 10s, record: {log: trial refused, kubernetes: {namespace_name: shop}}}
  alerts: [{from: 20s, labels: {namespace: shop}}]
- name: two are too few
  records:
  - {at: 0s, times: 2, every: 10s, record: {log: trial refused, kubernetes: {namespace_name: shop}}}
  alerts: [{from: 10s}]
"""


def asked(served: Served, path: str, status: int = 200, headers: Any = None, **body: Any) -> Any:
    answer = served.http.post(f"/api/v1/rules/{path}", json={"text": RULE} | body, headers=headers or served.admin)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def filled(served: Served) -> Served:
    """Log records of two tenants in the last minutes, three of each that match."""
    now = time.time_ns() // 1_000_000
    for number in range(3):
        for tenant in ("shop", "data"):
            place = {"namespace_name": tenant, "pod_name": f"{tenant}-0"}
            record = {"log": f"trial refused {number} of {tenant}", "tenant": tenant, "kubernetes": place}
            served.produce("logs", record, timestamp=now - 120_000 + number * 10_000)
    served.produce("logs", {"log": "all is well"}, timestamp=now - 60_000)
    return served


def test_a_check_tells_all_that_is_wrong(served: Served) -> None:
    assert asked(served, "check") == {
        "ok": True,
        "errors": [],
        "rules": [
            {"name": "TrialRefused", "input": "logs", "type": "frequency", "level": "namespace", "severity": "critical",
             "enabled": True, "mode": "live", "tests": 2, "line": 1},
        ],
    }  # fmt: skip
    wrong = asked(served, "check", text="alert: A\ninput: logs\nwhere: log.matches('(a')\ncount: x\n")
    assert wrong["ok"] is False
    assert {(each["line"], each["at"]) for each in wrong["errors"]} >= {(3, "where"), (4, "count")}


def test_its_tests_run(served: Served) -> None:
    ran = asked(served, "test", perturb=2)
    assert (ran["ok"], ran["passed"], ran["failed"]) == (False, 1, 1)
    failed = ran["items"][1]
    assert (failed["name"], failed["ok"]) == ("two are too few", False)
    assert failed["failures"] == ["missing: an alert from 10s"]


def test_a_preview_shows_alerts_and_records(filled: Served) -> None:
    seen = asked(filled, "preview", minutes=15, examples=2)
    assert {each["labels"]["namespace"] for each in seen["alerts"]} == {"shop", "data"}
    assert seen["matched"] == 6
    assert seen["read"] >= 7
    assert [each["record"]["log"][:15] for each in seen["examples"]] == ["trial refused 2"] * 2


def test_a_tenant_plays_its_own_records(filled: Served) -> None:
    shop = filled.token("rules:read", "logs:read", tenant="shop")
    seen = asked(filled, "preview", headers=shop)
    assert [each["labels"]["namespace"] for each in seen["alerts"]] == ["shop"]
    assert seen["matched"] == 3
    assert {each["record"]["tenant"] for each in seen["examples"]} == {"shop"}
    blind = filled.token("rules:read", tenant="shop")
    assert asked(filled, "preview", headers=blind)["examples"] == []
    assert asked(filled, "check", headers=shop, text=RULE + "tenant: data\n")["ok"] is False
    assert asked(filled, "backtest", headers=shop)["total"] == 1


def test_a_backtest_gives_table_and_picture(filled: Served) -> None:
    seen = asked(filled, "backtest", since="-1h", picture=True)
    assert seen["total"] == 2
    first = seen["alerts"][0]
    assert (first["alert"], first["records"]) == ("TrialRefused", 3)
    image = ElementTree.fromstring(seen["picture"])
    assert image.tag.endswith("svg")
    assert "TrialRefused shop" in seen["picture"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("preview", {"minutes": 0}),
        ("preview", {"records": 10**9}),
        ("preview", {"more": 1}),
        ("backtest", {"since": "-90d"}),
        ("backtest", {"since": "tomorrow"}),
        ("test", {"perturb": 1000}),
        ("preview", {"text": "alert: A\n"}),
        ("preview", {"text": "x" * 40_000}),
    ],
)
def test_what_cannot_be_is_refused(served: Served, path: str, body: dict[str, Any]) -> None:
    assert asked(served, path, 422, **body)["errors"]


def test_a_bounded_reading_looks_at_the_newest_and_says_since_when(filled: Served) -> None:
    now = time.time_ns() // 1_000_000
    rule, _ = parsed(RULE, "x", "platform")
    assert rule is not None
    whole = backtest(filled.kafka, RuleSet([rule]), now - 3_600_000, now)
    some = backtest(filled.kafka, RuleSet([rule]), now - 3_600_000, now, bounds=Bounds(records=2))
    assert some.read < whole.read
    assert some.from_ms > whole.from_ms == now - 3_600_000
    none = backtest(filled.kafka, RuleSet([rule]), now - 3_600_000, now, bounds=Bounds(seconds=1e-9))
    assert none.read == 0
    assert none.until_ms <= now - 3_600_000


def test_a_picture_escapes_and_bounds() -> None:
    spans = [Span(f"<b>{n}", n * 1000, 0 if n % 2 else n * 1000 + 10, "critical", '"&') for n in range(300)]
    drawn = picture(spans, 0, 300_000, alone=True)
    ElementTree.fromstring(drawn)
    assert "<b>" not in drawn
    assert "and 100 more" in drawn
    assert "no alert" in picture([], 5, 5)
