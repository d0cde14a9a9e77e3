"""The verdict on alerts under kills tells what is wrong."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from schemas.alerts import Alert, AlertState, Status
from schemas.notifications import Decision, Notification
from schemas.rule_document import Detection
from streams.rules.document import parse_document
from tests.chaos.rules_plan import DOCUMENT, RULES, judge, of_alerts, values

STATE = AlertState(
    tenant="t", fingerprint="a", episode="e1", state=Status.FIRING, labels={}, starts_at_ms=1, updated_at_ms=1, seq=1
)


def state(**more: Any) -> AlertState:
    return msgspec.structs.replace(STATE, **more)


OVER = state(state=Status.RESOLVED, ends_at_ms=5, seq=2)
TOLD = Notification(
    id="n1", tenant="t", receiver="ops", group_key="g", group_labels={}, flush=1, decision=Decision.SEND,
    status="resolved", alerts=[OVER], decided_at_ms=6,
)  # fmt: skip
WANTED = {("a", 1, 5)}


def test_as_undisturbed_and_one_double_a_kill_is_good() -> None:
    assert judge(WANTED, [STATE, OVER, STATE, OVER], [TOLD, TOLD], ["n1"], 1).good
    assert judge(WANTED, [STATE, OVER], [TOLD], ["n1", "n1"], 1).good


@pytest.mark.parametrize(
    ("wrong", "states", "decisions", "delivered"),
    [
        ("lost", [], [TOLD], ["n1"]),
        ("strange", [STATE, OVER, state(fingerprint="b")], [TOLD], ["n1"]),
        ("lost", [STATE], [TOLD], ["n1"]),
        ("crooked", [STATE, state(seq=1, episode="e2"), OVER], [TOLD], ["n1"]),
        ("crooked", [STATE, state(state=Status.RESOLVED, ends_at_ms=5, seq=3)], [TOLD], ["n1"]),
        ("untold", [STATE, OVER], [], []),
        ("missing", [STATE, OVER], [TOLD], []),
        ("unknown", [STATE, OVER], [TOLD], ["n1", "n2"]),
    ],
)
def test_what_is_wrong_is_named(
    wrong: str, states: list[AlertState], decisions: list[Notification], delivered: list[str]
) -> None:
    verdict = judge(WANTED, states, decisions, delivered, 1)
    assert not verdict.good
    assert getattr(verdict, wrong)
    assert wrong in str(verdict)


def test_more_doubles_than_kills_are_too_many() -> None:
    assert not judge(WANTED, [STATE, OVER], [TOLD], ["n1"] * 3, 1).good


def test_rules_are_of_every_type_and_records_of_a_seed_the_same() -> None:
    rules, errors = parse_document(DOCUMENT, "chaos.yaml")
    assert not errors
    assert len(rules) == RULES
    assert {rule.type for rule in rules} == set(Detection)
    assert list(values(50, random.Random(3))) == list(values(50, random.Random(3)))


def test_an_episode_ends_when_the_last_observation_says_so() -> None:
    fires = Alert(labels={}, starts_at_ms=1, observed_at_ms=1, fingerprint="a")
    over = Alert(labels={}, starts_at_ms=1, observed_at_ms=5, ends_at_ms=5, fingerprint="a")
    assert of_alerts([fires]) == {("a", 1, 0)}
    assert of_alerts([fires, over, fires]) == WANTED
