"""Who is kept for how long: the rules, the condition that hides the expired, and that both say the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.retention.policy import Policy
from streams.settings import Retention, RetentionRule, Tier, WrongSettings, load
from streams.sinks.index.fields import draw
from streams.sinks.index.ids import DAY_MS, OLDEST_MS
from streams.sinks.index.language_match import Matcher
from streams.sinks.index.port import Kind
from tests.index.conftest import NOON

RULES = Retention(
    default_days=7,
    rules=[
        RetentionRule(namespace="shop-*", days=3),
        RetentionRule(cluster="prod", namespace="audit", days=0),
        RetentionRule(kinds=["audit"], days=365),
        RetentionRule(cluster="test*", days=0.5),
    ],
)


@pytest.mark.parametrize(
    ("kind", "cluster", "namespace", "days"),
    [
        ("logs", "prod", "shop-eu", 3),
        ("logs", "prod", "shop", 7),
        ("logs", "prod", "audit", float("inf")),
        ("logs", "other", "audit", 7),
        ("audit", "", "", 365),
        ("events", "test-1", "", 0.5),
        ("logs", "test-1", "shop-eu", 3),
        ("gaps", "", "", 7),
    ],
)
def test_the_first_rule_that_matches_decides(kind: str, cluster: str, namespace: str, days: float) -> None:
    found = Policy(RULES).days(Kind(kind), filter(None, [cluster]), filter(None, [namespace]))
    assert found == days


def test_without_settings_everything_is_kept() -> None:
    policy = Policy(Retention())
    assert policy.forever
    assert policy.shown(Kind.LOGS, NOON) is None
    assert not policy.expired(Kind.LOGS, ["c"], ["n"], OLDEST_MS, NOON)


def test_a_question_about_what_nobody_lost_is_asked_as_it_is() -> None:
    policy = Policy(RULES)
    assert policy.shown(Kind.LOGS, NOON, NOON - 3_600_000) is None
    assert policy.shown(Kind.LOGS, NOON, NOON - DAY_MS) is not None


def test_times_that_cannot_be_right_never_expire() -> None:
    assert not Policy(RULES).expired(Kind.LOGS, ["prod"], ["shop-eu"], 0, NOON)


_PLACES = st.sampled_from(["prod", "test-1", "audit", "shop-eu", "shop-", "x", ""])
_GLOBS = st.sampled_from(["*", "prod", "test*", "shop-*", "*-*", "audit"])
_SETTINGS = st.builds(
    lambda default, rules: Retention(
        default_days=default, rules=[RetentionRule(cluster=c, namespace=n, days=d) for c, n, d in rules]
    ),
    st.sampled_from([0, 1, 7]),
    st.lists(st.tuples(_GLOBS, _GLOBS, st.sampled_from([0, 0.5, 1, 3, 30])), max_size=4),
)


@given(_SETTINGS, _PLACES, _PLACES, st.integers(-40 * DAY_MS, DAY_MS) | st.just(-NOON))
def test_the_condition_hides_exactly_what_has_expired(
    settings: Retention, cluster: str, namespace: str, age: int
) -> None:
    policy, time_ms = Policy(settings), NOON + age
    value: dict[str, Any] = {"cluster": cluster, "kubernetes": {"namespace_name": namespace}}
    shown = policy.shown(Kind.LOGS, NOON)
    expired = policy.expired(Kind.LOGS, filter(None, [cluster]), filter(None, [namespace]), time_ms, NOON)
    assert (shown is None or Matcher(shown)(draw(Kind.LOGS, value), time_ms)) == (not expired)
    if time_ms >= policy.newest_expired_ms(Kind.LOGS, NOON):
        assert not expired


def test_rules_are_settings() -> None:
    found = load(environ={"EVENTSPHERE_RETENTION__RULES": '[{"namespace": "shop-*", "kinds": ["logs"], "days": 3}]'})
    assert found.retention.rules == [RetentionRule(namespace="shop-*", kinds=["logs"], days=3)]
    with pytest.raises(WrongSettings, match="kinds"):
        load(environ={"EVENTSPHERE_RETENTION__RULES": '[{"kinds": ["log"], "days": 3}]'})


def test_a_tier_keeps_the_logs_of_its_namespaces_as_long_as_it_says_where_no_rule_does() -> None:
    rule = RetentionRule(namespace="dev-kept", days=90)
    tiers = [Tier(name="short", namespaces=["dev-*"], days=2), Tier(name="gold", tenants=["gold"], days=1)]
    policy = Policy(Retention(default_days=30, rules=[rule]), tiers)
    days = [policy.days(Kind.LOGS, (), (namespace,)) for namespace in ("dev-kept", "dev-a", "shop")]
    assert days == [90, 2, 30]
    assert policy.days(Kind.EVENTS, (), ("dev-a",)) == 30
