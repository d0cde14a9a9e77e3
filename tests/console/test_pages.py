"""The console without JavaScript: logging in, what is shown to whom, forms, errors."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial
from html import unescape

import httpx
import pytest

from gateway.sessions import COOKIE
from schemas.alerts import AlertState, Status, alert_key
from schemas.base import encode
from schemas.notifications import Decision, Notification
from streams.dead_letters import letter
from streams.record import Record
from streams.sinks.index.port import Kind
from tests.gateway.serving import Served, eventually

PAGES = (
    "/",
    "/logs",
    "/events",
    "/alerts",
    "/rules",
    "/notifications",
    "/mailbox",
    "/topics",
    "/topics/logs",
    "/dead-letters",
)


@pytest.fixture
def reader(served: Served) -> Iterator[httpx.Client]:
    """Somebody logged in as the admin."""
    with httpx.Client(base_url=served.url, timeout=60) as client:
        answer = client.post("/login", data={"username": "admin", "password": served.password, "next": "/topics"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/topics")
        yield client


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found is not None
    return found[1]


def alert(name: str, tenant: str = "platform") -> AlertState:
    return AlertState(
        tenant=tenant,
        fingerprint=name,
        episode=name,
        state=Status.FIRING,
        labels={"alertname": "Disk", "namespace": "shop", "pod": name},
        annotations={"summary": "<script>alert(1)</script>"},
        starts_at_ms=1_767_607_200_000,
        updated_at_ms=1_767_607_200_000,
        seq=1,
    )


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(served: Served) -> None:
    answer = httpx.post(f"{served.url}/login", data={"username": "admin", "password": served.password})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(COOKIE)
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    other = {"username": "admin", "password": served.password}
    refused = httpx.post(f"{served.url}/login", data=other, headers={"Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403


def test_a_wrong_password_is_said_on_the_page(served: Served) -> None:
    answer = httpx.post(f"{served.url}/login", data={"username": "<b>x", "password": "wrong"})
    assert answer.status_code == 401
    assert "wrong password" in answer.text
    assert "<b>x" not in answer.text


@pytest.mark.parametrize("path", [*PAGES, "/alerts/x", "/records/logs/0/0"])
def test_who_is_not_logged_in_is_sent_to_and_comes_back(served: Served, path: str) -> None:
    answer = httpx.get(f"{served.url}{path}")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?next={path.replace('/', '%2F')}"


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_a_login_leads_nowhere_else(served: Served, to: str) -> None:
    data = {"username": "admin", "password": served.password, "next": to}
    assert httpx.post(f"{served.url}/login", data=data).headers["location"] == "/"


@pytest.mark.parametrize("path", PAGES)
def test_every_page_stands_with_nothing_in_it(reader: httpx.Client, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert 'aria-current="page"' in answer.text


def test_logs_are_found_with_histogram_context_and_record(served: Served, reader: httpx.Client) -> None:
    now = int(time.time() * 1000)
    for n in range(5):
        record = {"log": f"line {n} <b>bold</b>", "kubernetes": {"namespace_name": "shop", "pod_name": "pay-0"}}
        served.produce("logs", record, timestamp=now - 5000 + n)
    served.index(Kind.LOGS, "logs")
    page = eventually(lambda: (p := reader.get("/logs", params={"q": "bold"}).text) and "line 4" in p and p)
    assert "<b>5</b> records" in page
    assert "<b>bold" not in page
    assert 'class="bar"' in page
    found = re.search(r'href="(/logs/context/logs/\d+/\d+)"', page)
    assert found is not None
    context = reader.get(found[1]).text
    assert all(f"line {n}" in context for n in range(5))
    place = found[1].replace("/logs/context", "/records")
    assert "pay-0" in reader.get(place).text
    api = reader.get(place.replace("/records", "/api/v1/records"), headers={"Accept": "text/html"})
    assert (api.status_code, api.headers["location"]) == (303, place)


def test_a_wrong_query_is_shown_where_it_is_wrong_and_the_page_stays(reader: httpx.Client) -> None:
    answer = reader.get("/logs", params={"q": "<b> AND (pod:x", "namespace": "shop"})
    assert answer.status_code == 200
    assert "<code>&lt;b&gt; AND <mark>(pod:x</mark></code> ( is not closed" in answer.text
    assert 'value="&lt;b&gt; AND (pod:x"' in answer.text
    assert 'value="shop"' in answer.text


def test_fields_export_and_saved_searches_of_the_logs_page(served: Served, reader: httpx.Client) -> None:
    now = int(time.time() * 1000)
    for n in range(6):
        record = {"log": f"kept {n}", "level": "error" if n % 3 else "info", "note": 'a "b"', "cluster": "test"}
        served.produce("logs", record, timestamp=now - 4000 + n)
    served.index(Kind.LOGS, "logs")
    page = eventually(
        lambda: (p := reader.get("/logs", params={"q": "kept", "field": "note"}).text) and "kept 5" in p and p
    )
    assert "note:&#34;a \\&#34;b\\&#34;&#34;" in page
    only = re.search(r'href="(\?[^"]+)" title="Only note', page)
    assert only is not None
    assert "kept 5" in reader.get("/logs" + unescape(only[1])).text
    without = re.search(r'href="(\?[^"]+)" title="Without note', page)
    assert without is not None
    assert "kept 5" not in reader.get("/logs" + unescape(without[1])).text
    either = reader.get("/logs", params={"q": "kept OR none", "workload": "pay", "tail": "1", "field": "note"}).text
    assert "q=%28kept+OR+none%29+workload%3A%28%22pay%22%29" in either
    both = reader.get("/logs", params={"q": "kept OR none", "field": "note"}).text
    assert "q=%28kept+OR+none%29+NOT+note" in both
    export = re.search(r'href="(/api/v1/logs/export[^"]+format=ndjson)"', page)
    assert export is not None
    assert len(reader.get(unescape(export[1])).text.splitlines()) == 6

    form = {"csrf": csrf(page), "back": "/logs?q=kept", "name": "mine <i>", "q": "kept level:error", "start": "-1h"}
    answer = reader.post("/logs/saved", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/logs?q=kept&done=saved")
    page = reader.get("/logs").text
    link = re.search(r'<a href="([^"]+)" title="yours">mine &lt;i&gt;</a>', page)
    assert link is not None
    found = reader.get(unescape(link[1])).text
    assert "kept 5" in found
    assert "kept 3" not in found
    gone = re.search(r'action="(/logs/saved/[0-9a-f]+/delete)"', page)
    assert gone is not None
    assert reader.post(gone[1], data={"csrf": "wrong"}).status_code == 403
    assert reader.post(gone[1], data={"csrf": csrf(page)}).status_code == 303
    assert "mine &lt;i&gt;" not in reader.get("/logs").text


@pytest.mark.parametrize("path", ["records/logs/0/1", "notifications/n1"])
def test_a_link_from_a_mail_leads_a_person_to_the_page(served: Served, path: str) -> None:
    answer = httpx.get(f"{served.url}/api/v1/{path}", headers={"Accept": "text/html,*/*"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/{path}")
    assert httpx.get(f"{served.url}/api/v1/{path}").status_code == 401


def test_an_alert_is_silenced_and_the_silence_ended(served: Served, reader: httpx.Client) -> None:
    for state in (alert("pod-1"), alert("pod-2")):
        served.produce("alerts.state", encode(state), key=alert_key("platform", state.fingerprint).encode())
    page = eventually(lambda: (p := reader.get("/alerts").text).count("<article") == 2 and p)
    assert "<script>alert(1)" not in page
    detail = reader.get("/alerts/pod-1?tenant=platform").text
    fields = {"tenant": "platform", "fingerprint": "pod-1", "scope": "alert", "minutes": "60", "comment": "known"}
    assert reader.post("/silences", data=fields).status_code == 403
    fields |= {"csrf": csrf(detail), "back": "/alerts/pod-1?tenant=platform"}
    done = reader.post("/silences", data=fields)
    assert (done.status_code, done.headers["location"]) == (303, "/alerts/pod-1?tenant=platform&done=silenced")
    shown = eventually(lambda: (p := reader.get("/alerts/pod-1").text) and "End now" in p and p)
    listed = served.get("/api/v1/alerts")["items"]
    assert {a["fingerprint"]: bool(a["suppressed"]["silences"]) for a in listed} == {"pod-1": True, "pod-2": False}
    found = re.search(r'action="(/silences/\w+/expire)"', shown)
    assert found is not None
    reader.post(found[1], data={"csrf": csrf(shown)})
    eventually(lambda: "End now" not in reader.get("/alerts/pod-1").text)


def _page_with(reader: httpx.Client, path: str, text: str) -> str:
    page = reader.get(path).text
    return page if text in page else ""


def test_equal_labels_in_two_tenants_are_two_alerts(served: Served, reader: httpx.Client) -> None:
    for tenant in ("acme", "shop"):
        state = alert("same", tenant)
        told = Notification(
            id=f"told-{tenant}",
            tenant=tenant,
            receiver=f"receiver-of-{tenant}",
            group_key="{}",
            group_labels={},
            flush=1,
            decision=Decision.SEND,
            status="firing",
            alerts=[state],
            decided_at_ms=int(time.time() * 1000),
        )
        served.produce("notifications", encode(told), key=f"{tenant}/x/{{}}".encode())
        served.produce("alerts.state", encode(state), key=alert_key(tenant, "same").encode())
    served.index(Kind.NOTIFICATIONS, "notifications")
    for tenant, other in (("acme", "shop"), ("shop", "acme")):
        page = eventually(partial(_page_with, reader, f"/alerts/same?tenant={tenant}", f"receiver-of-{tenant}"))
        assert f"receiver-of-{other}" not in page
        explained = served.get("/api/v1/alerts/same/explain", tenant=tenant)
        assert [each["record"]["tenant"] for each in explained["decisions"]] == [tenant]


def test_a_dead_letter_is_sent_round_again(served: Served, reader: httpx.Client) -> None:
    dead = letter(Record("gaps", 0, 0, b"k", b"{}", 1), agent="index-events", reason="schema", detail="id", attempt=1)
    served.send(dead)
    page = eventually(lambda: (p := reader.get("/dead-letters").text) and "Send round again" in p and p)
    done = reader.post("/dead-letters/replay", data={"csrf": csrf(page), "topic": "gaps", "offset": "0"})
    assert done.headers["location"] == "/dead-letters?done=replayed"
    assert [record.value for record in served.records("gaps")] == [b"{}"]


def test_nothing_is_shown_that_the_api_refuses(served: Served) -> None:
    """A session lives in the cookie; an account with one right sees that page, and no other."""
    from sqlmodel import Session

    from gateway.database import connect
    from gateway.passwords import hashed
    from schemas.tables import Account

    engine = connect(served.settings)
    with Session(engine) as session:
        session.add(Account(username="ada", password_hash=hashed("secret"), scopes="logs:read alerts:read"))
        session.commit()
    engine.dispose()
    with httpx.Client(base_url=served.url, timeout=60) as client:
        client.post("/login", data={"username": "ada", "password": "secret"})
        page = client.get("/alerts").text
        assert re.findall(r'<a href="(/[a-z-]*)" data-key', page) == ["/logs", "/alerts"]
        refused = client.get("/topics")
        assert refused.status_code == 403
        assert "status:read" in refused.text
        assert "<nav" in refused.text


def test_logging_out_ends_the_session(reader: httpx.Client) -> None:
    cookie = reader.cookies[COOKIE]
    reader.post("/logout", data={"csrf": csrf(reader.get("/topics").text)})
    assert reader.get("/topics", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code == 303


@pytest.mark.parametrize("path", ["/topics/nothing", "/records/logs/0/999", "/alerts/nothing", "/mailbox/nothing"])
def test_what_is_not_there_is_a_page_that_says_so(reader: httpx.Client, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 404
    assert "There is no" in answer.text or "there is no" in answer.text or "has no record" in answer.text


def test_a_wrong_time_is_a_page_that_says_so(reader: httpx.Client) -> None:
    answer = reader.get("/logs?start=yesterday")
    assert answer.status_code == 422
    assert "-15m" in answer.text


def test_an_address_that_leads_nowhere_is_a_page_for_people(served: Served, reader: httpx.Client) -> None:
    page = {"Accept": "text/html,*/*"}
    answer = reader.get("/nope", headers=page)
    assert answer.status_code == 404
    assert "There is no such page." in answer.text
    assert httpx.get(f"{served.url}/nope", headers=page).headers["location"] == "/login"
    assert httpx.get(f"{served.url}/nope").json()["status"] == 404
