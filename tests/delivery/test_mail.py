"""The mail: headers that thread it, nothing that breaks out of them, both bodies, a fallback."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

import msgspec
import pytest

from schemas.alerts import AlertState, Status
from schemas.notifications import Context, Decision, Notification, notification_id
from streams.sinks.letter import letter
from streams.sinks.mail import bodies, compose
from tests.delivery.samples import TIME, alert

URL = "https://es.example.org"
FIRST = notification_id("platform", "ops", "{}", 1)


def notification(alerts: list[AlertState], flush: int = 1) -> Notification:
    return Notification(
        id=notification_id("platform", "ops", "{}", flush),
        tenant="platform",
        receiver="On-call / päger",
        group_key="{}",
        group_labels={},
        flush=flush,
        decision=Decision.SEND,
        status="firing",
        alerts=alerts,
        thread=FIRST,
        decided_at_ms=TIME,
    )


def parsed(alerts: list[AlertState], flush: int = 1, headers: dict[str, str] | None = None) -> EmailMessage:
    about = letter(notification(alerts, flush), alerts, Context(), URL)
    me = "https://es.example.org/me/notifications"
    made = compose(
        notification(alerts, flush), about, "es@example.org", "Ops <ops@example.org>", headers, unsubscribe=me
    )
    message = BytesParser(policy=policy.default).parsebytes(made.as_bytes())
    assert isinstance(message, EmailMessage)
    return message


def test_headers() -> None:
    first, second = parsed([alert()]), parsed([alert()], 2)
    assert first["Message-ID"] == f"<{FIRST}@eventsphere>"
    assert first["In-Reply-To"] is None
    assert second["In-Reply-To"] == second["References"] == first["Message-ID"]
    assert first["List-Id"] == "<on-call-p-ger.platform.eventsphere>"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["List-Unsubscribe"] == "<https://es.example.org/me/notifications>"
    assert str(first["From"]) == "Eventsphere <es@example.org>"
    assert str(first["To"]) == "Ops <ops@example.org>"
    assert first["Subject"] == "[FIRING:1] Down in shop"


def test_a_repeat_is_the_same_to_the_byte() -> None:
    about = letter(notification([alert()]), [alert()], Context(), URL)
    one, two = (compose(notification([alert()]), about, "es@example.org", "ops@example.org") for _ in range(2))
    assert one.as_bytes() == two.as_bytes()


OWN = {"Subject": "Mine\r\nBcc: x@example.org", "X-Team": "pay", "Message-ID": "<forged>"}


def test_own_headers_but_not_ours() -> None:
    message = parsed([alert()], headers=OWN)
    assert message["Subject"] == "Mine Bcc: x@example.org"
    assert message["X-Team"] == "pay"
    assert message["Message-ID"] == f"<{FIRST}@eventsphere>"
    assert message["Bcc"] is None


@pytest.mark.parametrize("name", ["a\r\nBcc: evil@example.org", "x" * 5000, "\x00\x07", "支付 🔥", "=?utf-8?q?x?="])
def test_labels_do_not_break_out_of_headers(name: str) -> None:
    message = parsed([alert(name)])
    assert message["Bcc"] is None
    assert len(str(message["Subject"])) <= 180
    assert "\n" not in str(message["Subject"])


def test_html_shows_what_it_is_given_as_text() -> None:
    evil = msgspec.structs.replace(
        alert("<script>alert(1)</script>", x='"><img src=x onerror=y>'),
        annotations={"summary": "<b>hi</b>", "runbook_url": "javascript:alert(1)"},
        generator_url="data:text/html,x",
    )
    _, html = bodies(letter(notification([evil]), [evil], Context(), URL))
    for bad in ("<script>", "<img", "<b>hi", "javascript:", "data:text"):
        assert bad not in html


def test_an_alert_is_linked_with_its_tenant() -> None:
    """The same labels may fire in another tenant too."""
    theirs = msgspec.structs.replace(alert(), tenant="acme & co")
    about = letter(notification([theirs]), [theirs], Context(), URL)
    assert [each.link for each in about.alerts] == [f"{URL}/alerts/{theirs.fingerprint}?tenant=acme+%26+co"]


def test_resolved_ones_say_so() -> None:
    over = msgspec.structs.replace(alert(), state=Status.RESOLVED, ends_at_ms=TIME + 60_000)
    assert parsed([over])["Subject"] == "[RESOLVED] Down in shop"
    text, html = bodies(letter(notification([over]), [over], Context(), URL))
    assert "until 2026-01-05T10:01:00.000Z" in text
    assert "until 2026-01-05T10:01:00.000Z" in html


def test_many_alerts_are_cut_and_counted() -> None:
    alerts = [alert(f"A{number}") for number in range(200)]
    text, html = bodies(letter(notification(alerts), alerts, Context(), URL))
    assert "... and 175 more" in text
    assert len(html) < 300_000


def test_what_cannot_be_rendered_goes_out_plainly() -> None:
    broken = Context(logs=[{"time": "x"}])
    text, html = bodies(letter(notification([alert("<Down>")]), [alert("<Down>")], broken, URL))
    assert "[FIRING:1] <Down> in shop" in text
    assert "could not be rendered" in text
    assert "&lt;Down&gt;" in html


@pytest.mark.parametrize("address", ["nonsense", "a@b, c@d", "x@y\r\nz", "", "<>"])
def test_addresses_that_are_none(address: str) -> None:
    about = letter(notification([alert()]), [alert()], Context(), URL)
    with pytest.raises(ValueError):  # noqa: PT011
        compose(notification([alert()]), about, "es@example.org", address)


def test_a_mail_in_chinese() -> None:
    about = letter(notification([alert()]), [alert()], Context(), URL, language="zh")
    assert about.subject == "[告警:1] Down 位于 shop"
    text, html = bodies(about)
    assert "1 触发中" in text
    assert '<html lang="zh">' in html
    assert "由 Eventsphere 发送给接收者" in html
    assert "Sent by" not in text + html
