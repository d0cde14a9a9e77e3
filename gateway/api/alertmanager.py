"""Alertmanager's API v2 in its place: Prometheus posts here, amtool and Grafana list here (silences: beside this file).

`alerts` is written; what is shown is computed from this process's copies of `alerts.state` and `silences`. Refusals are
JSON texts with Alertmanager's status codes, as its clients expect them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from gateway import am_alerts
from gateway.alerting import CONTROL, Alerting, Filters, State, matchers_of, refuse
from gateway.am_alerts import Choice, Poster, Present
from gateway.break_glass import BreakGlass
from gateway.deps import Bus, Clock, Config, Kit, Principal, audit, need
from gateway.lists import tenants
from schemas.alerts import Matcher
from schemas.base import digest, encode, rfc3339
from schemas.headers import cloud_headers
from schemas.platform import Control
from streams.alerting import CHANGED, WrongConfig
from streams.canary import RECEIVER as CANARY
from streams.errors import Retryable
from streams.matching import check
from streams.metrics import RECEIVED, REFUSED
from streams.record import Outgoing

Reader = Annotated[Principal, Depends(need("alerts:read"))]
Writer = Annotated[Principal, Depends(need("alerts:write"))]
Caller = Annotated[Principal, Depends(need())]
Show = Callable[[Present, Choice, tuple[str, ...]], list[dict[str, Any]]]
router = APIRouter(tags=["alertmanager"])


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Raises WrongConfig when the configuration cannot be used: the gateway does not start then."""
    state = app.state.alerting = State(app.state.services)
    running = asyncio.create_task(state.run(), name="alerting")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await state.close()


@router.post("/api/v2/alerts")
async def post_alerts(request: Request, alerting: Alerting, config: Config, clock: Clock, who: Writer) -> Response:
    """Take alerts in; 200 once Kafka has them. Those that are valid are taken even when others are refused."""
    timeout_ms = alerting.live.current.resolve_timeout_ms
    poster = Poster(who.tenant, config.cluster.name or "local", "prometheus", clock(), timeout_ms)
    try:
        alerts, wrong = am_alerts.posted(await request.body(), poster)
    except ValueError as error:
        REFUSED.labels("alerts", "malformed").inc()
        return refuse(400, str(error))
    glass: BreakGlass = request.app.state.break_glass
    await glass.store(alerts)
    RECEIVED.labels("alerts").inc(len(alerts))
    if wrong:
        REFUSED.labels("alerts", "invalid").inc(len(wrong))
        return refuse(400, "; ".join(wrong[:20]) + (f"; and {len(wrong) - 20} more" if len(wrong) > 20 else ""))
    return Response(status_code=200)


def _choice(
    filters: Filters = [],  # noqa: B006 - FastAPI copies it
    active: bool = True,
    silenced: bool = True,
    inhibited: bool = True,
    receiver: str = "",
) -> Choice | str:
    """What is asked for, or what is wrong with it. `unprocessed` is taken and means nothing: there is no such alert."""
    try:
        wanted = check(Matcher(name="receiver", value=receiver, is_regex=True)) if receiver else None
        return Choice(active, silenced, inhibited, matchers_of(filters), wanted)
    except ValueError as error:
        return str(error)


Asked = Annotated[Choice | str, Depends(_choice)]


@router.get("/api/v2/alerts")
async def get_alerts(kit: Kit, alerting: Alerting, choice: Asked, who: Reader) -> Response:
    """What fires now, by fingerprint; pending alerts are nobody's business yet."""
    return await _answer(kit, alerting, Present.alerts, choice, who)


@router.get("/api/v2/alerts/groups")
async def get_groups(kit: Kit, alerting: Alerting, choice: Asked, who: Reader) -> Response:
    """The same by receiver and group."""
    return await _answer(kit, alerting, Present.groups, choice, who)


async def _answer(kit: Kit, alerting: State, show: Show, choice: Choice | str, who: Principal) -> Response:
    """Many alerts take a while to look at and to write: not on the event loop."""
    if isinstance(choice, str):
        return refuse(400, choice)
    views = kit.views
    if not (views.alerts.ready and views.silences.ready):
        raise Retryable("views", "alerts and silences are still being read from Kafka", 1.0)
    states, silences = list(views.alerts.values()), list(views.silences.values())
    config, now_ms, whose = alerting.live.current, kit.clock(), tenants(who)

    def body() -> bytes:
        return encode(show(Present(config, states, silences, now_ms), choice, whose))

    return Response(await asyncio.to_thread(body), media_type="application/json")


@router.get("/api/v2/receivers")
async def get_receivers(alerting: Alerting, _who: Reader) -> list[dict[str, str]]:
    return [{"name": each.name} for each in alerting.live.current.receivers if each.name != CANARY]


@router.get("/api/v2/status")
async def get_status(alerting: Alerting, _who: Reader) -> dict[str, Any]:
    """`versionInfo.version` is the Alertmanager whose API this is, then our own."""
    config = alerting.live.current
    info = dict.fromkeys(("branch", "buildDate", "buildUser", "goVersion", "revision"), "")
    return {
        "cluster": {"status": "disabled", "peers": []},
        "config": {"original": config.original},
        "uptime": rfc3339(alerting.started_ms),
        "versionInfo": info | {"version": f"0.25.0+eventsphere.{version('eventsphere')}"},
    }


@router.get("/-/healthy")
@router.get("/-/ready")
async def healthy(_who: Caller) -> Response:
    return PlainTextResponse("OK")


@router.post("/-/reload")
async def reload(request: Request, alerting: Alerting, config: Config, bus: Bus, clock: Clock, who: Writer) -> Response:
    """Read the configuration again, here and in every worker; when it is wrong: 500 with file and line, no change."""
    message = Control(type=CHANGED, by=who.name, time_ms=clock(), cluster=config.cluster.name or "local")
    audit(request, verb="reload", object="alerting")
    try:
        await alerting.live.on_control(message)
    except WrongConfig as error:
        return PlainTextResponse(f"failed to reload config: {error}\n", 500)
    headers = cloud_headers(
        topic=CONTROL,
        id=digest(CHANGED, who.name, str(message.time_ms)),
        type=CHANGED,
        source="eventsphere/gateway",
        time_ms=message.time_ms,
        subject=CHANGED,
    )
    await bus.send([Outgoing(CONTROL, encode(message), CHANGED.encode(), headers)])
    return Response(status_code=200)
