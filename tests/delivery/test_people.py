"""Who of a tenant is told, and when."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.notifications import Decision, Notification
from schemas.people import Person, Quiet
from streams.people import held_until, quiet_until, rank_of, reached
from tests.delivery.samples import TIME, alert

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Quiet(start=22 * 60, end=7 * 60, zone="Europe/Berlin")


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


def person(name: str = "ada", **more: object) -> Person:
    return msgspec.structs.replace(Person(tenant="shop", name=name, address=f"{name}@example.org"), **more)


def told(severity: str = "", tenant: str = "shop") -> Notification:
    labels = {"severity": severity} if severity else {}
    return Notification(
        id="n",
        tenant=tenant,
        receiver="ops",
        group_key="g",
        group_labels={},
        flush=1,
        decision=Decision.SEND,
        status="firing",
        alerts=[alert("Down", **labels)],
        decided_at_ms=TIME,
    )


def test_only_people_of_the_tenant_who_want_it() -> None:
    people = [
        person("bob"),
        person("ada", severity="error"),
        person("eve", tenant="other"),
        person("off", enabled=False),
    ]
    assert [each.person.name for each in reached(people, told("warning"), TIME)] == ["bob"]
    assert [each.person.name for each in reached(people, told("critical"), TIME)] == ["ada", "bob"]
    assert [each.person.name for each in reached(people, told("critical", "other"), TIME)] == ["eve"]


def test_an_alert_without_a_severity_counts_as_a_warning() -> None:
    assert rank_of(told()) == rank_of(told("warning")) == rank_of(told("page"))


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-24 21:59", ""),
        ("2026-11-24 22:00", "2026-11-25 07:00"),
        ("2026-11-25 06:59", "2026-11-25 07:00"),
        ("2026-11-25 07:00", ""),
        # The night the clocks go forward, and the one they go back.
        ("2026-03-28 23:00", "2026-03-29 07:00"),
        ("2026-10-25 01:30", "2026-10-25 07:00"),
    ],
)
def test_quiet_hours_by_the_clock_of_the_wall(now: str, until: str) -> None:
    assert quiet_until(NIGHT, ms(now)) == (ms(until) if until else 0)


def test_quiet_hours_of_some_days() -> None:
    friday = msgspec.structs.replace(NIGHT, weekdays=[4])
    assert quiet_until(friday, ms("2026-11-27 23:00")) == ms("2026-11-28 07:00")
    assert quiet_until(friday, ms("2026-11-28 05:00")) == ms("2026-11-28 07:00")
    assert quiet_until(friday, ms("2026-11-28 23:00")) == 0


def test_what_is_grave_comes_through_and_the_rest_waits() -> None:
    now = ms("2026-11-24 23:10")
    sleeper = person(quiet=NIGHT, digest_minutes=60)
    assert held_until(sleeper, rank_of(told("critical")), now) == 0
    assert held_until(sleeper, rank_of(told("warning")), now) == ms("2026-11-25 07:00")
    assert held_until(sleeper, rank_of(told("warning")), ms("2026-11-24 12:10")) == ms("2026-11-24 13:00")
    deaf = person(quiet=NIGHT, through="")
    assert held_until(deaf, rank_of(told("critical")), now) == ms("2026-11-25 07:00")


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(TIME, TIME + 400 * 86_400_000))
def test_quiet_hours_end_within_a_day(start: int, end: int, now: int) -> None:
    until = quiet_until(Quiet(start=start, end=end, zone="America/New_York"), now)
    assert until == 0 or now < until <= now + 25 * 3_600_000
