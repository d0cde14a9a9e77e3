"""`/api/v1/me/notifications`: how a person wants to be told: mail, severity, quiet hours, digest, language."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.deps import Kit, Principal, audit, need
from gateway.problems import Problem
from gateway.services import Services
from schemas.base import encode, rfc3339
from schemas.headers import cloud_headers
from schemas.people import Person, Quiet, person_key
from streams.record import Outgoing
from streams.sinks.mail import bare_address
from streams.views import View

router = APIRouter(tags=["notifications"], prefix="/api/v1/me/notifications")

TOPIC = "people"
Who = Annotated[Principal, Depends(need("alerts:read"))]
"""Whoever may see alerts may be told of them."""
Severity = Literal["", "info", "warning", "error", "critical"]
Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class QuietHours(BaseModel):
    """`22:00` to `07:00` by the clocks of `zone`; `weekdays`: 0 for Monday, the day it begins."""

    model_config = ConfigDict(extra="forbid")

    start: Clock
    end: Clock
    zone: str = Field("UTC", max_length=64)
    weekdays: list[Annotated[int, Field(ge=0, le=6)]] = Field([], max_length=7)

    @field_validator("zone")
    @classmethod
    def known(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError("expected a time zone of the IANA database, such as Asia/Shanghai")
        return zone


class Wanted(BaseModel):
    """How somebody wants to be told."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(max_length=320)
    enabled: bool = True
    language: Literal["en", "zh"] = "en"
    severity: Severity = ""
    """The least that is told at all."""
    quiet: QuietHours | None = None
    through: Severity = "critical"
    """The least that is told at once in quiet hours and instead of a digest; empty: none."""
    digest_minutes: int = Field(0, ge=0, le=1440)

    @field_validator("address")
    @classmethod
    def sound(cls, address: str) -> str:
        return bare_address(address)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    app.state.people = people = View(services.settings.kafka, TOPIC, msgspec.json.Decoder(Person).decode)
    starting = asyncio.create_task(people.start(), name="people")
    try:
        yield
    finally:
        starting.cancel()
        await people.close()


@router.get("")
async def mine(request: Request, who: Who) -> dict[str, Any]:
    """What one has set. 404: nothing yet, one is not told in person."""
    person = view(request).get(person_key(who.tenant, name(who)))
    if person is None:
        raise Problem(404, "Not found", "you have set nothing: you are not told in person")
    return shown(person)


@router.put("")
async def change(body: Wanted, request: Request, kit: Kit, who: Who) -> dict[str, Any]:
    """Set it. Receivers with `people_configs` tell everybody of the alert's tenant who has."""
    return await keep(body, request, kit, who)


async def keep(body: Wanted, request: Request, kit: Services, who: Principal) -> dict[str, Any]:
    person = Person(
        tenant=who.tenant,
        name=name(who),
        address=body.address,
        enabled=body.enabled,
        language=body.language,
        severity=body.severity,
        quiet=_quiet(body.quiet),
        through=body.through,
        digest_minutes=body.digest_minutes,
        updated_at_ms=kit.clock(),
        cluster=kit.settings.cluster.name,
    )
    await kit.producer.send([_outgoing(person)])
    audit(request, verb="update", object=f"person/{person.name}", after=shown(person))
    return shown(person)


@router.delete("", status_code=204)
async def remove(request: Request, kit: Kit, who: Who) -> Response:
    """Not be told in person any more."""
    await forget(request, kit, who)
    return Response(status_code=204)


async def forget(request: Request, kit: Services, who: Principal) -> None:
    key = person_key(who.tenant, name(who)).encode()
    await kit.producer.send([Outgoing(TOPIC, None, key)])
    audit(request, verb="delete", object=f"person/{name(who)}")


def shown(person: Person) -> dict[str, Any]:
    quiet = person.quiet
    return {
        "address": person.address,
        "enabled": person.enabled,
        "language": person.language,
        "severity": person.severity,
        "quiet": None
        if quiet is None
        else {
            "start": _clock(quiet.start),
            "end": _clock(quiet.end),
            "zone": quiet.zone,
            "weekdays": quiet.weekdays,
        },
        "through": person.through,
        "digest_minutes": person.digest_minutes,
        "updated": rfc3339(person.updated_at_ms),
    }


def name(who: Principal) -> str:
    if who.token:
        raise Problem(403, "Forbidden", "this is for people, not for machine tokens")
    return who.name


def _quiet(quiet: QuietHours | None) -> Quiet | None:
    if quiet is None:
        return None
    return Quiet(start=_minute(quiet.start), end=_minute(quiet.end), zone=quiet.zone, weekdays=sorted(quiet.weekdays))


def _minute(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def view(request: Request) -> View[Person]:
    people: View[Person] = request.app.state.people
    if not people.ready:
        raise Problem(503, "Service unavailable", "people are not read yet", headers={"Retry-After": "1"})
    return people


def _outgoing(person: Person) -> Outgoing:
    key = person_key(person.tenant, person.name)
    headers = cloud_headers(
        topic=TOPIC,
        id=f"{key}/{person.updated_at_ms}",
        type="person.changed",
        source="eventsphere/gateway",
        time_ms=person.updated_at_ms,
        subject=key,
    )
    return Outgoing(TOPIC, encode(person), key.encode(), headers)
