"""Why an alert is told, and why not: one reason, the first that holds."""

from __future__ import annotations

import msgspec
import pytest

from gateway.api.explain import where
from schemas.alerts import Acknowledged, AlertState, Status, Suppressed
from schemas.policies import Escalation, Policies
from streams.alerting import parse

NOW = 1_767_607_200_000
CONFIG = parse("""\
route:
  receiver: team
  routes:
  - {receiver: night, matchers: [severity="info"], mute_time_intervals: [always], continue: true}
  - {receiver: team}
time_intervals: [{name: always, time_intervals: [{}]}]
receivers: [{name: team}, {name: night}]
""")


def alert(state: Status = Status.FIRING, told: Acknowledged | None = None) -> AlertState:
    return AlertState(
        tenant="platform", fingerprint="f", episode="e", state=state, labels={"severity": "info"},
        starts_at_ms=NOW - 1000, updated_at_ms=NOW - 500, seq=1, acknowledged=told,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "suppressed", "why"),
    [
        (alert(), Suppressed(), ["muted in always", "fires since 2026-01-05T09:59:59.000Z"]),
        (alert(Status.PENDING), Suppressed(silences=["s"]), ["is pending since 2026-01-05T09:59:59.500Z"] * 2),
        (alert(), Suppressed(silences=["s"], inhibited_by=["f"]), ["inhibited by f"] * 2),
        (alert(), Suppressed(silences=["s"]), ["silenced by s"] * 2),
        (alert(told=Acknowledged(by="ada", at_ms=1)), Suppressed(), ["acknowledged by ada: not repeated"] * 2),
        (alert(told=Acknowledged(by="ada", at_ms=1, until_ms=NOW)), Suppressed(),
         ["muted in always", "fires since 2026-01-05T09:59:59.000Z"]),
    ],
)  # fmt: skip
def test_the_reason(state: AlertState, suppressed: Suppressed, why: list[str]) -> None:
    found = where(CONFIG, state, suppressed, NOW)
    assert [each.receiver for each in found] == ["night", "team"]
    assert [each.why for each in found] == why
    assert [each.told for each in found] == [each.why.startswith("fires") for each in found]


def test_an_escalation_says_when_it_is_due_and_who_stopped_it() -> None:
    policies = Policies(escalate=[Escalation(name="lead", matchers=[], after_ms=60_000, to="boss")])
    config = msgspec.structs.replace(CONFIG, policies=policies)

    def told(state: AlertState, now_ms: int) -> list[tuple[bool, str]]:
        return [(each.told, each.why) for each in where(config, state, Suppressed(), now_ms) if each.receiver == "boss"]

    due = "escalates at 2026-01-05T10:00:59.000Z unless acknowledged"
    assert told(alert(), NOW) == [(False, due)] * 2, "one for each group of its routes"
    assert told(alert(), NOW + 60_000) == [(True, "fires since 2026-01-05T09:59:59.000Z")] * 2
    assert told(alert(told=Acknowledged(by="ada", at_ms=1)), NOW)[0] == (False, "acknowledged by ada: not repeated")
    snoozed = alert(told=Acknowledged(by="ada", at_ms=1, snoozed=True))
    assert told(snoozed, NOW)[0] == (False, "snoozed by ada until it resolves")
