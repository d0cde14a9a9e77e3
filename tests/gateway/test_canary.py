"""The canary: which heartbeat it stands for, and that nothing a user does keeps it from its way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from agents.index_events import _Canary
from gateway.canary import TRIES, Watch
from schemas.alerts import INTERNAL, AlertState, Matcher, Silence, Status
from schemas.base import encode
from schemas.notifications import Outcome, Result
from schemas.platform import Trip
from streams import canary
from streams.alerting import parse
from streams.batch import batch_of
from streams.muting import silenced_by
from streams.record import Outgoing, Record
from streams.routing import destinations
from streams.settings import Notify, Settings
from streams.watch_settings import Canary as CanarySettings
from tests.parts.process import free_port

LABELS = {"alertname": "EventsphereCanary", "eventsphere_internal": "canary", "severity": "none", "cluster": "c"}


class Bus:
    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.sent += records


class Clock:
    ms = 1_767_607_200_000

    def __call__(self) -> int:
        return self.ms


def watching(url: str = "", **more: object) -> tuple[Watch, Bus, Clock]:
    bus, clock, ids = Bus(), Clock(), iter(f"id-{n}" for n in range(1000))
    section = CanarySettings.model_validate({"every_s": 60, "late_s": 120, "heartbeat_url": url})
    settings = Settings(canary=section, **more)
    return Watch(settings, bus, clock, lambda: next(ids)), bus, clock  # type: ignore[arg-type]


def test_only_what_it_sent_itself_counts_and_only_in_time() -> None:
    async def scenario() -> None:
        watch, bus, clock = watching()
        await watch.send()
        assert [record.topic for record in bus.sent] == [canary.TOPIC]
        watch._arrived(Trip(id="forged", arrived_ms=clock.ms))
        assert watch.seen.arrived_ms == 0
        watch._arrived(Trip(id="id-0", arrived_ms=clock.ms + 1500))
        assert (watch.seen.trip_ms, watch.late()) == (1500, False)
        assert watch.text() == "took 1.5 s, 0 s ago"
        clock.ms += 180_000
        assert not watch.late()
        clock.ms += 10_000
        assert watch.late()
        assert "late" in watch.text()

    asyncio.run(scenario())


def test_a_heartbeat_goes_out_for_each_that_arrived_in_time_and_for_no_other() -> None:
    async def scenario() -> None:
        beats: list[str] = []
        refuse = False

        async def beat(request: web.Request) -> web.Response:
            beats.append(request.path)
            return web.Response(status=500 if refuse else 200)

        app = web.Application()
        app.router.add_post("/secret", beat)
        runner = web.AppRunner(app)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        watch, _, clock = watching(f"http://127.0.0.1:{port}/secret")
        await watch.send()
        watch._arrived(Trip(id="id-0", arrived_ms=clock.ms + 1000))
        await asyncio.gather(*watch._beats)
        assert beats == ["/secret"]
        await watch.send()
        watch._arrived(Trip(id="id-1", arrived_ms=clock.ms + 121_000))
        assert not watch._beats
        refuse = True
        await watch.send()
        watch._arrived(Trip(id="id-2", arrived_ms=clock.ms))
        await asyncio.gather(*watch._beats)
        assert len(beats) == 1 + TRIES
        assert "secret" not in watch.text()
        assert watch.seen.beat_error
        await watch.close()
        await runner.cleanup()

    asyncio.run(scenario())


def test_in_shadow_mode_there_is_none() -> None:
    watch, _, _ = watching(notify=Notify(mode="shadow"))
    assert not watch.enabled
    assert watch.text() == "off"
    assert watch.shown()["arrived"] == ""


def test_its_route_is_before_all_others_and_no_other_alert_takes_it() -> None:
    catch_all = "route: {receiver: a, routes: [{receiver: a, matchers: [alertname=~'.*']}]}\nreceivers: [{name: a}]\n"
    config = canary.with_canary(parse(catch_all))
    assert [each.route.receiver for each in destinations(config.route, LABELS)] == [canary.RECEIVER]
    assert [each.route.receiver for each in destinations(config.route, {"alertname": "Other"})] == ["a"]
    assert config.original == parse(catch_all).original


def test_no_silence_covers_it() -> None:
    state = AlertState(
        tenant=INTERNAL, fingerprint="f", episode="e", state=Status.FIRING, labels=LABELS, starts_at_ms=1,
        updated_at_ms=1, seq=1,
    )  # fmt: skip
    everything = Silence(
        id="s", matchers=[Matcher(name="alertname", value=".+", is_regex=True)], starts_at_ms=0, ends_at_ms=9,
        created_by="ada", updated_at_ms=0,
    )  # fmt: skip
    assert silenced_by(state, [everything]) == []


def test_what_is_told_of_it_is_not_indexed() -> None:
    def outcome(tenant: str) -> bytes:
        return encode(
            Outcome(notification="n", tenant=tenant, receiver="r", channel="c", attempt=1, result=Result.SENT, at_ms=1)
        )

    records = [Record("notifications.outcomes", 0, n, None, outcome(t), 1) for n, t in enumerate(("shop", INTERNAL))]
    assert _Canary().over(batch_of(records)) == {1: "canary"}
