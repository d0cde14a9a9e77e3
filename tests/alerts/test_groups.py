"""When a group is told, of what, and why not: Alertmanager's timing and deduplication, decision by decision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.group_notifications import TOPIC, GroupNotifications, parse
from agents.route_alerts import route_batch, routed
from schemas.alerting import AlertingConfig, Reason, alerts_for
from schemas.alerts import Acknowledged, AlertState, Matcher, Silence, Status, episode_id, fingerprint
from schemas.base import encode
from schemas.notifications import Decision, Notification, Routed, notification_id
from streams.alerting import parse as parse_config
from streams.batch import batch_of
from streams.decisions import MAX_ALERTS
from streams.errors import Invalid
from streams.groups import TOLD_MS, TOMBSTONE_MS, Entry
from streams.matching import parse_matchers
from streams.record import Record
from streams.state import State

T0 = 1_700_000_000_000
S = 1000
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
inhibit_rules:
  - source_matchers: [severity="page"]
    target_matchers: [severity="warn"]
    equal: [cluster]
"""
QUIET = CONFIG.replace('url: "http://x"', 'url: "http://x", send_resolved: false')


class Around:
    """What a worker's views would say."""

    def __init__(self, text: str = CONFIG) -> None:
        self.text = text
        self.parsed = parse_config(text)
        self.known: list[Silence] = []
        self.states: dict[str, AlertState] = {}
        self.complete = True

    def ready(self) -> bool:
        return self.complete

    def config(self) -> AlertingConfig:
        return self.parsed

    def silences(self) -> Iterable[Silence]:
        return self.known

    def firing(self) -> Iterable[AlertState]:
        return self.states.values()


class World:
    """The core under a clock that ticks each second; alerts come routed, as route-alerts sends them."""

    def __init__(self, text: str = CONFIG, *, shadow: bool = False) -> None:
        self.around = Around(text)
        self.shadow = shadow
        self.core = GroupNotifications(self.around, shadow=shadow)
        self.state: State[Entry] = State()
        self.now = T0
        self.seqs: dict[str, int] = {}
        self.records: list[Record] = []
        self.sent: list[tuple[int, Notification]] = []

    def alert(
        self, labels: dict[str, str], state: Status = Status.FIRING, starts: int | None = None, *, named: bool = True
    ) -> AlertState:
        labels = ({"alertname": "A"} if named else {}) | labels
        print_ = fingerprint(labels)
        self.seqs[print_] = self.seqs.get(print_, 0) + 1
        starts = self.now if starts is None else starts
        return AlertState(
            tenant="platform",
            fingerprint=print_,
            episode=episode_id("platform", print_, starts),
            state=state,
            labels=labels,
            starts_at_ms=starts,
            ends_at_ms=self.now if state is Status.RESOLVED else 0,
            updated_at_ms=self.now,
            seq=self.seqs[print_],
        )

    def fire(self, **labels: str) -> AlertState:
        return self.take(self.alert(labels))

    def resolve(self, **labels: str) -> AlertState:
        return self.take(self.alert(labels, Status.RESOLVED))

    def take(self, alert: AlertState) -> AlertState:
        self.around.states[alert.fingerprint] = alert
        for out in routed(self.around.parsed, alert):
            record = Record("alerts.routes", 0, len(self.records), out.key, out.value, self.now)
            self.records.append(record)
            self.read(record)
        return alert

    def read(self, record: Record) -> None:
        assert list(self.core.decide(self.state, record)) == []

    def run(self, seconds: float) -> list[Notification]:
        """Let time pass; what was decided meanwhile."""
        before = len(self.sent)
        end = self.now + round(seconds * S)
        while self.now < end:
            self.now = min(end, self.now + S)
            self.tick()
        return [notification for _, notification in self.sent[before:]]

    def tick(self) -> None:
        for out in self.core.tick(self.state, self.now):
            assert out.topic == TOPIC
            assert out.value
            self.sent.append((self.now - T0, msgspec.json.decode(out.value, type=Notification)))

    def restart(self) -> None:
        stored = {key: encode(entry) for key, entry in self.state.items()}
        self.state = State({key: msgspec.json.decode(raw, type=Entry) for key, raw in stored.items()})
        self.core = GroupNotifications(self.around, shadow=self.shadow)

    def mode(self, *, shadow: bool) -> None:
        """Another worker goes on, in that mode."""
        self.shadow = shadow
        self.restart()

    def silence(self, text: str, seconds: int) -> None:
        ends = self.now + seconds * S
        matchers = parse_matchers(text)
        self.around.known.append(
            Silence(id=text, matchers=matchers, starts_at_ms=0, ends_at_ms=ends, created_by="a", updated_at_ms=0)
        )

    @property
    def story(self) -> list[tuple[int, str, str, int]]:
        """(second, decision, reason, firing alerts)."""
        return [
            (at // S, n.decision.value, n.reason, sum(a.state is Status.FIRING for a in n.alerts))
            for at, n in self.sent
        ]


def test_a_group_waits_then_keeps_its_rhythm() -> None:
    world = World()
    world.fire(pod="1")
    world.run(5)
    world.fire(pod="2")
    world.run(30)
    world.fire(pod="3")
    world.run(100)
    assert world.story == [(10, "send", Reason.FIRST, 2), (70, "send", Reason.NEW_ALERTS, 3)]


@pytest.mark.parametrize(
    ("clusters", "expected"), [(["east", "east"], "east"), (["east", "west"], "home"), ([""], "home")]
)
def test_a_decision_names_the_cluster_of_its_alerts_or_the_platforms(clusters: list[str], expected: str) -> None:
    world = World()
    world.core = GroupNotifications(world.around, cluster="home")
    for number, cluster in enumerate(clusters):
        world.take(msgspec.structs.replace(world.alert({"pod": str(number)}), cluster=cluster))
    assert [each.cluster for each in world.run(30)] == [expected]


def test_it_is_repeated_after_repeat_interval() -> None:
    world = World()
    world.fire()
    world.run(1300)
    assert world.story == [
        (10, "send", Reason.FIRST, 1),
        (670, "send", Reason.REPEAT, 1),
    ]


def test_what_somebody_took_on_is_not_repeated_until_that_is_over() -> None:
    world = World()
    world.fire()
    world.run(20)
    told = Acknowledged(by="ada", at_ms=world.now, until_ms=world.now + 1_500_000)
    world.take(msgspec.structs.replace(world.alert({}, starts=T0), acknowledged=told))
    world.run(1400)
    assert [moment for moment, *_ in world.story] == [10]
    world.run(200)
    assert [(moment, kind) for moment, kind, *_ in world.story[1:]] == [(1570, "send")]


def test_a_new_alert_is_told_beside_one_that_somebody_took_on() -> None:
    world = World()
    world.fire(pod="1")
    world.run(20)
    told = Acknowledged(by="ada", at_ms=world.now)
    world.take(msgspec.structs.replace(world.alert({"pod": "1"}, starts=T0), acknowledged=told))
    world.fire(pod="2")
    world.run(60)
    assert world.story[1:] == [(70, "send", Reason.NEW_ALERTS, 2)]


def test_resolves_are_told_and_the_group_starts_anew() -> None:
    world = World()
    world.fire(pod="1")
    world.fire(pod="2")
    world.run(20)
    world.resolve(pod="1")
    world.run(60)
    world.resolve(pod="2")
    world.run(600)
    assert world.story == [
        (10, "send", Reason.FIRST, 2),
        (70, "send", Reason.SOME_RESOLVED, 1),
        (130, "send", Reason.ALL_RESOLVED, 0),
    ]
    first, second, third = (notification for _, notification in world.sent)
    assert {each.thread for each in (first, second, third)} == {first.id}
    assert (second.status, third.status) == ("firing", "resolved")
    world.fire(pod="1")
    (again,) = world.run(60)
    assert world.story[3] == (690, "send", Reason.FIRST, 1)
    assert again.thread == again.id != first.id


def test_without_send_resolved_nothing_resolved_is_told() -> None:
    world = World(QUIET)
    world.fire(pod="1")
    world.fire(pod="2")
    world.run(20)
    world.resolve(pod="1")
    world.resolve(pod="2")
    world.run(100)
    world.fire(pod="1")
    world.run(100)
    assert world.story == [(10, "send", Reason.FIRST, 2), (130, "send", Reason.FIRST, 1)]


def test_a_channel_without_send_resolved_hears_less() -> None:
    world = World()
    world.fire(pod="1")
    world.fire(pod="2")
    world.run(20)
    world.resolve(pod="1")
    world.fire(pod="3")
    world.run(60)
    world.resolve(pod="2")
    world.run(60)
    first, mixed, resolved = (notification for _, notification in world.sent)
    quiet = parse_config(QUIET).receivers[0].channels[0]
    loud = parse_config(CONFIG).receivers[0].channels[0]
    assert [len(alerts_for(each, quiet)) for each in (first, mixed, resolved)] == [2, 2, 0]
    assert [len(alerts_for(each, loud)) for each in (first, mixed, resolved)] == [2, 3, 2]


def test_what_is_over_before_anybody_was_told_does_not_page() -> None:
    world = World()
    world.fire()
    world.run(5)
    world.resolve()
    world.run(600)
    assert world.story == [(10, "digest", "resolved before anybody was told", 0)]
    assert [len(n.alerts) for _, n in world.sent] == [1]


def test_an_alert_that_started_long_ago_does_not_wait() -> None:
    world = World()
    world.take(world.alert({}, starts=T0 - 11 * S))
    world.run(2)
    assert world.story == [(1, "send", Reason.FIRST, 1)]


def test_a_silence_takes_out_and_says_so_once() -> None:
    world = World()
    world.silence("pod=1", 200)
    world.fire(pod="1")
    world.fire(pod="2")
    world.run(300)
    assert world.story == [
        (10, "silenced", "silenced by pod=1", 1),
        (10, "send", Reason.FIRST, 1),
        (250, "send", Reason.NEW_ALERTS, 2),
    ]
    assert [alert.labels["pod"] for alert in world.sent[0][1].alerts] == ["1"]


def test_a_silence_over_everything_is_neither_repeated_nor_resolved() -> None:
    world = World()
    world.fire()
    world.run(20)
    world.silence("alertname=A", 3600)
    world.run(2400)
    assert world.story == [(10, "send", Reason.FIRST, 1), (70, "silenced", "silenced by alertname=A", 1)]
    world.around.known.clear()
    world.run(60)
    assert world.story[2:] == [(2470, "send", Reason.FIRST, 1)], "what was told is forgotten: it is new"


def test_silences_that_cannot_hold_stop_nothing() -> None:
    """As another producer may have put them on the topic."""
    world = World()
    for matchers in ([Matcher(name="alertname", value="(", is_regex=True)], []):
        world.around.known.append(
            Silence(id="x", matchers=matchers, starts_at_ms=0, ends_at_ms=2 * T0, created_by="a", updated_at_ms=0)
        )
    world.fire()
    world.run(20)
    assert world.story == [(10, "send", Reason.FIRST, 1)]


def test_another_silence_is_another_decision() -> None:
    world = World()
    world.silence("alertname=A", 100)
    world.fire()
    world.run(20)
    world.silence("alertname=~A", 1000)
    world.run(200)
    assert [reason for _, _, reason, _ in world.story] == [
        "silenced by alertname=A",
        "silenced by alertname=A, alertname=~A",
        "silenced by alertname=~A",
    ]


def test_one_alert_inhibits_another() -> None:
    world = World()
    cause = world.fire(severity="page", cluster="1", alertname="Cause")
    world.fire(severity="warn", cluster="1", alertname="Effect")
    world.fire(severity="warn", cluster="2", alertname="Effect")
    world.run(20)
    assert [n.alerts[0].labels.get("cluster") for _, n in world.sent if n.decision is Decision.INHIBITED] == ["1"]
    assert f"inhibited by {cause.fingerprint}" in [n.reason for _, n in world.sent]
    assert [n.alerts[0].labels.get("cluster") for n in world.run(60)] == []
    world.resolve(severity="page", cluster="1", alertname="Cause")
    assert [(n.reason, len(n.alerts)) for n in world.run(60)] == [(Reason.ALL_RESOLVED, 1), (Reason.NEW_ALERTS, 2)]


def test_nothing_is_decided_before_silences_are_known() -> None:
    world = World()
    world.fire()
    world.around.complete = False
    assert world.run(60) == []
    world.around.complete = True
    assert len(world.run(1)) == 1


def test_shadow_decides_and_says_so() -> None:
    world = World(shadow=True)
    world.fire()
    world.run(20)
    assert world.story == [(10, "shadow", Reason.FIRST, 1)]


def test_what_was_told_in_shadow_is_told_when_it_counts() -> None:
    world = World(shadow=True)
    world.fire(pod="1")
    world.run(100)
    world.mode(shadow=False)
    world.run(200)
    assert world.story == [(10, "shadow", Reason.FIRST, 1), (130, "send", Reason.FIRST, 1)]
    assert world.sent[1][1].thread == world.sent[1][1].id


def test_what_was_told_is_not_told_again_for_having_been_in_shadow() -> None:
    world = World()
    world.fire(pod="1")
    world.run(20)
    world.mode(shadow=True)
    world.run(100)
    world.mode(shadow=False)
    world.run(100)
    assert world.story == [(10, "send", Reason.FIRST, 1)]
    world.mode(shadow=True)
    world.fire(pod="2")
    world.run(60)
    world.mode(shadow=False)
    world.run(60)
    assert world.story[1:] == [(250, "shadow", Reason.NEW_ALERTS, 2), (310, "send", Reason.NEW_ALERTS, 2)]
    assert len({n.thread for _, n in world.sent}) == 1


def test_what_resolved_in_shadow_and_fires_anew_is_told() -> None:
    world = World()
    world.fire(pod="1")
    world.run(20)
    world.mode(shadow=True)
    world.resolve(pod="1")
    world.run(60)
    world.fire(pod="1")
    world.run(60)
    world.mode(shadow=False)
    world.run(60)
    decisions = [(decision, reason) for _, decision, reason, _ in world.story]
    assert decisions == [
        ("send", Reason.FIRST),
        ("shadow", Reason.ALL_RESOLVED),
        ("shadow", Reason.FIRST),
        ("send", Reason.FIRST),
    ]


def test_a_checkpoint_from_before_shadow_was_remembered_is_read() -> None:
    world = World()
    world.fire()
    world.run(20)
    stored = [encode(entry) for entry in world.state.values() if entry.group is not None]
    assert b'"told"' in stored[0]
    assert b'"shadow"' not in stored[0], "written as before while nothing was told in shadow"
    world.restart()
    assert world.run(120) == []


def test_an_alert_the_configuration_leads_elsewhere_leaves() -> None:
    world = World()
    world.fire(pod="1")
    world.run(20)
    world.around.parsed = parse_config(CONFIG.replace("[alertname]", "[pod]"))
    assert world.run(120) == []
    for alert in list(world.around.states.values()):
        for out in routed(world.around.parsed, alert):
            world.read(Record("alerts.routes", 0, len(world.records), out.key, out.value, world.now))
    assert [n.group_labels for n in world.run(60)] == [{"pod": "1"}]


def test_ids_are_by_number_and_never_repeat() -> None:
    world = World()
    for _ in range(3):
        world.fire()
        world.run(100)
        world.resolve()
        world.run(100)
        world.run(TOLD_MS / S + TOMBSTONE_MS / S + 1200) if len(world.sent) == 4 else None
    assert len({n.id for _, n in world.sent}) == len(world.sent) == 6
    for _, n in world.sent:
        assert n.id == notification_id(n.tenant, n.receiver, n.group_key, n.flush)


def test_everything_is_forgotten_in_the_end() -> None:
    world = World()
    world.fire(pod="1")
    world.run(20)
    world.resolve(pod="1")
    world.run(1500)
    world.now += TOMBSTONE_MS + TOLD_MS
    world.run(3)
    assert not world.state


def test_a_storm_is_cut_and_counted() -> None:
    world = World()
    for number in range(MAX_ALERTS + 7):
        world.fire(pod=str(number))
    world.run(20)
    (notification,) = (n for _, n in world.sent)
    assert (len(notification.alerts), notification.truncated) == (MAX_ALERTS, 7)
    big = World()
    for number in range(40):
        big.take(msgspec.structs.replace(big.alert({"pod": str(number)}), annotations={"a": "x" * 100_000}))
    (notification,) = big.run(20)
    assert len(encode(notification)) < 4 << 20
    assert len(notification.alerts) + notification.truncated == 40


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"receiver": "other"}, "wrong_key"),
        ({"timing": {"group_interval_ms": 0}}, "wrong_interval"),
        ({"alert": 1}, "decode"),
    ],
)
def test_what_is_not_routed_is_invalid(change: dict[str, Any], reason: str) -> None:
    world = World()
    world.fire()
    record = world.records[0]
    document = msgspec.json.decode(record.value or b"") | change
    with pytest.raises(Invalid) as caught:
        parse(record._replace(value=encode(document)))
    assert caught.value.reason == reason


# Routing


def test_pending_and_gone_are_not_routed() -> None:
    world = World()
    config = world.around.parsed
    fires = world.alert({})
    records = [
        Record("alerts.state", 0, 0, b"k", encode(world.alert({}, Status.PENDING)), T0),
        Record("alerts.state", 0, 1, b"k", None, T0),
        Record("alerts.state", 0, 2, b"k", encode(fires), T0),
    ]
    (out,) = route_batch(config, batch_of(records))
    assert msgspec.json.decode(out.value or b"", type=Routed).alert == fires
    assert out.key == b'platform/team/{}:{alertname="A"}'


def test_what_is_no_state_is_named() -> None:
    records = [Record("alerts.state", 0, i, b"k", value, T0) for i, value in enumerate((b"{", None, b"[]"))]
    with pytest.raises(Invalid) as caught:
        route_batch(World().around.parsed, batch_of(records))
    assert list(caught.value.indexes or {}) == [0, 2]


# Whatever happens, in whatever portions it is read

steps = st.lists(
    st.one_of(
        st.tuples(st.just("fire"), st.sampled_from("123")),
        st.tuples(st.just("resolve"), st.sampled_from("123")),
        st.tuples(st.just("run"), st.integers(1, 90)),
        st.tuples(st.just("silence"), st.sampled_from("123")),
        st.tuples(st.just("again"), st.integers(0, 30)),
        st.tuples(st.just("kill"), st.none()),
    ),
    max_size=25,
)


def _play(script: list[tuple[str, Any]], *, disturbed: bool) -> World:
    world = World()
    firing: set[str] = set()
    for step, what in script:
        if step == "fire" and what not in firing:
            firing.add(what)
            world.fire(pod=what)
        elif step == "resolve" and what in firing:
            firing.discard(what)
            world.resolve(pod=what)
        elif step == "run":
            world.run(what)
        elif step == "silence":
            world.silence(f"pod={what}", 100)
        elif step == "again" and disturbed:
            for record in world.records[what:]:  # read again by a restarted route-alerts: the same, later
                world.read(record._replace(offset=record.offset + 1000, timestamp_ms=world.now))
        elif step == "kill" and disturbed:
            world.restart()
    world.run(200)
    return world


@settings(max_examples=150, deadline=None)
@given(steps)
def test_kills_and_repeats_change_nothing(script: list[tuple[str, Any]]) -> None:
    assert _play(script, disturbed=True).sent == _play(script, disturbed=False).sent


@settings(max_examples=100, deadline=None)
@given(steps)
def test_in_the_end_everybody_knows_what_fires(script: list[tuple[str, Any]]) -> None:
    world = _play(script, disturbed=True)
    world.around.known.clear()
    world.run(200)
    told: set[str] = set()
    for _, notification in world.sent:
        if notification.decision is Decision.SEND:
            told |= {a.fingerprint for a in notification.alerts if a.state is Status.FIRING}
            told -= {a.fingerprint for a in notification.alerts if a.state is Status.RESOLVED}
    firing = {a.fingerprint for a in world.around.states.values() if a.state is Status.FIRING}
    assert told >= firing
    assert len({n.id for _, n in world.sent}) == len(world.sent)
