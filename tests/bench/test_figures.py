"""What is told of speed and size is what was measured: pages, picture and `eventsphere size` come from one file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.size import Adapter, figures, plan
from tests.bench import report, sizing
from tests.bench.latency import latencies

RENDERED = (
    report.markdown,
    lambda found: report.picture(found["peers"]),
    sizing.page,
)


@pytest.mark.parametrize("number", range(len(RENDERED)))
def test_pages_and_picture_are_those_of_the_figures(number: int) -> None:
    assert report.FILES[number].read_text("utf-8") == RENDERED[number](figures())


@given(st.floats(1, 1e6), st.floats(50, 1e5), st.floats(0.1, 400), st.sampled_from(Adapter))
def test_more_never_takes_less(rate: float, nbytes: float, days: float, adapter: Adapter) -> None:
    measured = figures()
    once = plan(measured, rate=rate, nbytes=nbytes, days=days, adapter=adapter)
    for more in (
        plan(measured, rate=rate * 2, nbytes=nbytes, days=days, adapter=adapter),
        plan(measured, rate=rate, nbytes=nbytes * 2, days=days, adapter=adapter),
        plan(measured, rate=rate, nbytes=nbytes, days=days * 2, adapter=adapter),
    ):
        assert more.kafka_bytes >= once.kafka_bytes
        assert more.index_bytes >= once.index_bytes
        assert more.workers >= once.workers
        assert more.partitions >= once.partitions


def test_disk_is_what_a_record_took_times_the_records() -> None:
    measured = {
        "kafka": {"raw": 400, "stored": 100},
        "index": {"raw": 400, "embedded": 150, "elasticsearch": 200},
        "indexing": {
            "embedded": {"records_per_s": 40_000, "cpu_s_a_million": 20, "peak_mib": 300},
            "elasticsearch": {"records_per_s": 200_000, "cpu_s_a_million": 4, "peak_mib": 250},
        },
    }
    found = plan(measured, rate=1000, nbytes=800, days=2, adapter=Adapter.ELASTICSEARCH, replicas=3, copies=1)
    day = 86_400 * 1000
    assert found.kafka_bytes == day * 2 * 200 * 3 * 1.25
    assert found.index_bytes == day * 2 * 400 * 2 * 1.25
    assert (found.workers, found.partitions) == (1, 6)
    assert plan(measured, rate=250_000, nbytes=400, days=1, adapter=Adapter.ELASTICSEARCH).workers == 3
    assert plan(measured, rate=30_000, nbytes=400, days=1, adapter=Adapter.EMBEDDED).limited_by


def test_a_piece_is_late_by_when_the_count_reaches_it() -> None:
    made = [(10.0, 5), (11.0, 10), (12.0, 15)]
    seen = [(10.5, 4), (11.2, 5), (11.5, 12), (13.0, 15)]
    assert latencies(made, seen, since=0) == pytest.approx([0.5, 1.0, 1.2])
    assert latencies(made, seen, since=11.5) == pytest.approx([1.0])
