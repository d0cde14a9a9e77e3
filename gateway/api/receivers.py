"""`/api/v1/receivers`: who can be told, the test button; `/api/v1/channels`: what kinds of channels there are;
`/api/v1/templates/preview`: what a template gives, before anybody relies on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.alerting import Alerting, State
from gateway.deps import Kit, Principal, Search, audit, need
from gateway.lists import Cursor, Limit, Page, of_memory, sees
from gateway.problems import Problem
from gateway.services import Services
from schemas.alerting import Receiver
from schemas.alerts import NO_TENANT
from schemas.notifications import Context, Notification
from streams.sinks.channel import Channel
from streams.sinks.index.port import Kind as Indexed
from streams.sinks.kinds import kinds
from streams.sinks.letter import letter
from streams.sinks.own_templates import MAX_TEMPLATE, NotRendered, Renderer
from streams.sinks.registry import base_url, channels
from streams.sinks.trial import sample, try_receiver

router = APIRouter(tags=["notifications"])

Reader = Annotated[Principal, Depends(need("notifications:read"))]
Writer = Annotated[Principal, Depends(need("notifications:write"))]


class Held:
    """What this module keeps while the gateway runs: its channels for tests, its renderer for previews."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.renderer = Renderer()

    async def close(self) -> None:
        await self.renderer.close()
        for channel in self.channels:
            await channel.close()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.receivers = Held()
    try:
        yield
    finally:
        await app.state.receivers.close()


class Tested(BaseModel):
    """`results`: each target with `sent`, `retry` (for now refused, or away) or `failed`, and why."""

    receiver: str
    ok: bool
    results: list[dict[str, Any]]


class Preview(BaseModel):
    """`template`: Jinja, given a letter's fields. It shows `notification` (an id), or a sample."""

    model_config = ConfigDict(extra="forbid")

    template: str = Field(max_length=MAX_TEMPLATE)
    html: bool = False
    language: Literal["en", "zh"] = "en"
    notification: str = Field("", max_length=64)


class Previewed(BaseModel):
    """`error`: why the template gives nothing; a notification would go out in our own form and say so."""

    text: str = ""
    error: str = ""
    fields: list[str]
    """What a template may use."""


@router.get("/api/v1/receivers")
async def receivers(
    request: Request, kit: Kit, alerting: Alerting, who: Reader, limit: Limit = 100, cursor: Cursor = ""
) -> Page:
    """Receivers and their targets, without secrets."""
    platform(who)
    found = alerting.live.current.receivers
    reached = ways(request, kit)
    return of_memory(
        found,
        order=lambda each: each.name,
        reverse=False,
        limit=limit,
        cursor=cursor,
        show=lambda each: shown(each, reached),
    )


@router.post("/api/v1/receivers/{name}/test")
async def test(name: str, request: Request, kit: Kit, alerting: Alerting, who: Writer) -> Tested:
    """Send a notification that says it is a test to everything the receiver names, at once, and say what came of it.
    Nothing is tried again, and nothing is written to `notifications`."""
    return await tested(name, request, kit, alerting, who)


@router.get("/api/v1/channels")
async def channel_kinds(who: Reader) -> list[dict[str, Any]]:
    """The kinds of channels beside mail, webhook, Apprise and Alertmanager, with the JSON Schema of their
    configuration: what a form is made of."""
    return [
        {"name": kind.name, "title": kind.title, "documentation": kind.page, "schema": kind.schema}
        for kind in kinds().values()
    ]


@router.post("/api/v1/templates/preview")
async def preview(body: Preview, request: Request, kit: Kit, search: Search, who: Reader) -> Previewed:
    """Render a template as a delivery would: in a sandbox, with the same bounds."""
    notification = await _wanted(body.notification, kit, search, who)
    about = letter(notification, notification.alerts, Context(), base_url(kit.settings), language=body.language)
    data = msgspec.to_builtins(about)
    out = Previewed(fields=sorted(data))
    try:
        out.text = await request.app.state.receivers.renderer.render(body.template, data, html=body.html)
    except NotRendered as error:
        out.error = str(error)
    return out


async def tested(name: str, request: Request, kit: Services, alerting: State, who: Principal) -> Tested:
    """Raises 403, 404."""
    platform(who)
    receiver = alerting.live.current.receiver(name)
    if receiver is None:
        raise Problem(404, "Not found", f"there is no receiver {name[:128]!r}")
    notification = sample(name, kit.clock(), cluster=kit.settings.cluster.name)
    tried = await try_receiver(ways(request, kit), receiver, notification)
    results = [msgspec.to_builtins(each) for each in tried]
    audit(request, verb="test", object=f"receiver/{name}", after={"results": results})
    return Tested(receiver=name, ok=bool(tried) and all(each.result == "sent" for each in tried), results=results)


async def _wanted(id_: str, kit: Kit, search: Search, who: Principal) -> Notification:
    if not id_:
        return sample("ops", kit.clock(), who.tenant or NO_TENANT)
    hit = await search.get(Indexed.NOTIFICATIONS, id_)
    if hit is None or not sees(who, str(hit.record.get("tenant", ""))):
        raise Problem(404, "Not found", f"there is no notification {id_[:64]}")
    return msgspec.convert(dict(hit.record), Notification)


def ways(request: Request, kit: Kit) -> list[Channel]:
    held: Held = request.app.state.receivers
    if not held.channels:
        held.channels = channels(kit.settings)
    return held.channels


def shown(receiver: Receiver, reached: list[Channel]) -> dict[str, Any]:
    return {
        "name": receiver.name,
        "send_resolved": receiver.send_resolved,
        "targets": [
            {"channel": target.channel, "target": target.name} for way in reached for target in way.targets(receiver)
        ],
    }


def platform(who: Principal) -> None:
    if who.tenant != NO_TENANT:
        raise Problem(403, "Forbidden", "receivers are the platform's")
