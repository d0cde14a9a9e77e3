"""KubeSphere's intervals and times: pure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kapis import MAX_WINDOW, Interval, asked, histogram, window
from gateway.problems import Problem

TEXTS = ["1s", "15m", "1h", "7d", "1w", "2w", "1M", "1q", "1y", "5M"]


@given(st.sampled_from(TEXTS), st.integers(0, 4_000_000_000_000))
def test_a_time_is_in_the_interval_it_is_counted_in(text: str, time_ms: int) -> None:
    interval = Interval(text)
    start = interval.start(time_ms)
    assert start <= time_ms < interval.next(start)
    assert interval.start(start) == start
    assert interval.start(interval.next(start)) == interval.next(start)


def test_weeks_begin_on_monday_and_quarters_in_january() -> None:
    at = int(datetime(2026, 11, 26, 13, tzinfo=UTC).timestamp() * 1000)

    def start(text: str) -> str:
        return datetime.fromtimestamp(Interval(text).start(at) / 1000, UTC).strftime("%a %d.%m.")

    assert [start(text) for text in ("1d", "1w", "1M", "1q", "1y")] == [
        "Thu 26.11.",
        "Mon 23.11.",
        "Sun 01.11.",
        "Thu 01.10.",
        "Thu 01.01.",
    ]


@pytest.mark.parametrize("text", ["", "m", "0m", "-1m", "1.5h", "1x", "999999s", "1m "])
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        Interval(text)
    assert caught.value.status_code == 400


def test_empty_intervals_between_are_told_and_too_many_refused() -> None:
    found = histogram(Interval("1m"), {60_000: 2, 240_000: 1})["histogram"]
    assert [(bar["time"], bar["count"]) for bar in found["histograms"]] == [
        (60_000, 2),
        (120_000, 0),
        (180_000, 0),
        (240_000, 1),
    ]
    assert histogram(Interval("1m"), {})["histogram"] == {"total": 0, "interval": "1m", "histograms": []}
    with pytest.raises(Problem):
        histogram(Interval("1s"), {1000: 1, 86_400_000: 1})


def test_times_are_seconds_or_milliseconds_and_the_end_is_inclusive() -> None:
    for unit in ("1559664000", "1559664000000"):
        query = asked({}, {"start_time": unit, "end_time": unit}, ())
        assert (query.start_ms, query.end_ms) == (1_559_664_000_000, 1_559_664_000_001)
    assert asked({}, {}, ()).end_ms == 0
    with pytest.raises(Problem):
        asked({}, {"start_time": "yesterday"}, ())


def test_windows_have_kubespheres_defaults_and_a_bound() -> None:
    assert window({}) == (0, 10)
    assert window({"from": "x", "size": "-1"}) == (0, 10)
    assert window({"from": "20", "size": "0"}) == (20, 0)
    with pytest.raises(Problem):
        window({"from": str(MAX_WINDOW), "size": "1"})
