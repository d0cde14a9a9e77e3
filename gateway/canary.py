"""Sends the canary, sees it arrive, and only then a heartbeat out: who pages when Eventsphere itself is broken.

An outside service (a dead man's switch) pages when the heartbeats end, whatever ended: this process, Kafka, a worker,
rules, routing or delivery. A heartbeat is for a canary of this very process that arrived in time; it is not kept for
later when the outside does not answer. While notifications are in shadow mode there is neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
import msgspec
import structlog

from schemas.base import rfc3339
from schemas.platform import Canary, Trip
from streams import canary
from streams.errors import Failure
from streams.metrics import CANARY_AT, CANARY_EVERY, CANARY_SECONDS, HEARTBEATS
from streams.producer import Producer
from streams.settings import Settings
from streams.sinks.guard import guarded_session
from streams.sinks.http import post
from streams.views import View

log = structlog.get_logger(__name__)

REMEMBERED = 100
SLOTS = 10
TRIES, BETWEEN_S = 3, 2.0


class Seen(NamedTuple):
    """0: never."""

    sent_ms: int = 0
    arrived_ms: int = 0
    trip_ms: int = 0
    beat_ms: int = 0
    beat_error: str = ""


class Watch:
    """`trips`: what was delivered. `new_id` gives what nobody can guess."""

    def __init__(
        self, settings: Settings, producer: Producer, clock: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        self._settings = settings.canary
        self._cluster = settings.cluster.name or "local"
        self._producer = producer
        self._clock = clock
        self._new_id = new_id
        self._sent: dict[str, int] = {}
        self._count = 0
        self._beats: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._started_ms = clock()
        self.seen = Seen()
        self.enabled = self._settings.every_s > 0 and settings.notify.mode == "live"
        self.trips = View(settings.kafka, canary.TRIPS, msgspec.json.Decoder(Trip).decode)
        self.trips.on_change(lambda _key, trip: self._arrived(trip) if trip is not None else None)

    async def run(self) -> None:
        CANARY_EVERY.set(self._settings.every_s if self.enabled else 0)
        CANARY_AT.set(self._started_ms / 1000)
        if not self.enabled:
            return
        await self.trips.start()
        while True:
            await asyncio.sleep(self._settings.every_s)
            await self.send()

    async def send(self) -> None:
        """Let one go. One that could not be sent is one that does not arrive."""
        now_ms = self._clock()
        self._count += 1
        slot = str(self._count % SLOTS)
        one = Canary(id=self._new_id(), time_ms=now_ms, slot=slot, cluster=self._cluster)
        self._sent[one.id] = now_ms
        while len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]
        self.seen = self.seen._replace(sent_ms=now_ms)
        try:
            await self._producer.send([canary.sent(one)])
        except Failure as error:
            log.warning("canary.not_sent", reason=str(error))

    async def close(self) -> None:
        await self.trips.close()
        for task in self._beats:
            task.cancel()
        await asyncio.gather(*self._beats, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def late(self) -> bool:
        """Whether none arrived for longer than one may take."""
        since = max(self.seen.arrived_ms, self._started_ms)
        return self.enabled and self._clock() - since > (self._settings.every_s + self._settings.late_s) * 1000

    def text(self) -> str:
        """In a line."""
        if not self.enabled:
            return "off"
        if not self.seen.arrived_ms:
            return "none arrived for too long" if self.late() else "none arrived yet"
        ago = max(0, self._clock() - self.seen.arrived_ms) / 1000
        said = f"took {self.seen.trip_ms / 1000:.1f} s, {ago:.0f} s ago"
        said += ": late" if self.late() else ""
        return said + (f"; heartbeat: {self.seen.beat_error}" if self.seen.beat_error else "")

    def shown(self) -> dict[str, Any]:
        seen = self.seen

        def time(ms: int) -> str:
            return rfc3339(ms) if ms else ""

        return {
            "enabled": self.enabled,
            "late": self.late(),
            "every_s": self._settings.every_s,
            "sent": time(seen.sent_ms),
            "arrived": time(seen.arrived_ms),
            "trip_s": seen.trip_ms / 1000 if seen.arrived_ms else None,
            "heartbeat": {
                "configured": bool(self._settings.heartbeat_url.get_secret_value()),
                "last": time(seen.beat_ms),
                "error": seen.beat_error,
            },
        }

    def _arrived(self, trip: Trip) -> None:
        sent_ms = self._sent.pop(trip.id, None)
        if sent_ms is None:
            return  # another gateway's, or one that was told twice
        trip_ms = max(0, trip.arrived_ms - sent_ms)
        self.seen = self.seen._replace(arrived_ms=trip.arrived_ms, trip_ms=trip_ms)
        CANARY_SECONDS.set(trip_ms / 1000)
        CANARY_AT.set(trip.arrived_ms / 1000)
        if trip_ms > self._settings.late_s * 1000:
            log.warning("canary.late", trip_s=trip_ms / 1000)
        elif self._settings.heartbeat_url.get_secret_value():
            task = asyncio.get_running_loop().create_task(self._beat(), name="heartbeat")
            self._beats.add(task)
            task.add_done_callback(self._beats.discard)

    async def _beat(self) -> None:
        if self._session is None:
            self._session = guarded_session(allow_private=True)  # the operator's own setting, no tenant's
        error: Failure | None = None
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(BETWEEN_S * attempt)
            try:
                url, now_ms = self._settings.heartbeat_url.get_secret_value(), self._clock()
                await post(self._session, url, b"", {}, now_s=now_ms / 1000)
            except Failure as failure:
                error = failure
                continue
            HEARTBEATS.labels("sent").inc()
            self.seen = self.seen._replace(beat_ms=now_ms, beat_error="")
            return
        HEARTBEATS.labels("failed").inc()
        self.seen = self.seen._replace(beat_error=str(error))
        log.warning("canary.no_heartbeat", reason=str(error))
