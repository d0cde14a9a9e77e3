"""Time intervals of alertmanager.yml: when a moment is within one, and what a muted route tells."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.notifications import Decision
from streams.alerting import WrongConfig, parse
from streams.time_intervals import contains
from tests.alerts.test_groups import CONFIG, World

ROUTES = """\
  repeat_interval: 10m
  routes:
  - matchers: [alertname="Night"]
    mute_time_intervals: [night]
  - matchers: [alertname="Day"]
    active_time_intervals: [day]
time_intervals:
- name: night
  time_intervals: [{times: [{start_time: "22:00", end_time: "22:15"}]}]
- name: day
  time_intervals: [{times: [{start_time: "22:15", end_time: "24:00"}]}]
"""


def within(span: str, moment: str) -> bool:
    """`moment` in UTC."""
    interval = f"time_intervals: [{{name: x, time_intervals: [{span}]}}]\n"
    config = parse(interval + "route: {receiver: a}\nreceivers: [{name: a}]")
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return contains(config.time_intervals[0], int(at.timestamp() * 1000))


@pytest.mark.parametrize(
    ("span", "inside", "outside"),
    [
        ("{}", ["2026-01-05T10:00"], []),
        ("{times: [{start_time: '09:00', end_time: '17:00'}]}", ["2026-01-05T09:00", "2026-01-05T16:59:59"],
         ["2026-01-05T08:59:59", "2026-01-05T17:00"]),
        ("{times: [{start_time: '23:00', end_time: '24:00'}]}", ["2026-01-05T23:59"], ["2026-01-05T00:00"]),
        ("{weekdays: ['monday:friday']}", ["2026-01-05T10:00", "2026-01-09T23:59"],
         ["2026-01-10T00:00", "2026-01-11T10:00"]),
        ("{weekdays: [Saturday, sunday]}", ["2026-01-10T00:00", "2026-01-11T10:00"], ["2026-01-05T10:00"]),
        ("{days_of_month: ['1:3', '-1']}", ["2026-02-01T00:00", "2026-02-28T10:00", "2028-02-29T10:00"],
         ["2026-02-04T10:00", "2028-02-28T10:00"]),
        ("{days_of_month: ['30:31']}", ["2026-01-30T10:00"], ["2026-02-28T10:00"]),
        ("{months: ['november:december', 2]}", ["2026-11-01T00:00", "2026-02-03T00:00"], ["2026-10-31T23:59"]),
        ("{years: ['2025:2026']}", ["2026-12-31T23:59"], ["2027-01-01T00:00"]),
        ("{weekdays: [monday], months: [january]}", ["2026-01-05T10:00"], ["2026-02-02T10:00", "2026-01-06T10:00"]),
        ("{times: [{start_time: '09:00', end_time: '17:00'}], location: Asia/Shanghai}", ["2026-01-05T01:00"],
         ["2026-01-05T09:00"]),
        ("{weekdays: [monday], location: America/New_York}", ["2026-07-07T03:59"], ["2026-07-07T04:00"]),
    ],
)  # fmt: skip
def test_a_moment_is_within(span: str, inside: list[str], outside: list[str]) -> None:
    assert all(within(span, moment) for moment in inside)
    assert not any(within(span, moment) for moment in outside)


@pytest.mark.parametrize(
    ("span", "says"),
    [
        (
            "{times: [{start_time: '9:00', end_time: '17:00'}]}",
            "times[0].start_time: expected a time from 00:00",
        ),
        ("{times: [{start_time: '17:00', end_time: '09:00'}]}", "over midnight takes two"),
        ("{times: [{start_time: '17:00'}]}", "expected end_time"),
        ("{weekdays: [someday]}", "weekdays[0]: expected one, or first:last"),
        ("{weekdays: ['friday:monday']}", "the first must not be after the last"),
        ("{days_of_month: ['0']}", "from 1 to 31"),
        ("{days_of_month: ['-3:3']}", "from 1 to 31"),
        ("{days_of_month: ['32']}", "expected -31 to 31"),
        ("{months: ['13']}", "expected 1 to 12"),
        ("{location: Atlantis}", "no time zone 'Atlantis'"),
        ("{hours: 3}", "hours: no such field"),
    ],
)
def test_what_is_no_interval_is_refused_with_its_place(span: str, says: str) -> None:
    with pytest.raises(WrongConfig, match="time_intervals") as refused:
        within(span, "2026-01-05T10:00")
    assert says in str(refused.value)


@given(st.dates())
def test_the_days_of_a_month_count_from_both_ends(day: date) -> None:
    assert all(within(f"{{days_of_month: [{span!r}]}}", f"{day}T10:00") for span in ("1:31", "-31:-1"))


def test_a_muted_route_says_nothing_until_the_time_is_over() -> None:
    """It is 22:13:20 at the beginning."""
    world = World(CONFIG.replace("  repeat_interval: 10m\n", ROUTES))
    for name in ("Night", "Day", "Always"):
        world.fire(alertname=name)
    world.run(60)
    told = {(n.group_labels["alertname"], n.decision, n.reason) for _, n in world.sent}
    assert ("Night", Decision.MUTED, "muted in night") in told
    assert ("Day", Decision.MUTED, "outside day") in told
    assert {name for name, decision, _ in told if decision is Decision.SEND} == {"Always"}
    world.run(120)
    sent = [n.group_labels["alertname"] for _, n in world.sent if n.decision is Decision.SEND]
    assert sorted(sent) == ["Always", "Day", "Night"]
