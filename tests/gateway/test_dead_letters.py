"""Which dead letters can be sent again."""

from __future__ import annotations

import pytest

from gateway.dead_letters import not_replayable
from streams.dead_letters import source_letter
from streams.record import Record


@pytest.mark.parametrize(
    ("raw", "limit", "why"),
    [
        (b'{"log": "too large for its topic"}', 1 << 20, ""),
        (b"\x92\x01\x02", 1 << 20, "it never was a record"),
        (b"GET / HTTP/1.1\r\n", 1 << 20, "it never was a record"),
        (b'{"log": "' + b"x" * 5000, 1000, "only its beginning was kept"),
    ],
)
def test_what_a_sender_sent_goes_again_only_when_it_is_a_record(raw: bytes, limit: int, why: str) -> None:
    sent = source_letter("logs", raw, peer="p", reason="r", detail="d", now_ms=1, limit=limit)
    record = Record(sent.topic, 0, 0, sent.key, sent.value, 1, sent.headers)
    assert not_replayable(record).startswith(why)
    assert bool(not_replayable(record)) == bool(why)
