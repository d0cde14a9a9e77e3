"""Console pages of who is told: receivers with their test button, one's own wishes, and sending again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ValidationError

from gateway.alerting import State
from gateway.api import me, receivers
from gateway.api.notifications import found, sent_again
from gateway.deps import audit
from gateway.pages import PageRoute, Sent, Viewer, sent, viewer
from gateway.problems import Problem
from schemas.people import Person, person_key

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/receivers")
async def page_of_receivers(request: Request, view: Annotated[Viewer, viewer("notifications:read")]) -> Response:
    return _page(request, view)


@router.post("/receivers/test")
async def test(request: Request, data: Annotated[Sent, sent("notifications:write")]) -> Response:
    view, fields = data
    alerting: State = request.app.state.alerting
    tested = await receivers.tested(fields.get("receiver", ""), request, view.kit, alerting, view.who)
    return _page(request, view, tested)


def _page(request: Request, view: Viewer, tested: receivers.Tested | None = None) -> Response:
    receivers.platform(view.who)
    alerting: State = request.app.state.alerting
    ways = receivers.ways(request, view.kit)
    items = [receivers.shown(each, ways) for each in alerting.live.current.receivers]
    items.sort(key=lambda each: each["name"])
    may = view.who.may("notifications:write")
    return view.page("receivers.html", items=items, tested=tested, may_test=may)


@router.get("/me/notifications")
async def wishes(request: Request, view: Annotated[Viewer, viewer("alerts:read")]) -> Response:
    person = me.view(request).get(person_key(view.who.tenant, me.name(view.who)))
    nobody = Person(tenant=view.who.tenant, name=view.who.name, address="")
    return view.page("me.html", w=me.shown(person or nobody), known=person is not None)


@router.post("/me/notifications")
async def wish(request: Request, data: Annotated[Sent, sent("alerts:read")]) -> Response:
    view, fields = data
    if fields.get("remove"):
        await me.forget(request, view.kit, view.who)
        return data.back("forgotten", "/me/notifications")
    try:
        wanted = me.Wanted.model_validate(_wanted(fields))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Problem(422, "That cannot be", f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None
    await me.keep(wanted, request, view.kit, view.who)
    return data.back("saved", "/me/notifications")


def _wanted(fields: dict[str, str]) -> dict[str, Any]:
    names = ("address", "language", "severity", "through")
    out: dict[str, Any] = {name: fields[name] for name in names if name in fields}
    out["enabled"] = bool(fields.get("enabled"))
    out["digest_minutes"] = fields.get("digest_minutes") or 0
    if fields.get("start") and fields.get("end"):
        out["quiet"] = {"start": fields["start"], "end": fields["end"], "zone": fields.get("zone") or "UTC"}
    return out


@router.post("/notifications/{id}/resend")
async def resend(id: str, request: Request, data: Annotated[Sent, sent("notifications:write")]) -> Response:  # noqa: A002
    view = data.viewer
    again = sent_again(await found(id, view.kit.index, view.who), view.kit.clock())
    await view.kit.producer.send([again.outgoing(view.who.name)])
    audit(request, verb="resend", object=f"notification/{id}", after={"id": again.notification.id})
    return data.back("replayed", f"/notifications/{id}")
