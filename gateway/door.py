"""The way of log records in over HTTP, whatever their form: refuse early, read, into Kafka, count.

`take` is the same for NDJSON and OTLP: only `read`, from the plain body to records, differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request

from gateway.compression import inflate
from gateway.ingest import TOPIC, records_in, size_of
from gateway.principal import Principal
from gateway.problems import Problem
from gateway.quotas import used_up
from gateway.services import Services
from gateway.shares import Shares
from streams.bulk import BulkProducer
from streams.disk import DiskWatch
from streams.errors import Failure, Invalid, Retryable
from streams.metrics import RECEIVED, REFUSED
from streams.record import Bulk

SMALL = 1 << 20
"""Plain bodies up to this are read on the event loop, larger ones beside it."""
STALLED_S = 5.0
"""When Kafka has not answered for so long, nothing more is taken."""
ANSWER_S = 20.0
DISK_AFTER_S = 30.0

Read = Callable[[bytes], list[Bulk]]


class Door:
    """One a process."""

    def __init__(self, services: Services, bulk: BulkProducer, disk: DiskWatch) -> None:
        self._services = services
        self._bulk = bulk
        self._disk = disk
        self._shares = Shares(services.settings.gateway.max_in_flight_bytes)

    async def take(self, request: Request, who: Principal, source: str, encoding: str, read: Read) -> list[Bulk]:
        """Return what was taken once Kafka has it. Raises Failure or Problem, counted under `source`."""
        try:
            self._open(who)
            return await self._taken(request, who, source, encoding, read)
        except Failure as error:
            REFUSED.labels(source, error.reason).inc()
            raise
        except Problem as error:
            REFUSED.labels(source, str(error.extensions.get("reason", error.status_code))).inc()
            raise

    def _open(self, who: Principal) -> None:
        if why := self._disk.full():
            raise Retryable("disk_full", why, DISK_AFTER_S)
        if self._bulk.stalled_s > STALLED_S:
            raise Retryable("bus_away", f"kafka has not answered for {self._bulk.stalled_s:.0f} s", STALLED_S)
        _within_quota(self._services, who.tenant)

    async def _taken(self, request: Request, who: Principal, source: str, encoding: str, read: Read) -> list[Bulk]:
        gateway = self._services.settings.gateway
        held = _claimed(request, gateway.max_body_bytes)
        self._shares.take(who.name, held)
        try:
            body = await request.body()
            if encoding:
                body = await asyncio.to_thread(inflate, body, encoding, gateway.max_inflated_bytes)
                more = max(0, len(body) - held)
                self._shares.take(who.name, more)
                held += more
            made = read(body) if len(body) <= SMALL else await asyncio.to_thread(read, body)
            await self._within_quotas(made)
            await self._send(made)
        finally:
            self._shares.give(who.name, held)
        count, nbytes = records_in(made), sum(map(size_of, made))
        RECEIVED.labels(source).inc(count)
        if self._services.intake is not None and count:
            self._services.intake.took(source, TOPIC, count, nbytes)
        return made

    async def _within_quotas(self, made: list[Bulk]) -> None:
        quotas = self._services.quotas
        if len(quotas.view.values()):  # somebody is beyond one
            await asyncio.to_thread(quotas.within, made)

    async def _send(self, made: list[Bulk]) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                refused = await self._bulk.send(made)
        except TimeoutError:
            raise Retryable("bus_away", f"kafka did not take it within {ANSWER_S:.0f} s") from None
        indexes: dict[int, str] = {}
        first = 0
        for bulk, bad in zip(made, refused, strict=True):
            indexes |= {first + index: why for index, why in bad.items()}
            first += len(bulk.values)
        if indexes:
            raise Invalid("too_large", f"{len(indexes)} records Kafka does not take; the others are stored", indexes)


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[None]:
    """The door of this process, in `app.state.door`."""
    services: Services = app.state.services
    settings = services.settings
    bulk = BulkProducer(settings.kafka, "eventsphere-gateway")
    app.state.door = Door(services, bulk, DiskWatch(settings.data_dir, settings.full_disk_percent))
    try:
        yield
    finally:
        await bulk.close()


async def door_of(request: Request) -> Door:
    door = getattr(request.app.state, "door", None)
    if not isinstance(door, Door):
        raise Problem(503, "Service unavailable", "the gateway is starting", headers={"Retry-After": "1"})
    return door


def _claimed(request: Request, limit: int) -> int:
    """What the body may come to take: its length, or the limit when it does not say."""
    length = request.headers.get("content-length", "")
    return min(int(length), limit) if length.isdigit() else limit


def _within_quota(services: Services, tenant: str) -> None:
    """Raises 429 for a tenant's sender when a hard quota of its tenant is used up: until the next day."""
    over = services.quotas.refused(tenant) if tenant else None
    if over is not None:
        raise used_up(over, services.clock())
