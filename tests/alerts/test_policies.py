"""Policies beside an alertmanager.yml: repeats, digests, quiet hours, escalation, inhibition by level."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from schemas.alerting import AlertingConfig, Reason
from schemas.alerts import Acknowledged, AlertState, Status
from schemas.notifications import Decision
from streams.alerting import WrongConfig, load
from streams.policy_file import apply
from streams.settings import Alerting, Settings
from tests.alerts.test_groups import T0, S, World

CONFIG = """\
route:
  receiver: team
  group_by: [alertname]
  group_wait: 10s
  group_interval: 60s
  repeat_interval: 10m
receivers:
  - name: team
    webhook_configs: [{url: "http://x"}]
  - name: boss
    webhook_configs: [{url: "http://y"}]
"""
M = 60


class Ruled(World):
    """A world under a document of policies."""

    def __init__(self, tmp_path: Path, policies: str, config: str = CONFIG) -> None:
        super().__init__(config)
        file = tmp_path / "policies.yml"
        file.write_text(policies, "utf-8")
        self.around.parsed, wrong = apply(str(file), self.around.parsed)
        assert not wrong

    def acknowledge(self, alert: AlertState, by: str = "ada", *, snoozed: bool = False) -> None:
        changed = self.alert(alert.labels, starts=alert.starts_at_ms)
        self.take(_replaced(changed, Acknowledged(by=by, at_ms=self.now, snoozed=snoozed)))

    def told(self, receiver: str = "team") -> list[tuple[int, str]]:
        return [(at // S, n.reason) for at, n in self.sent if n.decision is Decision.SEND and n.receiver == receiver]

    def kept_back(self) -> list[tuple[str, str]]:
        return [(n.receiver, n.reason) for _, n in self.sent if n.decision is Decision.MUTED]


def _replaced(alert: AlertState, acknowledged: Acknowledged) -> AlertState:
    import msgspec

    return msgspec.structs.replace(alert, acknowledged=acknowledged)


def test_what_never_repeats_is_told_once_and_when_it_is_over(tmp_path: Path) -> None:
    world = Ruled(tmp_path, 'repeat: [{matchers: [severity="info"], never: true}]')
    world.fire(severity="info")
    world.run(3600 * 3)
    world.resolve(severity="info")
    world.run(2 * M)
    assert [reason for _, reason in world.told()] == [Reason.FIRST, Reason.ALL_RESOLVED]


def test_repeats_grow_up_to_a_longest_and_end(tmp_path: Path) -> None:
    document = "repeat: [{matchers: [severity=warn], every: 5m, factor: 2, max: 15m, times: 4}]"
    world = Ruled(tmp_path, document)
    world.fire(severity="warn")
    world.run(3 * 3600)
    times = [at for at, _ in world.told()]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == [6 * M, 11 * M, 16 * M, 16 * M]  # the group is looked at each minute, and beyond the wait
    world.fire(severity="warn", pod="2")
    world.run(8 * M)
    assert [reason for _, reason in world.told()[-2:]] == [Reason.NEW_ALERTS, Reason.REPEAT], "news begin them anew"


def test_the_most_urgent_alert_of_a_group_decides_and_others_keep_the_routes_repeat(tmp_path: Path) -> None:
    document = "repeat: [{matchers: [severity=info], never: true}, {matchers: [severity=critical], every: 2m}]"
    world = Ruled(tmp_path, document)
    world.fire(severity="info")
    world.fire(severity="other", pod="1")
    world.run(30 * M)
    assert len(world.told()) == 3
    world.fire(severity="critical")
    before = len(world.told())
    world.run(10 * M)
    assert len(world.told()) - before == 4
    restarted = len(world.told())
    world.restart()
    world.run(3 * M)
    assert len(world.told()) == restarted + 1, "the count of repeats is kept over a restart"


def test_a_digest_collects_to_the_end_of_its_period(tmp_path: Path) -> None:
    world = Ruled(tmp_path, "digest: [{name: hourly, matchers: [severity=info], every: 1h}]")
    world.fire(severity="info", pod="1")
    world.fire(severity="info", pod="2", alertname="B")
    world.fire(severity="critical")
    world.run(20 * M)
    world.resolve(severity="info", pod="1")
    world.restart()
    world.run(41 * M)
    digests = [n for _, n in world.sent if n.reason == Reason.DIGEST]
    (digest,) = digests
    assert digest.decided_at_ms % 3_600_000 < 2 * S, "it is told at the full hour"
    assert digest.group_key == "digest/hourly"
    assert sorted((a.labels["pod"], a.state) for a in digest.alerts) == [("1", Status.RESOLVED), ("2", Status.FIRING)]
    assert world.told()[0] == (10, Reason.FIRST), "what is critical does not wait"
    world.resolve(severity="info", pod="2", alertname="B")
    world.run(60 * M)
    assert [n.status for _, n in world.sent if n.reason == Reason.DIGEST] == ["firing", "resolved"]
    world.run(120 * M)
    assert len([n for _, n in world.sent if n.reason == Reason.DIGEST]) == 2, "an empty digest is none"


def test_in_quiet_hours_only_what_may_gets_through(tmp_path: Path) -> None:
    # T0 is 22:13:20 UTC on a Tuesday.
    document = """\
quiet_hours:
- name: evening
  receivers: [team]
  but: [severity="critical"]
  times: [{times: [{start_time: "22:00", end_time: "23:00"}]}]
"""
    world = Ruled(tmp_path, document)
    world.fire(severity="warn", alertname="W")
    world.fire(severity="warn", alertname="Over")
    world.fire(severity="critical", alertname="C")
    world.run(10 * M)
    assert [n.alerts[0].labels["alertname"] for _, n in world.sent if n.decision is Decision.SEND] == ["C"]
    assert ("team", "quiet hours evening") in world.kept_back()
    world.resolve(severity="warn", alertname="Over")
    world.run(40 * M)
    told = {n.alerts[0].labels["alertname"]: n for _, n in world.sent if n.decision is Decision.SEND}
    assert told.keys() == {"C", "W"}, "what still fires is told afterwards, what is over is not"
    assert told["W"].decided_at_ms >= T0 + (46 * M + 40) * S


@pytest.fixture
def escalating(tmp_path: Path) -> Ruled:
    document = """\
escalate: [{name: lead, matchers: [severity=critical], after: 15m, to: boss, repeat: 30m}]
repeat: [{matchers: [severity=critical], every: 5m}]
"""
    return Ruled(tmp_path, document)


def test_what_nobody_takes_on_is_escalated(escalating: Ruled) -> None:
    world = escalating
    world.fire(severity="critical")
    world.run(14 * M)
    assert world.told("boss") == []
    world.restart()
    world.run(60 * M)
    first, *repeats = world.told("boss")
    assert first == (15 * M, Reason.ESCALATED)
    assert [reason for _, reason in repeats] == [Reason.REPEAT]
    world.resolve(severity="critical")
    world.run(2 * M)
    assert world.told("boss")[-1][1] == Reason.ALL_RESOLVED
    ids = [n.id for _, n in world.sent]
    assert len(ids) == len(set(ids))


def test_what_is_taken_on_or_over_in_time_is_not_escalated(escalating: Ruled) -> None:
    world = escalating
    taken = world.fire(severity="critical", alertname="Taken")
    world.fire(severity="critical", alertname="Over")
    world.fire(severity="warn", alertname="Other")
    world.run(5 * M)
    world.acknowledge(taken)
    world.resolve(severity="critical", alertname="Over")
    world.run(60 * M)
    assert world.told("boss") == []
    assert ("boss", "acknowledged by ada: not escalated") in world.kept_back()
    world.acknowledge(taken, by="")
    world.take(
        _replaced(world.alert(taken.labels, starts=taken.starts_at_ms), Acknowledged(by="x", at_ms=1, until_ms=2))
    )
    world.run(2 * M)
    assert [reason for _, reason in world.told("boss")] == [Reason.ESCALATED], "given back, it is"


def test_taken_on_after_it_was_escalated_it_is_not_repeated_but_its_end_is_told(escalating: Ruled) -> None:
    world = escalating
    alert = world.fire(severity="critical")
    world.run(16 * M)
    world.acknowledge(alert)
    world.run(60 * M)
    assert len(world.told("boss")) == 1
    world.resolve(severity="critical")
    world.run(2 * M)
    assert [reason for _, reason in world.told("boss")] == [Reason.ESCALATED, Reason.ALL_RESOLVED]


def test_a_snoozed_alert_is_not_told_until_it_is_over(tmp_path: Path) -> None:
    world = Ruled(tmp_path, "repeat: []")
    alert = world.fire(pod="1")
    world.run(20)
    world.acknowledge(alert, snoozed=True)
    world.fire(pod="2")
    world.run(30 * M)
    later = [n for _, n in world.sent if n.decision is Decision.SEND][1:]
    assert [[a.labels["pod"] for a in n.alerts] for n in later] == [["2"]] * len(later)
    assert [(n.decision, n.reason) for _, n in world.sent if "snoozed" in n.reason] == [
        (Decision.SILENCED, "snoozed by ada until it resolves")
    ]
    world.resolve(pod="1")
    world.run(2 * M)
    assert world.told()[-1][1] == Reason.SOME_RESOLVED


def test_alerts_of_a_node_or_workload_mute_those_of_its_pods(tmp_path: Path) -> None:
    world = Ruled(tmp_path, "inhibit_levels: {source: [severity=critical]}")
    world.fire(alertname="NodeDown", severity="critical", cluster="c", node="n1")
    world.fire(alertname="Stuck", severity="critical", cluster="c", namespace="shop", workload="web")
    world.fire(alertname="Pod", cluster="c", node="n1", namespace="x", pod="p1")
    world.fire(alertname="Pod", cluster="c", node="n2", namespace="x", pod="p2")
    world.fire(alertname="Pod", cluster="other", node="n1", namespace="x", pod="p3")
    world.fire(alertname="Pod", cluster="c", node="n3", namespace="shop", workload="web", pod="p4")
    world.fire(alertname="Pod", severity="critical", cluster="c", node="n4", namespace="x", pod="p5")
    world.run(20)
    told = {a.labels.get("pod", "") for _, n in world.sent if n.decision is Decision.SEND for a in n.alerts}
    assert told == {"", "p2", "p3", "p5"}
    assert {a.labels["pod"] for _, n in world.sent if n.decision is Decision.INHIBITED for a in n.alerts} == {
        "p1",
        "p4",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ":1: is empty"),
        ("x: 1", ":1: x: no such field"),
        ("repeat:\n- {matchers: [a=b]}", ":2: repeat[0]: expected one of every: a duration, or never: true"),
        ("repeat:\n- {matchers: [a=b], every: 5m, never: true}", "expected one of every"),
        ("repeat:\n- {matchers: [], every: 5m}", ":2: repeat[0].matchers: expected at least one matcher"),
        ("repeat:\n- {every: 0s}", ":2: repeat[0].every: must be longer than nothing"),
        ("repeat:\n- {matchers: ['a=~\"(\"'], every: 1m}", ":2: repeat[0].matchers[0]: regular expression"),
        ("repeat:\n- {matchers: [a=b], every: 1m, factor: 0}", ":2: repeat[0].factor: expected 1 to 100"),
        ("digest:\n- {matchers: [a=b], every: 1h}", ":2: digest[0]: expected a name"),
        ("digest:\n- {name: x, matchers: [a=b], every: 7h}", ":2: digest[0].every: expected days, or what"),
        ("digest:\n- {name: x, matchers: [a=b], every: 1h, receivers: [who]}", "receivers[0]: no receiver named"),
        ("escalate:\n- {name: x, matchers: [a=b], after: 1m, to: who}", ":2: escalate[0].to: no receiver named 'who'"),
        ("escalate:\n- {name: x, matchers: [a=b], to: boss}", ":2: escalate[0]: expected after"),
        ("escalate:\n- &e {name: x, matchers: [a=b], after: 1m, to: boss}\n- *e", "the name 'x' is taken"),
        ("quiet_hours:\n- {name: x, receivers: [team], times: [{weekdays: [x]}]}", ".weekdays[0]: expected one"),
        ("inhibit_levels: {}", ":1: inhibit_levels: expected source"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "am.yml").write_text(CONFIG, "utf-8")
    (tmp_path / "p.yml").write_text(text, "utf-8")
    settings = Settings(alerting=Alerting(config=str(tmp_path / "am.yml"), policies=str(tmp_path / "p.yml")))
    with pytest.raises(WrongConfig) as caught:
        load(settings)
    assert complaint in str(caught.value)
    assert all(line.startswith(str(tmp_path / "p.yml")) for line in str(caught.value).splitlines())


def test_policies_hold_for_the_default_configuration_too(tmp_path: Path) -> None:
    file = tmp_path / "p.yml"
    file.write_text("escalate: [{name: x, matchers: [severity=critical], after: 1m, to: mailbox}]", "utf-8")
    config: AlertingConfig = load(Settings(alerting=Alerting(policies=str(file))))
    assert config.policies.escalate[0].after_ms == M * S
