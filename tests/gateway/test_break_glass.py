"""While Kafka is away: urgent alerts are told directly, once, and Kafka hears of it when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiohttp import web
from sqlmodel import Session

from gateway.break_glass import ANNOTATION, BreakGlass
from gateway.database import ready
from schemas.alerts import Alert, Matcher, Silence, fingerprint
from streams.errors import Retryable
from streams.record import Outgoing
from streams.settings import Settings
from streams.watch_settings import BreakGlass as Section
from tests.parts.process import free_port

NOW_MS = 1_767_607_200_000


def alert(name: str = "DbDown", severity: str = "critical", starts_at_ms: int = NOW_MS, ends_at_ms: int = 0) -> Alert:
    labels = {"alertname": name, "severity": severity}
    return Alert(
        labels=labels, starts_at_ms=starts_at_ms, ends_at_ms=ends_at_ms, observed_at_ms=NOW_MS,
        fingerprint=fingerprint(labels), source="prometheus",
    )  # fmt: skip


class Surroundings:
    """What the gateway's services are to it: a real database, a bus that is away until it is told to be there."""

    def __init__(self, folder: Path, url: str) -> None:
        self.settings = Settings(data_dir=str(folder), break_glass=Section.model_validate({"webhook_url": url}))
        self.now_ms = NOW_MS
        self.away = True
        self.sent: list[Outgoing] = []
        self.silences: list[Silence] = []
        self.views = SimpleNamespace(silences=SimpleNamespace(values=lambda: self.silences))
        self.producer = self.accounts = self
        self._engine = ready(self.settings)

    def clock(self) -> int:
        return self.now_ms

    async def send(self, records: Sequence[Outgoing]) -> None:
        if self.away:
            raise Retryable("bus_away")
        self.sent += records

    async def work(self, work: Callable[[Session], Any]) -> Any:
        with Session(self._engine, expire_on_commit=False) as session:
            return work(session)


@asynccontextmanager
async def told(folder: Path) -> AsyncIterator[tuple[BreakGlass, Surroundings, list[Any]]]:
    """The break-glass receiver and what reached its webhook."""
    heard: list[Any] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", hear)
    runner, port = web.AppRunner(app), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    around = Surroundings(folder, f"http://127.0.0.1:{port}/")
    glass = BreakGlass(around)  # type: ignore[arg-type]
    yield glass, around, heard
    await glass.close()
    await runner.cleanup()


def test_an_urgent_alert_is_told_once_and_again_when_it_lasts(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with told(tmp_path) as (glass, around, heard):
            await glass.tell([alert(), alert("Slow", "warning"), alert("Over", ends_at_ms=NOW_MS - 1)])
            await glass.tell([alert()])
            assert [[each["labels"]["alertname"] for each in body["alerts"]] for body in heard] == [["DbDown"]]
            assert "BREAK GLASS" in heard[0]["groupLabels"]["told"]
            around.now_ms += 3_600_000
            await glass.tell([alert()])
            await glass.tell([alert(starts_at_ms=NOW_MS + 1)])
            assert len(heard) == 3

    asyncio.run(scenario())


def test_what_is_silenced_is_not_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with told(tmp_path) as (glass, around, heard):
            around.silences = [Silence(
                id="s", matchers=[Matcher(name="alertname", value="DbDown")], starts_at_ms=0, ends_at_ms=NOW_MS + 1,
                created_by="ada", updated_at_ms=0,
            )]  # fmt: skip
            await glass.tell([alert()])
            assert heard == []

    asyncio.run(scenario())


def test_kafka_hears_of_it_when_it_is_back_and_later_observations_are_marked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with told(tmp_path) as (glass, around, _):
            assert glass.marked([alert()]) == [alert()]
            await glass.tell([alert()])
            # a gateway that was killed and started again
            again = BreakGlass(around)  # type: ignore[arg-type]
            try:
                await again._reconcile()
                raise AssertionError("the bus is away")
            except Retryable:
                pass
            around.away = False
            await again._reconcile()
            await again._reconcile()
            assert [record.topic for record in around.sent] == ["alerts", "platform.audit"]
            known = msgspec.json.decode(around.sent[0].value or b"", type=Alert)
            assert known.fingerprint == alert().fingerprint
            assert "directly, while Kafka was away" in known.annotations[ANNOTATION]
            assert again.marked([alert()])[0].annotations == known.annotations
            assert again.marked([alert(starts_at_ms=NOW_MS + 1)])[0].annotations == {}
            assert again.shown() == {"configured": True, "told": 1, "not_in_kafka_yet": 0}
            await again.close()

    asyncio.run(scenario())


def test_what_is_posted_while_kafka_is_known_to_be_away_is_told_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with told(tmp_path) as (glass, _, heard):
            glass.away = True
            with pytest.raises(Retryable):
                await glass.store([alert(), alert("Slow", "warning")])
            assert len(heard) == 1

    asyncio.run(scenario())


def test_without_a_receiver_nobody_is_told(tmp_path: Path) -> None:
    around = Surroundings(tmp_path, "")
    glass = BreakGlass(around)  # type: ignore[arg-type]
    assert glass.after_s is None
    asyncio.run(glass.tell([alert()]))
    assert glass.shown()["told"] == 0
