"""Rules stored by the API: whose they are, what a draft is, and when windows wait for a version."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, ItemsView

import pytest

from schemas.base import encode
from schemas.rules import Match, RuleDocument, document_key
from streams.record import Record
from streams.rules.cases import episodes_of
from streams.rules.held import WAIT_MS, Rules
from streams.rules.rehearsal import Rehearsal
from streams.rules.ruleset import Loader, RuleSet
from streams.rules.stored import Stored, parsed, read

BARE = 'alert: Refused\ninput: logs\nwhere: log.contains("refused") || level == "error"\n'
START_MS = 1_767_607_200_000


def stored(tenant: str = "shop", version: int = 1, **more: object) -> RuleDocument:
    return RuleDocument(**{"tenant": tenant, "name": "Refused", "version": version, "text": BARE} | more)  # type: ignore[arg-type]


def played(rules: RuleSet, *records: dict[str, object]) -> list[tuple[str, str, str]]:
    """(source, tenant, cluster) of the alerts the records make."""
    rehearsal = Rehearsal(rules, "logs", START_MS + 60_000, random.Random(1))
    values = [encode(record) for record in records]
    rehearsal.produce(Record("logs", 0, n, None, value, START_MS + n) for n, value in enumerate(values))
    rehearsal.run()
    return sorted({(alert.source, alert.tenant, alert.labels["alertname"]) for alert in rehearsal.alerts})


def test_a_tenants_rule_sees_its_own_records_alone() -> None:
    rules = RuleSet([*read(stored()).rules, *read(stored("data")).rules])
    assert set(rules.rules) == {"shop/Refused", "data/Refused"}
    assert played(rules, {"log": "refused"}, {"log": "refused", "tenant": "data"}) == [
        ("rule/data/Refused", "data", "Refused")
    ]
    assert played(rules, {"level": "error", "tenant": "data"}) == [("rule/data/Refused", "data", "Refused")]
    assert played(rules, {"log": "refused", "tenant": ["shop", "data"]}) == []


def test_the_platforms_rule_sees_all_and_may_speak_for_a_tenant() -> None:
    rules = RuleSet(read(stored("platform", text=BARE + "tenant: data\n")).rules)
    assert played(rules, {"log": "refused"}) == [("rule/Refused", "data", "Refused")]


def test_a_tenant_cannot_make_rules_of_another() -> None:
    rule, errors = parsed(BARE + "tenant: data\n", "x", "shop")
    assert rule is None
    assert errors == ["x:1: tenant: yours is shop"]


@pytest.mark.parametrize("where", ["log == 'a' || true) || (true", "log == 'a') // ", "true //"])
def test_no_condition_leaves_its_tenant(where: str) -> None:
    rule, errors = parsed(f"alert: A\ninput: logs\nwhere: {encode(where).decode()}\n", "x", "shop")
    assert errors or played(RuleSet([rule] if rule else []), {"log": "a"}, {"log": "a", "tenant": "data"}) == []


def test_a_draft_stands_beside_and_tells_nobody() -> None:
    rules = RuleSet(read(stored(draft=BARE.replace("refused", "declined"))).rules)
    assert set(rules.rules) == {"shop/Refused", "shop/Refused~shadow"}
    rehearsal = Rehearsal(rules, "logs", START_MS + 60_000, random.Random(1))
    value = encode({"log": "declined and refused", "tenant": "shop"})
    rehearsal.produce([Record("logs", 0, 0, None, value, START_MS)])
    rehearsal.run()
    sources = [alert.source for alert in rehearsal.alerts]
    assert sources.count("rule/shop/Refused~shadow") == 2  # begins and ends
    assert sources.count("rule/shop/Refused") == 4  # and beside the draft's, to be compared
    assert len(episodes_of(rehearsal.alerts)) == 1


def test_what_is_wrong_with_a_document_is_told_and_stops_no_other() -> None:
    found = Stored().read([stored(text="alert: Refused\ninput: logs\n"), stored("data", draft="a: [")])
    assert [rule.key for rule in found.rules] == ["data/Refused"]
    assert found.errors[0] == "stored/shop/Refused:1: expected where: a condition on the record"
    assert found.errors[1].startswith("stored/data/Refused:")


def test_a_file_may_hold_the_one_rule_and_no_more() -> None:
    group = "groups:\n- name: g\n  rules:\n  - {alert: A, input: logs, where: 'true'}\n"
    assert parsed(group, "x", "platform")[0]
    two = group + "  - {alert: B, input: logs, where: 'true'}\n"
    assert parsed(two, "x", "platform") == (None, ["x:1: expected one rule, not 2"])


def test_a_stored_rule_replaces_a_shipped_one_but_not_one_of_a_file() -> None:
    mine = read(stored("platform", name="KubePodBackOff")).rules
    loader = Loader()
    assert loader.load(mine).rules["KubePodBackOff"].input == "logs"
    again = read(stored("platform", name="KubePodBackOff")).rules
    loader.load([*mine, *again])
    name = "stored/platform/KubePodBackOff:1"
    assert loader.errors == [f"{name}: KubePodBackOff: the name is taken in {name}"]


class Documents:
    """A view whose time to change has come when the test says so."""

    def __init__(self) -> None:
        self.ready = False
        self.table: dict[str, RuleDocument] = {}
        self.changed: list[Callable[[str, RuleDocument | None], None]] = []

    def items(self) -> ItemsView[str, RuleDocument]:
        return self.table.items()

    def on_change(self, callback: Callable[[str, RuleDocument | None], None]) -> None:
        self.changed.append(callback)

    def put(self, document: RuleDocument) -> None:
        self.table[document.key] = document
        self.changed[0](document.key, document)


def match(version: int, rule: str = "shop/Refused") -> Match:
    return Match(rule=rule, rule_hash="x", version=version, group={}, topic="logs", partition=0, offset=0, time_ms=1)


def test_rules_are_followed_and_nothing_is_decided_before_they_are_known() -> None:
    async def scenario() -> None:
        documents, now = Documents(), [1000]
        rules = Rules("", documents, lambda: now[0])  # type: ignore[arg-type]
        assert not rules.ready
        assert not rules.current.complete
        waiting = asyncio.create_task(rules.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        documents.ready = True
        documents.put(stored())
        await asyncio.wait_for(waiting, 10)
        assert rules.ready
        assert rules.current.complete
        assert rules.current.rules["shop/Refused"].version == 1
        assert not rules.waits_for(match(1))
        assert not rules.waits_for(match(0, "OfAFile"))
        assert rules.waits_for(match(2))
        now[0] += WAIT_MS  # it does not come: perhaps the topic was made anew
        assert not rules.waits_for(match(2))
        before = rules.current
        documents.put(stored(version=2, deleted=True))
        for _ in range(1000):
            if rules.current is not before:
                break
            await asyncio.sleep(0.005)
        assert "shop/Refused" not in rules.current.rules
        assert not rules.waits_for(match(1))

    asyncio.run(scenario())


def test_an_empty_topic_is_known_too() -> None:
    async def scenario() -> None:
        documents = Documents()
        documents.ready = True
        rules = Rules("", documents)  # type: ignore[arg-type]
        await rules.wait()
        assert rules.current.complete

    asyncio.run(scenario())


def test_the_document_of_a_rule() -> None:
    for key in ("shop/A", "shop/A~shadow"):
        assert document_key(key) == "shop/A"
    assert document_key("A~shadow") == "platform/A"
