"""The Python client on a real gateway: what it publishes arrives once and typed, also when connections break."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import pytest

from schemas.cicd import CicdEvent
from streams.client import AsyncClient, Client, Gap, Received
from streams.client.wire import Events, batch
from streams.errors import Fatal, Invalid, Retryable
from tests.gateway.serving import Served
from tests.parts.process import free_port


def build(number: int, run: str) -> CicdEvent:
    return CicdEvent(
        id=f"{run}-{number}", type="build.finished", source=run, subject_id=f"{run}/{number}", time_ms=1, cluster="c"
    )


@pytest.fixture(scope="module")
def token(served: Served) -> str:
    given = served.token("topics:cicd.events:write", "topics:cicd.events:read", "topics:logs:write")
    return given["Authorization"].removeprefix("Bearer ")


def received(found: Iterator[Received | Gap], count: int) -> list[Received]:
    return [each for each in islice(found, count) if isinstance(each, Received)]


def test_records_are_published_in_requests_and_come_back_typed(served: Served, token: str) -> None:
    with Client(served.url, token) as bus:
        assert bus.publish("cicd.events", [build(n, "sync") for n in range(1200)]) == 1200
        seen = received(bus.follow("cicd.events", condition='source == "sync"', start="-1h"), 1200)
        assert {each.record.id for each in seen} == {f"sync-{n}" for n in range(1200)}
        assert isinstance(seen[0].record, CicdEvent)
        rest = received(bus.follow("cicd.events", condition='source == "sync"', after=seen[1100].point), 99)
        assert [each.offset for each in rest] == [each.offset for each in seen[1101:]]


async def test_the_same_for_asyncio(served: Served, token: str) -> None:
    async with AsyncClient(served.url, token) as bus:
        assert await bus.publish("cicd.events", [build(n, "async") for n in range(20)]) == 20
        seen: list[Any] = []
        async with asyncio.timeout(60):
            async for each in bus.follow("cicd.events", condition='source == "async"', start="-1h"):
                seen.append(each)
                if len(seen) == 20:
                    break
    assert {each.record.subject_id for each in seen} == {f"async/{n}" for n in range(20)}


def test_what_is_refused_is_named_and_what_is_not_allowed_is_fatal(served: Served, token: str) -> None:
    with Client(served.url, token) as bus:
        with pytest.raises(Invalid) as raised:
            bus.publish("cicd.events", [build(1, "bad"), {"id": "no more"}])
        assert set(raised.value.indexes or {}) == {1}
        with pytest.raises(Fatal, match="topics:alerts:write"):
            bus.publish("alerts", [{"labels": {}}])
        with pytest.raises(Fatal, match="topics:alerts:read"):
            next(iter(bus.follow("alerts")))


def test_a_log_sent_again_with_its_key_is_the_same_record(served: Served, token: str) -> None:
    with Client(served.url, token) as bus:
        for _ in range(2):
            bus.publish("logs", [{"log": "by the client"}], key="chunk-1")
    keys = [record.key for record in served.records("logs") if b"by the client" in (record.value or b"")]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_while_nobody_answers_it_is_tried_again_until_its_time_is_up() -> None:
    now, waits = [0.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    bus = Client(f"http://127.0.0.1:{free_port()}", "token", clock=lambda: now[0], sleep=sleep)
    with pytest.raises(Retryable, match="bus_away"):
        bus.publish("logs", [{"log": "x"}], within_s=10)
    assert waits == [0.2, 0.5, 1.0, 2.0, 5.0]


def test_events_are_put_together_from_lines() -> None:
    events = Events("before")
    lines = [b"retry: 2000", b"", b": heartbeat", b"id: p1", b"", b"event: gap"]
    lines += [b'data: {"topic":"logs","partition":0,"from":1,"to":5,"reason":"retention"}', b"", b"id: p2\r"]
    lines += [b'data: {"topic":"logs","partition":0,"offset":5,"key":null,"time":"t","record":{"log":1}}', b""]
    lines += [b'data: {"topic":"gaps","partition":0,"offset":5,"key":"k","time":"t","text":"no json"}', b""]
    lines += [b'data: {"topic":"gaps","partition":0,"offset":6,"key":"k","time":"t","record":null}', b""]
    gap, log, text, tombstone = [event for line in lines if (event := events.line(line + b"\n")) is not None]
    assert gap == Gap("logs", 0, 1, 5, "retention")
    assert isinstance(log, Received)
    assert (log.record, log.point, log.offset) == ({"log": 1}, "p2", 5)
    assert isinstance(text, Received)
    assert text.record == "no json"
    assert isinstance(tombstone, Received)
    assert tombstone.record is None


def test_a_batch_has_the_same_ids_for_the_same_key() -> None:
    bodies = [batch([{"log": "a"}], key="k", source="s", type_="t", now_ms=ms) for ms in (0, 5)]
    assert [msgspec.json.decode(body)[0]["id"] for body in bodies] == ["k-0", "k-0"]
