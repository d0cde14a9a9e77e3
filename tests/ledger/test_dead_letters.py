"""Dead letters are found by reason, stage and time, page by page, and replayed under ids that stay the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway import letters
from gateway.cluster import Snapshot, Span
from gateway.letters import Which
from streams.dead_letters import letter, source_letter
from streams.record import Outgoing, Record

PAGE = 7


class Bus:
    """Dead-letter topics in memory, as cluster, reader and producer."""

    def __init__(self) -> None:
        self.logs: dict[str, list[Record]] = {}
        self.sent: list[Outgoing] = []

    def add(self, out: Outgoing, time_ms: int) -> None:
        log = self.logs.setdefault(out.topic, [])
        log.append(Record(out.topic, 0, len(log), out.key, out.value, time_ms, out.headers))

    async def snapshot(self) -> Snapshot:
        return Snapshot(0.0, {name: [Span(0, len(log), 1)] for name, log in self.logs.items()}, {})

    async def topic_id(self, topic: str) -> str:
        return f"id-of-{topic}"

    async def span(self, topic: str, partition: int, start: int, end: int) -> list[Record]:
        return [r for r in self.logs.get(topic, []) if partition == 0 and start <= r.offset < end][:PAGE]

    async def one(self, topic: str, partition: int, offset: int) -> Record | None:
        found = await self.span(topic, partition, offset, offset + 1)
        return found[0] if found else None

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.sent += records


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(letters, "MAX_RECORDS", PAGE)
    out = Bus()
    for number in range(40):
        record = Record("logs", 0, number, None, b"%d" % number, 0, None)
        reason = "odd" if number % 4 == 0 else "usual"
        out.add(letter(record, agent="index-logs", reason=reason, detail="", attempt=1), number * 10)
        if number % 8 == 0:
            raw = source_letter("alerts", b"x", peer="p", reason="odd", detail="", now_ms=0)
            out.add(raw, number * 10 + 5)
    return out


def walked(bus: Any, which: Which, limit: int, *, oldest_first: bool) -> list[tuple[str, int]]:
    async def walk() -> list[tuple[str, int]]:
        out: list[tuple[str, int]] = []
        place: dict[str, int] | None = None
        for _ in range(100):
            page = await letters.search(bus, bus, ["logs", "alerts"], which, limit, place, oldest_first=oldest_first)
            assert len(page.items) <= limit
            out += [(record.topic, record.offset) for record in page.items]
            place = page.next
            if not place:
                return out
        raise AssertionError("no end")

    return asyncio.run(walk())


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize(
    ("which", "logs", "alerts"),
    [
        (Which(reason="odd"), range(0, 40, 4), range(5)),
        (Which(reason="odd", stage="source"), (), range(5)),
        (Which(start_ms=100, end_ms=200), range(10, 20), (2,)),
        (Which(reason="usual", start_ms=350), (35, 37, 38, 39), ()),
        (Which(reason="nothing"), (), ()),
    ],
)
def test_filters_find_each_once_in_order_over_pages(
    bus: Any, which: Which, logs: Sequence[int], alerts: Sequence[int], limit: int
) -> None:
    wanted = [*(("logs.dlq", n, n * 10) for n in logs), *(("alerts.dlq", n, n * 80 + 5) for n in alerts)]
    wanted.sort(key=lambda item: item[2])
    oldest = [(topic, offset) for topic, offset, _ in wanted]
    assert walked(bus, which, limit, oldest_first=True) == oldest
    assert walked(bus, which, limit, oldest_first=False) == oldest[::-1]


def test_a_dry_run_sends_nothing_and_a_replay_keeps_its_ids(bus: Any) -> None:
    bus.logs["logs"] = [Record("logs", 0, 0, None, b"0", 0, None)]  # only the first still stands there

    async def twice() -> None:
        dry = await letters.replay(bus, bus, bus, "logs", [0, 1], dry_run=True)
        assert (dry.replayed, bus.sent) == (2, [])
        await letters.replay(bus, bus, bus, "logs", [0, 1])
        await letters.replay(bus, bus, bus, "logs", [1])

    asyncio.run(twice())
    assert [(out.key, out.value) for out in bus.sent] == [
        (b"id-of-logs-0-0", b"0"),
        (b"id-of-logs.dlq-0-1", b"1"),
        (b"id-of-logs.dlq-0-1", b"1"),
    ]
