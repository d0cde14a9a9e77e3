"""Dead letters written and read back."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from streams.dead_letters import DeadLetter, letter, parse, source_letter
from streams.record import Outgoing, Record

HEADERS = st.lists(st.tuples(st.text(max_size=20).filter(lambda n: not n.startswith("__connect")), st.binary()))
RECORDS = st.builds(
    Record,
    topic=st.just("logs"),
    partition=st.integers(0, 99),
    offset=st.integers(0, 1 << 62),
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    timestamp_ms=st.integers(0, 1 << 40),
    headers=st.none() | HEADERS,
)


def back(dead: Outgoing) -> DeadLetter:
    return parse(Record(dead.topic, 0, 0, dead.key, dead.value, dead.timestamp_ms, dead.headers))


@given(RECORDS, st.text(), st.text())
def test_a_letter_reads_back_to_the_original(record: Record, reason: str, detail: str) -> None:
    dead = letter(record, agent="index-logs", reason=reason, detail=detail, attempt=6)
    read = back(dead)
    assert dead.timestamp_ms == 0, "a letter is as old as itself, or retention would take those of old records at once"
    assert (read.topic, read.partition, read.offset) == (record.topic, record.partition, record.offset)
    assert (read.key, read.value, read.headers) == (record.key, record.value, record.headers or [])
    assert (read.stage, read.attempt, read.time_ms) == ("index-logs", 6, record.timestamp_ms)
    assert read.complete


def test_bytes_that_never_reached_a_topic_are_cut_and_hashed() -> None:
    data = bytes(range(256)) * 1000
    dead = source_letter("logs", data, peer="10.0.0.7:4711", reason="frame", detail="depth", now_ms=5)
    read = back(dead)
    assert dead.topic == "logs.dlq"
    assert (read.stage, read.peer, read.partition, read.offset) == ("source", "10.0.0.7:4711", -1, -1)
    assert read.value == data[: 64 << 10]
    assert read.sha256 == hashlib.sha256(data).hexdigest()
    assert read.size == len(data)
    assert not read.complete


@given(st.lists(st.tuples(st.sampled_from(["__connect.errors.offset", "eventsphere.attempt", "x"]), st.binary())))
def test_what_others_write_there_does_not_break_reading(headers: list[tuple[str, bytes]]) -> None:
    read = parse(Record("logs.dlq", 0, 0, None, None, 0, headers))
    assert read.topic == "logs"


def test_a_letter_of_a_foreign_program_is_read_as_far_as_it_goes() -> None:
    """Kafka Connect writes the same headers, and numbers as text."""
    headers = [("__connect.errors.topic", b"alerts"), ("__connect.errors.offset", b"12"), ("task", b"1")]
    read = parse(Record("alerts.dlq", 0, 0, None, b"v", 0, headers))
    assert (read.topic, read.offset, read.partition, read.headers) == ("alerts", 12, -1, [("task", b"1")])
