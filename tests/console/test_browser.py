"""The console in a real browser: live numbers, live tail, keyboard, the mail in its sandbox, dark mode."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage

import pytest
from playwright.sync_api import Browser, Page, expect

from schemas.alerts import AlertState, Status
from schemas.base import encode
from tests.gateway.serving import Served

SLOW_MS = 30_000
BLOCKED = re.compile("Blocked script execution in .*/mailbox/|violates the following Content Security Policy")
"""What the browser says when a mail tries what it may not."""
expect.set_options(timeout=SLOW_MS)


@pytest.fixture
def page(served: Served, browser: Browser) -> Iterator[Page]:
    """A page of a reader who has logged in; any error on it fails the test."""
    context = browser.new_context(base_url=served.url, viewport={"width": 1440, "height": 900}, color_scheme="light")
    context.set_default_timeout(SLOW_MS)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto("/logs?namespace=shop")
    expect(page).to_have_url(re.compile("/login"))
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(served.password)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/logs\?namespace=shop$"))
    page.wait_for_load_state()
    wrong.clear()  # asking whether there is a session already was answered with 401
    yield page
    assert [text for text in wrong if not BLOCKED.search(text)] == []
    context.close()


def test_numbers_are_live(served: Served, page: Page) -> None:
    page.goto("/")
    expect(page.locator("#live")).to_have_text("live", timeout=SLOW_MS)
    records = page.locator('.tile [data-stat="topics.logs.records"]')
    before = int(records.inner_text().replace(",", ""))
    served.produce("logs", *({"log": f"n {n}"} for n in range(1500)))
    expect(records).to_have_text(f"{before + 1500:,}", timeout=SLOW_MS)


def test_the_tail_shows_what_comes_and_matches(served: Served, page: Page) -> None:
    page.goto("/logs?namespace=shop")
    page.keyboard.press("l")
    expect(page).to_have_url(re.compile("tail=1"))
    expect(page.locator("#live")).to_have_text("live", timeout=SLOW_MS)
    page.wait_for_timeout(2000)
    for n in range(20):
        for namespace in ("shop", "bank"):
            served.produce("logs", {"log": f"Error {n} of {namespace}", "kubernetes": {"namespace_name": namespace}})
    expect(page.get_by_text("Error 19 of shop", exact=True)).to_be_visible(timeout=SLOW_MS)
    expect(page.get_by_text("of bank")).to_have_count(0)
    page.locator("details.line.error").first.click()
    expect(page.locator("details[open] pre").first).to_contain_text("namespace_name")


def test_a_new_alert_appears_by_itself(served: Served, page: Page) -> None:
    page.goto("/alerts")
    expect(page.locator("#live")).to_have_text("live", timeout=SLOW_MS)
    state = AlertState(
        tenant="platform",
        fingerprint="f1",
        episode="e",
        state=Status.FIRING,
        labels={"alertname": "DiskFull", "severity": "critical"},
        starts_at_ms=1_767_607_200_000,
        updated_at_ms=1_767_607_200_000,
        seq=1,
    )
    served.produce("alerts.state", encode(state), key=b"platform/f1")
    expect(page.get_by_role("link", name="DiskFull")).to_be_visible(timeout=SLOW_MS)
    expect(page.locator("nav .badge").first).to_have_text("1", timeout=SLOW_MS)


def test_the_keyboard_goes_everywhere(page: Page) -> None:
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page).to_have_url(re.compile("/topics$"))
    page.wait_for_load_state()
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tr.at a.row")).to_have_text("alerts.routes")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/topics/alerts\.routes$"))
    page.wait_for_load_state()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.goto("/alerts")
    page.keyboard.press("/")
    expect(page.locator('input[name="q"]')).to_be_focused()


def test_the_url_holds_the_state(page: Page) -> None:
    page.goto("/logs")
    page.get_by_label("Namespace").fill("shop")
    page.get_by_label("Namespace").press("Enter")
    expect(page).to_have_url(re.compile(r"namespace=shop"))
    page.get_by_role("link", name="15m").click()
    expect(page).to_have_url(re.compile(r"namespace=shop.*start=-15m|start=-15m.*namespace=shop"))
    expect(page.get_by_label("Namespace")).to_have_value("shop")


def test_a_mail_runs_no_script_and_loads_nothing(served: Served, page: Page) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Disk is full", "a@example.com", "b@example.com"
    mail.set_content("plain")
    script, image = '<script>p.textContent="ran"</script>', f'<img src="{served.url}/livez" onerror="p.remove()">'
    hostile = f'<p id="p">before</p>{script}{image}'
    mail.add_alternative(hostile, subtype="html")
    with smtplib.SMTP("127.0.0.1", served.settings.mailbox.port, timeout=30) as smtp:
        smtp.send_message(mail)
    asked: list[str] = []
    page.goto("/mailbox")
    page.on("response", lambda response: asked.append(response.url))
    page.get_by_role("link", name="Disk is full").click()
    expect(page.frame_locator("iframe").locator("#p")).to_have_text("before", timeout=SLOW_MS)
    assert not any(url.endswith("/livez") for url in asked)


def test_it_is_dark_when_the_system_is_and_when_the_reader_says_so(page: Page) -> None:
    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.goto("/topics")
    light = paper()
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert dark != light
    page.keyboard.press("t")
    assert paper() == light
    page.reload()
    assert paper() == light
    page.keyboard.press("t")
    assert paper() == dark


def test_nothing_overflows_on_a_narrow_screen(page: Page) -> None:
    page.set_viewport_size({"width": 420, "height": 800})
    for path in ("/", "/logs", "/alerts", "/topics", "/mailbox", "/dead-letters"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
