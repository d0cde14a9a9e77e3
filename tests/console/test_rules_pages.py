"""Writing a rule in the console: checked, tried on real records, saved, tried beside its live version, turned off."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.gateway.serving import Served

RULE = """\
alert: Refused
input: logs
where: log.contains("payment refused")
level: namespace
count: 2
within: 5m
tests:
- records: [{at: 0s, times: 2, record: {log: payment refused, kubernetes: {namespace_name: shop}}}]
  alerts: [{from: 1s}]
"""
expect.set_options(timeout=30_000)


@pytest.fixture
def page(served: Served, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(base_url=served.url, color_scheme="dark")
    page = context.new_page()
    page.goto("/rules")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(served.password)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile("/rules$"))
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    yield page
    assert wrong == []
    context.close()


def test_a_rule_from_first_line_to_last(served: Served, page: Page) -> None:
    now = time.time_ns() // 1_000_000
    for number in range(3):
        record = {"log": f"payment refused {number} <b>", "kubernetes": {"namespace_name": "shop"}}
        served.produce("logs", record, timestamp=now - 60_000 + number)
    page.get_by_role("link", name="New rule").click()
    text = page.locator("#text")
    text.fill(RULE.replace("where", "were"))
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#problems")).to_contain_text("line 3")
    page.locator("#text").fill(RULE)
    page.get_by_role("button", name="Run tests").click()
    expect(page.locator("#result h2")).to_have_text("1 tests, 0 failed")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#result h2")).to_contain_text("1 alerts; 3 of")
    expect(page.locator("#result svg")).to_be_visible()
    expect(page.locator("#result pre").first).to_contain_text("payment refused")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page).to_have_url(re.compile(r"/rules/Refused\?tenant=platform"))
    expect(page.locator("#versions li")).to_have_count(1)
    page.locator("#text").fill(RULE.replace("count: 2", "count: 3"))
    page.get_by_role("button", name="Save as draft").click()
    expect(page.locator("#shadow h2")).to_be_visible()
    page.get_by_role("button", name="Make the draft live").click()
    expect(page.locator("#text")).to_have_value(re.compile("count: 3"))
    page.get_by_role("button", name="Disable").click()
    expect(page.locator("h1 .pill")).to_have_text("disabled")
    assert served.get("/api/v1/rules/Refused")["text"].endswith("\nenabled: false\n")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile("/rules$"))
    row = page.locator("tr", has_text="Refused")
    expect(row.locator(".pill").first).to_have_text("disabled")


def test_pages_are_for_those_who_may(served: Served) -> None:
    with httpx.Client(base_url=served.url, timeout=60) as client:
        assert client.get("/rules").headers["location"] == "/login?next=%2Frules"
        client.post("/login", data={"username": "admin", "password": served.password})
        listed = client.get("/rules").text
        assert "KubePodBackOff" in listed
        shipped = client.get("/rules/KubePodBackOff?tenant=platform").text
        assert "alert: KubePodBackOff" in shipped
        assert "KubeNodeNotReady" not in shipped.partition("</textarea>")[0]
        assert client.get("/rules/Nothing?tenant=platform").status_code == 404
        forged = client.post("/rules/save", data={"text": RULE.replace("Refused", "Forged")})
        assert forged.status_code == 403
        assert client.get("/rules/Forged?tenant=platform").status_code == 404
