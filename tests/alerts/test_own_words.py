"""Mails in a receiver's own words, through its own server."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Any

from schemas.alerting import Receiver
from schemas.notifications import Context, Decision, Notification
from streams.alerting import parse
from streams.sinks.channel import Job
from streams.sinks.email_channel import Email
from streams.sinks.smtp import parse_url
from tests.delivery.samples import TIME, alert
from tests.parts.smtpd import smtpd

CONFIG = """\
global: {smtp_smarthost: "127.0.0.1:%d", smtp_from: alerts@mail.test, smtp_require_tls: false}
route: {receiver: team}
receivers:
- name: team
  email_configs:
  - to: a@b.test
    headers: {Subject: '{{ template "__subject" . }}', X-Count: '{{ len .Alerts }}'}
    html: '<b>{{ range .Alerts }}{{ .Labels.pod }}{{ end }}</b>'
    text: 'from {{ (index .Alerts 0).StartsAt.Unix }}'
  - {to: text@b.test, html: '', text: 'only {{ .Status }}'}
  - {to: wrong@b.test, headers: {Subject: 'x {{ index .Alerts 7 }}'}, html: '{{ (index .Alerts 7).Status }}'}
"""


def job(email: Email, receiver: Receiver, address: str) -> Job:
    alerts = [alert(pod="<p1>")]
    notification = Notification(
        id="n1",
        tenant="platform",
        receiver="team",
        group_key="{}:{}",
        group_labels={"alertname": "Down"},
        flush=1,
        decision=Decision.SEND,
        status="firing",
        alerts=alerts,
        decided_at_ms=TIME,
    )
    target = next(each for each in email.targets(receiver) if each.name == address)
    return Job(notification=notification, target=target, alerts=alerts, context=Context(), notes=[], now_ms=TIME)


def part(message: EmailMessage, kind: str) -> Any:
    found = message.get_body((kind,))
    return found.get_content() if found is not None else None


async def test_a_mail_is_in_the_words_and_by_the_server_of_its_receiver() -> None:
    with smtpd() as server:
        receiver = parse(CONFIG % server.port).receivers[0]
        email = Email(parse_url("smtp://nowhere.test"), "http://es.test")
        for address in ("a@b.test", "text@b.test", "wrong@b.test"):
            await email.send(job(email, receiver, address))
        await email.close()
        own, text, wrong = server.received
    assert str(own["Subject"]) == "[FIRING:1] Down (shop <p1>)"
    assert (own["X-Count"], own["From"].addresses[0].addr_spec) == ("1", "alerts@mail.test")
    assert part(own, "html").strip() == "<b>&lt;p1&gt;</b>"
    assert part(own, "plain").strip() == f"from {TIME // 1000}"
    assert (part(text, "html"), part(text, "plain").strip()) == (None, "only firing")
    assert "Down" in str(wrong["Subject"])
    for kind in ("html", "plain"):
        assert "could not be rendered" in part(wrong, kind)
        assert "Down is down" in part(wrong, kind)
