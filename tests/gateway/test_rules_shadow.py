"""A draft beside its live version: how alerts are paired, and what the API says of them."""

from __future__ import annotations

import msgspec

from gateway.principal import Principal
from gateway.rules_seen import OfFiles, item, seen
from gateway.rules_shadow import compared, difference, since_ms
from schemas.alerts import Alert, AlertState, Status, fingerprint
from schemas.tables import RuleVersion, StoredRule
from streams.rules.cases import Episode

OWN = frozenset({"severity", "team"})


def episode(from_ms: int, until_ms: int = 0, **labels: str) -> Episode:
    known = {"alertname": "A", **labels}
    return Episode("A", fingerprint(known), from_ms, until_ms, known, {}, 1)


def test_alerts_about_the_same_at_the_same_time_are_paired_once() -> None:
    live = [episode(10, 20, pod="a", severity="warning"), episode(30, 40, pod="a"), episode(10, 20, pod="b")]
    draft = [
        episode(10, 20, pod="a", severity="warning"),
        episode(35, 0, pod="a", severity="critical", team="x"),
        episode(10, 20, pod="c"),
        episode(50, 60, pod="a"),
    ]
    found = compared(live, draft, OWN)
    assert found.same == [(live[0], draft[0])]
    assert found.changed == [(live[1], draft[1])]
    assert found.only_live == [live[2]]
    assert found.only_shadow == [draft[2], draft[3]]


def test_what_fired_before_the_draft_was_there_is_no_difference() -> None:
    def alert(starts_at_ms: int) -> Alert:
        return Alert(labels={"a": "b"}, starts_at_ms=starts_at_ms, observed_at_ms=60, fingerprint="f")

    found = difference([alert(10), alert(50)], [], OWN, 40)
    assert [each.from_ms for each in found.only_live] == [50]


def test_a_draft_is_there_since_its_text_is() -> None:
    def version(number: int, text: str, draft: str) -> RuleVersion:
        return RuleVersion(tenant="t", name="a", version=number, verb="", text=text, draft=draft, at_ms=number * 100)

    drafted = [version(4, "x", "d"), version(3, "w", "d"), version(2, "w", "c"), version(1, "w", "")]
    assert since_ms(drafted) == 300
    shadow_alone = [version(3, "x", ""), version(2, "x", ""), version(1, "w", "")]
    assert since_ms(shadow_alone) == 200


def test_a_rule_that_was_put_aside_is_shown_so() -> None:
    row = StoredRule(tenant="shop", name="A", version=1, text="alert: A\ninput: logs\nwhere: 'true'\n")
    alert = AlertState(
        tenant="shop", fingerprint="f", episode="e", state=Status.FIRING, labels={"rule": "shop/A"},
        annotations={"summary": "took too much"}, starts_at_ms=1, updated_at_ms=1, seq=1, source="rule-budget",
    )  # fmt: skip
    shop = Principal("token/x", tenant="shop")
    found = seen([row], OfFiles([], []), [alert], shop)
    assert [(each["state"], each["errors"]) for each in map(item, found)] == [("quarantined", ["took too much"])]
    over = msgspec.structs.replace(alert, state=Status.RESOLVED)
    assert [each.state for each in seen([row], OfFiles([], []), [over], shop)] == ["ok"]
