"""The life of an alert: what observations and time make of it, in whatever portions it is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.keep_alert_state import TOPIC, KeepAlertState, parse
from schemas.alerts import Acknowledged, Alert, AlertState, Evidence, Remark, Status, alert_key, episode_id, fingerprint
from schemas.base import LAST_MS, encode
from streams.episodes import EVIDENCE, EVIDENCE_FIRST, HISTORY, KEEP_MS, REMARKS, REPEATED_MS, SOFT_MS, Entry
from streams.errors import Invalid
from streams.record import Outgoing, Record
from streams.state import State

LABELS = {"alertname": "A"}
PRINT = fingerprint(LABELS)
KEY = alert_key("platform", PRINT)
T0 = 1_700_000_000_000
MINUTE = 60_000


def alert(at: int, *, starts: int = T0, ends: int = 0, **more: Any) -> Alert:
    """An observation at T0 + `at`; `ends` relative to T0 too."""
    fields: dict[str, Any] = {"labels": LABELS, "fingerprint": PRINT, "source": "prometheus"} | more
    return Alert(starts_at_ms=starts, ends_at_ms=T0 + ends if ends else 0, observed_at_ms=T0 + at, **fields)


def record(observed: Alert, offset: int = 0) -> Record:
    key = alert_key(observed.tenant, observed.fingerprint)
    return Record("alerts", 0, offset, key.encode(), encode(observed), observed.observed_at_ms)


class Run:
    """The core over a state, with everything it put out."""

    def __init__(self) -> None:
        self.core = KeepAlertState()
        self.state: State[Entry] = State()
        self.out: list[Outgoing] = []
        self.seen = 0

    def see(self, *observed: Alert) -> Run:
        for each in observed:
            self.out += self.core.decide(self.state, record(each, self.seen))
            self.seen += 1
        return self

    def pass_to(self, at: int) -> Run:
        self.out += self.core.tick(self.state, T0 + at)
        return self

    def restart(self) -> Run:
        """What a kill leaves: the entries as they are written, and a new core."""
        stored = {key: encode(entry) for key, entry in self.state.items()}
        self.state = State({key: msgspec.json.decode(raw, type=Entry) for key, raw in stored.items()})
        self.core = KeepAlertState()
        return self

    @property
    def states(self) -> list[AlertState | None]:
        return [msgspec.json.decode(o.value, type=AlertState) if o.value else None for o in self.out]

    @property
    def story(self) -> list[tuple[str, int]]:
        """(state, when it changed, after T0)."""
        return [(s.state.value, s.updated_at_ms - T0) if s else ("gone", 0) for s in self.states]


def test_it_fires_and_resolves() -> None:
    run = Run().see(alert(0, ends=5 * MINUTE), alert(MINUTE, ends=6 * MINUTE), alert(2 * MINUTE, ends=90_000))
    assert run.story == [("firing", 0), ("resolved", 2 * MINUTE)]
    first, last = run.states
    assert first is not None
    assert last is not None
    assert (first.episode, first.ends_at_ms, last.ends_at_ms) == (last.episode, 0, T0 + 90_000)
    assert [first.seq, last.seq] == [1, 2]
    assert first.episode == episode_id("platform", PRINT, T0)
    assert {out.key for out in run.out} == {KEY.encode()}
    assert {out.topic for out in run.out} == {TOPIC}


def test_without_evidence_of_its_own_the_observation_that_began_it_is_the_evidence() -> None:
    run = Run().see(alert(0), alert(MINUTE), alert(2 * MINUTE, ends=90_000))
    stands = [Evidence(topic="alerts", partition=0, offset=0, time_ms=T0)]
    assert [state.evidence for state in run.states if state] == [stands, stands]
    log = Evidence(topic="logs", partition=3, offset=9)
    assert [state.evidence for state in Run().see(alert(0, evidence=[log])).states if state] == [[log]]


def taken(at: int, by: str = "ada", starts: int = T0) -> Alert:
    return alert(at, starts=starts, acknowledged=Acknowledged(by=by, at_ms=T0 + at))


def test_it_is_taken_on_and_given_back_without_being_observed() -> None:
    run = Run().see(alert(0, ends=5 * MINUTE), taken(MINUTE), taken(MINUTE + 1), taken(2 * MINUTE, by=""))
    assert [state.acknowledged and state.acknowledged.by for state in run.states if state] == [None, "ada", "ada", None]
    assert run.story[1] == ("firing", MINUTE)
    run.pass_to(5 * MINUTE)
    assert run.story[-1] == ("resolved", 5 * MINUTE), "to take it on does not refresh it"


def test_who_took_it_on_stays_through_refreshes_and_not_into_the_next_episode() -> None:
    run = Run().see(alert(0), taken(MINUTE), alert(2 * MINUTE, annotations={"a": "b"}), alert(3 * MINUTE, ends=180_000))
    assert [state.acknowledged is not None for state in run.states if state] == [False, True, True, True]
    run.see(alert(10 * MINUTE, starts=T0 + 10 * MINUTE))
    assert run.states[-1] is not None
    assert run.states[-1].acknowledged is None


def said(at: int, text: str = "", assignee: str | None = None) -> Alert:
    return alert(at, remark=Remark(by="ada", at_ms=T0 + at, text=text, assignee=assignee))


def test_what_people_say_stays_with_the_alert_and_whose_it_is_with_its_episode() -> None:
    assert Run().see(said(0, "early")).story == []
    run = Run().see(alert(0), *(said(MINUTE + i, f"c{i}") for i in range(REMARKS + 5)), said(2 * MINUTE, "", "grace"))
    run.see(said(2 * MINUTE, "", "grace")).restart()
    last = run.states[-1]
    assert last is not None
    assert [each.text for each in last.remarks] == [f"c{i}" for i in range(5, REMARKS + 5)]
    assert (last.assignee, last.seq) == ("grace", REMARKS + 7), "said again, it is not said twice"
    run.see(alert(3 * MINUTE, ends=180_000), said(4 * MINUTE, "afterwards"), alert(9 * MINUTE, starts=T0 + 9 * MINUTE))
    last = run.states[-1]
    assert last is not None
    assert (last.assignee, last.remarks[-1].text) == ("", "afterwards")
    run.see(said(10 * MINUTE, "", "linus"), said(11 * MINUTE, "", ""))
    assert [state.assignee for state in run.states[-2:] if state] == ["linus", ""]


def test_its_changes_of_state_are_remembered() -> None:
    run = Run().see(alert(0, for_ms=MINUTE), alert(2 * MINUTE), said(3 * MINUTE, "x"), alert(4 * MINUTE, ends=240_000))
    for again in range(HISTORY):
        run.see(alert(5 * MINUTE + again, starts=T0 + 300_000 + again))
        run.see(alert(5 * MINUTE + again, starts=T0 + 300_000 + again, ends=300_000 + again))
    found = [state.history for state in run.states if state]
    told = [(each.state.value, each.at_ms - T0) for each in found[4]]
    assert told == [("pending", 0), ("firing", MINUTE), ("resolved", 4 * MINUTE), ("firing", 5 * MINUTE)]
    assert len(found[-1]) == HISTORY


def test_what_does_not_fire_is_not_taken_on() -> None:
    assert Run().see(taken(0)).story == []
    run = Run().see(alert(0), alert(MINUTE, ends=60_000), taken(2 * MINUTE), taken(3 * MINUTE, starts=T0 - 5))
    assert run.story == [("firing", 0), ("resolved", MINUTE)]


def test_an_observation_without_a_cluster_is_of_this_one() -> None:
    for core, named, expected in (("here", "", "here"), ("here", "there", "there")):
        made = KeepAlertState(core).decide(State(), record(alert(0, cluster=named)))
        assert [msgspec.json.decode(out.value or b"", type=AlertState).cluster for out in made] == [expected]


def test_it_resolves_when_its_end_passes_without_a_refresh() -> None:
    run = Run().see(alert(0, ends=5 * MINUTE)).pass_to(5 * MINUTE - 1)
    assert run.story == [("firing", 0)]
    run.see(alert(4 * MINUTE, ends=9 * MINUTE)).pass_to(9 * MINUTE - 1)
    assert run.story == [("firing", 0)]
    assert run.pass_to(20 * MINUTE).story == [("firing", 0), ("resolved", 9 * MINUTE)]


def test_without_an_end_it_fires_until_said_otherwise() -> None:
    assert Run().see(alert(0)).pass_to(30 * KEEP_MS).story == [("firing", 0)]


def test_the_later_of_two_ends_counts() -> None:
    run = Run().see(alert(0, ends=5 * MINUTE), alert(1, ends=4 * MINUTE)).pass_to(4 * MINUTE)
    assert run.story == [("firing", 0)]


def test_a_pair_of_sources_makes_one_alert() -> None:
    run = Run().see(alert(0, ends=5 * MINUTE), alert(3, starts=T0 + 2, ends=5 * MINUTE), alert(7, ends=5 * MINUTE))
    assert run.story == [("firing", 0)]


def test_a_new_start_after_the_end_is_a_new_episode() -> None:
    run = Run().see(alert(0), alert(MINUTE, ends=MINUTE), alert(2 * MINUTE, starts=T0 + 2 * MINUTE))
    assert run.story == [("firing", 0), ("resolved", MINUTE), ("firing", 2 * MINUTE)]
    first, _, third = run.states
    assert first is not None
    assert third is not None
    assert first.episode != third.episode
    assert third.seq == 3


def test_the_same_start_observed_again_goes_on() -> None:
    """Prometheus was away for longer than `endsAt`, and comes back with the same alert."""
    run = Run().see(alert(0, ends=MINUTE)).pass_to(2 * MINUTE).see(alert(3 * MINUTE, ends=5 * MINUTE))
    assert run.story == [("firing", 0), ("resolved", MINUTE), ("firing", 3 * MINUTE)]
    assert len({state.episode for state in run.states if state}) == 1


def test_a_late_duplicate_does_not_fire_again() -> None:
    run = Run().see(alert(0), alert(MINUTE, ends=MINUTE), alert(1), alert(MINUTE - 1))
    assert run.story == [("firing", 0), ("resolved", MINUTE)]


def test_a_hooks_repeat_does_not_fire_again_at_once() -> None:
    source: Any = {"source": "alertmanager/am"}
    run = Run().see(alert(0, **source), alert(MINUTE, ends=MINUTE, **source), alert(MINUTE + 1, **source))
    assert run.story == [("firing", 0), ("resolved", MINUTE)]
    run.see(alert(MINUTE + REPEATED_MS, **source))
    assert run.story[2:] == [("firing", MINUTE + REPEATED_MS)]
    other = Run().see(alert(0, **source), alert(MINUTE, ends=MINUTE, **source))
    other.see(alert(MINUTE + 1, starts=T0 + MINUTE + 1, **source))
    assert other.story[2:] == [("firing", MINUTE + 1)]


def test_a_resolve_of_an_earlier_episode_is_ignored() -> None:
    run = Run().see(alert(5 * MINUTE, starts=T0 + 5 * MINUTE), alert(6 * MINUTE, starts=T0, ends=MINUTE))
    assert run.story == [("firing", 5 * MINUTE)]


def test_what_comes_resolved_is_not_shown() -> None:
    run = Run().see(alert(MINUTE, ends=MINUTE), alert(2, ends=2 * MINUTE))
    assert run.story == []
    assert Run().see(alert(MINUTE, ends=MINUTE)).pass_to(2 * KEEP_MS).story == []


def test_for_is_waited_for() -> None:
    run = Run().see(alert(0, for_ms=5 * MINUTE)).pass_to(5 * MINUTE - 1)
    assert run.story == [("pending", 0)]
    assert run.pass_to(5 * MINUTE + 700).story == [("pending", 0), ("firing", 5 * MINUTE)]
    last = run.states[-1]
    assert last is not None
    assert last.starts_at_ms == T0


def test_what_ends_while_pending_goes_without_a_word() -> None:
    run = Run().see(alert(0, for_ms=5 * MINUTE), alert(MINUTE, ends=MINUTE)).pass_to(10 * MINUTE)
    assert run.story == [("pending", 0), ("gone", 0)]
    expired = Run().see(alert(0, for_ms=5 * MINUTE, ends=MINUTE)).pass_to(10 * MINUTE)
    assert expired.story == [("pending", 0), ("gone", 0)]


def test_time_that_passed_before_an_observation_counts_first() -> None:
    """Read late: `for` was over, and the end passed, before the next observation was made."""
    run = Run().see(alert(0, for_ms=MINUTE, ends=3 * MINUTE), alert(9 * MINUTE, starts=T0 + 9 * MINUTE))
    assert run.story == [("pending", 0), ("firing", MINUTE), ("resolved", 3 * MINUTE), ("firing", 9 * MINUTE)]


def test_an_old_start_with_for_fires_at_once() -> None:
    assert Run().see(alert(10 * MINUTE, for_ms=MINUTE)).story == [("firing", MINUTE)]


def test_refreshes_publish_nothing_and_small_changes_now_and_then() -> None:
    run = Run()
    for second in range(121):
        run.see(alert(second * 1000, annotations={"value": str(second)}))
    assert [at for _, at in run.story] == [0, SOFT_MS, 2 * SOFT_MS]
    last = run.states[-1]
    assert last is not None
    assert last.annotations == {"value": "120"}
    assert last.seq == 3
    run.see(alert(125_000, annotations={"value": "125"}), alert(126_000, ends=126_000, annotations={"value": "126"}))
    assert run.story[-1] == ("resolved", 126_000)


def test_evidence_is_kept_bounded() -> None:
    def seen(offset: int) -> Evidence:
        return Evidence(topic="logs", partition=0, offset=offset, excerpt="x" * 5000)

    run = Run()
    for offset in range(50):
        run.see(alert(offset, evidence=[seen(offset), seen(offset)]))
    run.see(alert(SOFT_MS))
    last = run.states[-1]
    assert last is not None
    assert [each.offset for each in last.evidence] == [
        *range(EVIDENCE_FIRST),
        *range(50 - EVIDENCE + EVIDENCE_FIRST, 50),
    ]
    assert max(len(each.excerpt) for each in last.evidence) == 1000


def test_a_resolved_alert_is_taken_away_after_a_day() -> None:
    run = Run().see(alert(0), alert(MINUTE, ends=MINUTE)).pass_to(MINUTE + KEEP_MS - 1)
    assert run.story == [("firing", 0), ("resolved", MINUTE)]
    assert run.pass_to(MINUTE + KEEP_MS).story[2:] == [("gone", 0)]
    assert not run.state


@pytest.mark.parametrize(
    ("change", "reason", "told"),
    [
        ({"labels": {}}, "no_labels", "label"),
        ({"fingerprint": "x"}, "wrong_fingerprint", "'x'"),
        ({"starts_at_ms": 0}, "wrong_time", "starts_at_ms: "),
        ({"ends_at_ms": 5}, "wrong_time", "ends_at_ms: is before"),
        ({"ends_at_ms": LAST_MS + 1}, "wrong_time", "ends_at_ms: expected"),
        ({"for_ms": -1}, "wrong_time", "for_ms: "),
        ({"observed_at_ms": 10**18}, "wrong_time", "observed_at_ms: "),
        ({"labels": 1}, "decode", "labels"),
    ],
)
def test_what_is_no_alert_is_invalid(change: dict[str, Any], reason: str, told: str) -> None:
    document = msgspec.json.decode(encode(alert(0))) | change
    with pytest.raises(Invalid) as caught:
        parse(Record("alerts", 0, 0, KEY.encode(), encode(document), T0))
    assert caught.value.reason == reason
    assert told in caught.value.detail


def test_an_end_at_the_end_of_time_is_taken() -> None:
    assert Run().see(alert(0, ends=LAST_MS - T0)).story == [("firing", 0)]


def test_a_wrong_key_or_a_far_future_is_invalid() -> None:
    with pytest.raises(Invalid, match="wrong_key"):
        parse(record(alert(0))._replace(key=b"other"))
    with pytest.raises(Invalid, match="from_the_future"):
        parse(record(alert(0))._replace(timestamp_ms=T0 - 2 * 3_600_000))
    with pytest.raises(Invalid, match="decode"):
        parse(record(alert(0))._replace(value=None))


# Whatever was observed, in whatever portions it is read


@st.composite
def histories(draw: st.DrawFn) -> list[Alert]:
    """Observations of two alerts in the order they were made, ends, resolves, `for` and new starts among them."""
    out, at = [], 0
    for _ in range(draw(st.integers(1, 12))):
        at += draw(st.integers(1, 4)) * MINUTE // 2
        labels = {"alertname": draw(st.sampled_from("AB"))}
        starts = draw(st.integers(max(0, at - 3 * MINUTE), at))
        ends = draw(st.sampled_from([0, 0, at + MINUTE, at + 3 * MINUTE, at]))
        fields: Any = {
            "labels": labels,
            "fingerprint": fingerprint(labels),
            "for_ms": draw(st.sampled_from([0, 0, MINUTE])),
        }
        out.append(alert(at, starts=T0 + starts, ends=max(starts, ends) if ends else 0, **fields))
    return out


def _finish(run: Run, history: Sequence[Alert]) -> list[tuple[bytes | None, bytes | None]]:
    """Everything put out, by key, after all time has passed."""
    run.pass_to(history[-1].observed_at_ms - T0 + 10 * MINUTE)
    return sorted(((out.key, out.value) for out in run.out), key=lambda pair: pair[0] or b"")


def _plain(history: Sequence[Alert]) -> list[tuple[bytes | None, bytes | None]]:
    return _finish(Run().see(*history), history)


@settings(max_examples=200, deadline=None)
@given(histories(), st.lists(st.integers(0, 12)))
def test_kills_change_nothing(history: list[Alert], kills: list[int]) -> None:
    run = Run()
    for index, each in enumerate(history):
        if index in kills:
            run.restart()
        run.see(each)
    assert _finish(run.restart(), history) == _plain(history)


@settings(max_examples=200, deadline=None)
@given(histories(), st.integers(0, 12), st.integers(1, 3))
def test_records_read_again_change_nothing(history: list[Alert], start: int, times: int) -> None:
    """All but the very last observation of an alert: one made at the same time may be another."""
    run = Run().see(*history)
    before = len(run.out)
    for _ in range(times):
        run.see(*_without_newest(history[start:]))
    assert len(run.out) == before
    assert _finish(run, history) == _plain(history)


def _without_newest(history: Iterable[Alert]) -> list[Alert]:
    items = list(history)
    newest = {each.fingerprint: each.observed_at_ms for each in items}
    return [each for each in items if each.observed_at_ms < newest[each.fingerprint]]


@settings(max_examples=200, deadline=None)
@given(histories(), st.lists(st.integers(1, 40 * MINUTE), max_size=20))
def test_reading_late_gives_what_reading_at_once_gives(history: list[Alert], ticks: list[int]) -> None:
    run = Run()
    for each in history:
        for tick in sorted(t for t in ticks if t <= each.observed_at_ms - T0):
            run.pass_to(tick)
        run.see(each)
    assert _finish(run, history) == _plain(history)


@settings(max_examples=100, deadline=None)
@given(histories())
def test_seq_grows_by_one_and_states_alternate(history: list[Alert]) -> None:
    run = Run().see(*history).pass_to(100 * MINUTE)
    for name in "AB":
        mine = [s for s in run.states if s is not None and s.labels["alertname"] == name]
        assert [each.seq for each in mine] == list(range(1, len(mine) + 1))
        firing = [each.state is Status.FIRING for each in mine if each.state is not Status.PENDING]
        assert all(a or b for a, b in pairwise(firing)), "resolved twice"
