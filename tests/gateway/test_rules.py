"""Rules by API: stored with versions and author, each tenant its own, and on the topic where workers take them from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlmodel import Session

from gateway import rules
from gateway.database import connect
from gateway.rules_following import differing
from schemas.rules import RuleDocument
from schemas.tables import StoredRule
from streams.rules.stored import TOPIC
from tests.gateway.serving import Served, eventually

RULE = """\
# what we agreed on 5 January
alert: {name}
input: logs
where: log.contains("refused")
"""
YAML = {"Content-Type": "application/yaml"}


def body(name: str, **more: str) -> dict[str, str]:
    return {"text": RULE.format(name=name) + "".join(f"{key}: {value}\n" for key, value in more.items())}


def told(served: Served, key: str) -> RuleDocument | None:
    """What workers read of a rule."""
    found = [record for record in served.records(TOPIC) if record.key == key.encode()]
    return msgspec.json.decode(found[-1].value or b"", type=RuleDocument) if found else None


def test_a_rule_is_kept_as_written_and_goes_to_the_workers(served: Served) -> None:
    text = RULE.format(name="Kept")
    made = served.http.post("/api/v1/rules", content=text, headers=served.admin | YAML)
    assert made.status_code == 201, made.text
    assert made.json()["text"] == text
    assert made.json()["version"] == 1
    assert made.json()["published"] is True
    assert made.json()["author"] == "admin"
    found = told(served, "platform/Kept")
    assert found is not None
    assert (found.text, found.version, found.author) == (text, 1, "admin")
    listed = served.get("/api/v1/rules", q="kept")["items"]
    assert [(each["name"], each["state"], each["version"], each["source"]) for each in listed] == [
        ("Kept", "ok", 1, "stored")
    ]
    again = served.http.post("/api/v1/rules", content=text, headers=served.admin | YAML)
    assert again.status_code == 409


def test_versions_rollback_and_deletion(served: Served) -> None:
    path = "/api/v1/rules/Story"

    def put(expected: int, **more: str) -> Any:
        return served.http.put(f"{path}?version={expected}", json=body("Story", **more), headers=served.admin)

    assert put(-1).json()["version"] == 1
    assert put(1, severity="critical").json()["version"] == 2
    late = put(1, severity="info")
    assert late.status_code == 409
    assert late.json()["version"] == 2
    back = served.http.post(f"{path}/rollback", json={"version": 1}, headers=served.admin)
    assert back.json()["version"] == 3
    assert "critical" not in back.json()["text"]
    assert served.http.delete(path, headers=served.admin).status_code == 204
    assert served.http.get(path, headers=served.admin).status_code == 404
    gone = told(served, "platform/Story")
    assert gone is not None
    assert (gone.deleted, gone.version) == (True, 4)
    items = served.get(f"{path}/versions")["items"]
    assert [(each["version"], each["verb"]) for each in items] == [
        (4, "delete"), (3, "rollback"), (2, "update"), (1, "create"),
    ]  # fmt: skip
    assert served.http.post(f"{path}/rollback", json={"version": 2}, headers=served.admin).json()["version"] == 5
    assert "critical" in served.get(path)["text"]


def test_a_draft_stands_beside_until_it_is_promoted(served: Served) -> None:
    path = "/api/v1/rules/Tried"
    served.http.put(path, json=body("Tried"), headers=served.admin)
    drafted = served.http.put(
        f"{path}?draft=true", json=body("Tried", severity="critical"), headers=served.admin
    ).json()
    assert "critical" in drafted["draft"]
    assert "critical" not in drafted["text"]
    assert served.get("/api/v1/rules", q="tried")["items"][0]["draft"] is True
    promoted = served.http.post(f"{path}/promote", headers=served.admin).json()
    assert "critical" in promoted["text"]
    assert promoted["draft"] == ""
    assert served.http.post(f"{path}/promote", headers=served.admin).status_code == 404
    served.http.put(f"{path}?draft=true", json=body("Tried"), headers=served.admin)
    assert served.http.delete(f"{path}/draft", headers=served.admin).json()["draft"] == ""


@pytest.mark.parametrize(
    ("text", "line", "at"),
    [
        ("alert: A\ninput: logs\nwhere: log.contains(\n", 3, "where"),
        ("alert: A\ninput: nothing\nwhere: 'true'\n", 2, "input"),
        ("alert: A\ninput: logs\nwhere: 'true'\nwere: 1\n", 4, "were"),
        ("alert: [", 1, ""),
        ("groups: []\n", 1, ""),
        ("alert: Other\ninput: logs\nwhere: 'true'\n", 1, "alert"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_field(served: Served, text: str, line: int, at: str) -> None:
    answer = served.http.put("/api/v1/rules/A", content=text, headers=served.admin | YAML)
    assert answer.status_code == 422, answer.text
    first = answer.json()["errors"][0]
    assert (first["line"], first["at"]) == (line, at) or (at == "" and first["line"] >= 1), answer.text
    assert first["reason"]


def test_tenants_have_rules_of_their_own(served: Served) -> None:
    shop = served.token("rules:read", "rules:write", tenant="shop")
    data = served.token("rules:read", "rules:write", tenant="data")
    for who in (shop, data):
        assert served.http.post("/api/v1/rules", json=body("Mine"), headers=who).status_code == 201
    found = told(served, "shop/Mine")
    assert found is not None
    assert found.tenant == "shop"
    listed = served.http.get("/api/v1/rules", headers=shop).json()["items"]
    assert {(each["name"], each["tenant"]) for each in listed} == {("Mine", "shop")}
    forged = served.http.post("/api/v1/rules", json=body("Theirs", tenant="data"), headers=shop)
    assert forged.status_code == 422
    assert "yours is shop" in forged.text
    for method, path in (("GET", "Mine"), ("DELETE", "Mine"), ("GET", "Mine/versions")):
        answer = served.http.request(method, f"/api/v1/rules/{path}?tenant=data", headers=shop)
        assert answer.status_code == 422, answer.text
    assert served.http.get("/api/v1/rules/Kept", headers=shop).status_code == 404
    assert served.http.get("/api/v1/rules/Mine?tenant=data", headers=served.admin).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("PUT", "/X"), ("DELETE", "/X"), ("POST", "/X/promote"), ("DELETE", "/X/draft")]
)
def test_a_reader_changes_nothing(served: Served, method: str, path: str) -> None:
    reader = served.token("rules:read")
    answer = served.http.request(method, f"/api/v1/rules{path}", headers=reader, json=body("X"))
    assert answer.status_code == 403
    assert answer.json()["scope"] == "rules:write"


def test_every_change_is_audited(served: Served) -> None:
    served.http.put("/api/v1/rules/Audited", json=body("Audited"), headers=served.admin)
    served.http.put("/api/v1/rules/Audited", json=body("Audited", severity="info"), headers=served.admin)
    entries = [msgspec.json.decode(record.value or b"") for record in served.records("platform.audit")]
    mine = [each for each in entries if each["object"] == "rule/platform/Audited"]
    assert [each["verb"] for each in mine] == ["create", "update"]
    assert mine[1]["before"]["version"] == 1
    assert "severity: info" in mine[1]["after"]["text"]


def test_what_was_committed_and_not_told_is_told_later(served: Served) -> None:
    """A kill between the commit and the topic, and a database that is older than the topic."""
    engine = connect(served.settings)
    key = rules.Key("shop", "Forgotten")
    with Session(engine) as session:
        rules.create(session, rules.Change(key, "create", "ada", 1_767_607_200_000), RULE.format(name="Forgotten"))
    eventually(lambda: (found := told(served, "shop/Forgotten")) and found.version == 1, 30)
    with Session(engine) as session:
        row = session.get(StoredRule, key)
        assert row is not None
        session.delete(row)
        session.commit()

    def restored() -> bool:
        with Session(engine) as session:
            row = session.get(StoredRule, key)
            return row is not None and row.version == 1 and row.text == RULE.format(name="Forgotten")

    eventually(restored, 30)
    engine.dispose()


def test_the_higher_version_wins() -> None:
    def on_topic(version: int) -> RuleDocument:
        return RuleDocument(tenant="t", name="a", version=version)

    assert differing({"t/a": 2}, {}) == (["t/a"], [])
    assert differing({"t/a": 2}, {"t/a": on_topic(1)}) == (["t/a"], [])
    assert differing({"t/a": 2}, {"t/a": on_topic(2)}) == ([], [])
    assert differing({"t/a": 2}, {"t/a": on_topic(3)}) == ([], [on_topic(3)])
    assert differing({}, {"t/a": on_topic(3)}) == ([], [on_topic(3)])
