"""The mailbox over HTTP: mails that came by SMTP are listed to who may read them."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator

import pytest

from streams.settings import Kafka
from tests.gateway.serving import Served, eventually, serving
from tests.mailbox.test_mailbox import mail


@pytest.fixture(scope="module")
def served(platform_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(platform_kafka, tmp_path_factory.mktemp("mailbox")) as out:
        yield out


def test_mails_are_listed_and_shown(served: Served) -> None:
    with smtplib.SMTP("127.0.0.1", served.settings.mailbox.port, timeout=30) as smtp:
        for number in range(3):
            smtp.send_message(mail(number))
    page = eventually(lambda: served.get("/api/v1/mailbox", limit=2))
    assert (len(page["items"]), page["total"]) == (2, 3)
    rest = served.get("/api/v1/mailbox", limit=2, cursor=page["next"])
    assert [item["message_id"] for item in [*page["items"], *rest["items"]]] == [
        f"<{n}@eventsphere>" for n in (2, 1, 0)
    ]
    assert rest["next"] == ""
    first = served.get(f"/api/v1/mailbox/{page['items'][0]['id']}")
    assert first["text"] == "text 2\n"
    assert "Message-ID: <2@eventsphere>" in first["raw"]
    html = served.http.get(f"/api/v1/mailbox/{first['id']}/html", headers=served.admin)
    assert html.text == "<p>html 2</p>\n"
    assert html.headers["content-security-policy"].startswith("sandbox;")


def test_who_may_not(served: Served) -> None:
    assert served.http.get("/api/v1/mailbox").status_code == 401
    assert served.http.get("/api/v1/mailbox", headers=served.token("logs:read")).status_code == 403
    assert served.http.get("/api/v1/mailbox", headers=served.token("mailbox:read")).status_code == 200
    tenant = served.token("mailbox:read", tenant="shop")
    assert served.http.get("/api/v1/mailbox", headers=tenant).status_code == 403
    assert served.http.get("/api/v1/mailbox/nosuch", headers=served.admin).status_code == 404
    assert served.http.get("/api/v1/mailbox?cursor=xx", headers=served.admin).status_code == 422
