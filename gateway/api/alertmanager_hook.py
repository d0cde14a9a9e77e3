"""`POST /hooks/alertmanager/{id}` -> `alerts`: an existing Alertmanager's webhook (version 4) as a source of ours.

It cannot sign: it proves itself by the hook's secret as bearer token or basic password (EVENTSPHERE_HOOKS). 200 comes
after Kafka has the alerts. A pair that sends everything twice changes nothing: the state of an alert is by fingerprint,
startsAt and status.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as FromPath
from fastapi.responses import JSONResponse

from gateway import am_alerts
from gateway.am_alerts import Poster
from gateway.deps import Bus, Clock, Config, audit
from gateway.problems import Problem
from streams.metrics import RECEIVED, REFUSED
from streams.settings import Hook, Settings

router = APIRouter(tags=["hooks"])
SOURCE = "hook-alertmanager"


@router.post("/hooks/alertmanager/{hook}")
async def alertmanager(
    hook: Annotated[str, FromPath(max_length=128)], request: Request, config: Config, bus: Bus, clock: Clock
) -> Response:
    """Alertmanager tries again on 5xx (Kafka is away) and gives up on 4xx (the body or the secret is wrong)."""
    found = _hook(config, hook)
    if not is_proven(request.headers.get("authorization", ""), found.secret.get_secret_value()):
        REFUSED.labels(SOURCE, "forged").inc()
        audit(request, verb="hook", reason="the secret is wrong or missing")
        raise Problem(401, "Unauthorized", "the secret is wrong or missing", headers={"WWW-Authenticate": "Bearer"})
    audit(request, verb="hook", actor=f"alertmanager/{hook}")
    poster = Poster(found.tenant, config.cluster.name or "local", f"alertmanager/{hook}", clock(), 0)
    try:
        alerts, wrong = am_alerts.hooked(await request.body(), poster)
    except ValueError as error:
        REFUSED.labels(SOURCE, "malformed").inc()
        raise Problem(400, "Malformed body", str(error)) from None
    await bus.send([am_alerts.outgoing(alert) for alert in alerts])
    RECEIVED.labels(SOURCE).inc(len(alerts))
    if wrong:
        REFUSED.labels(SOURCE, "invalid").inc(len(wrong))
        raise Problem(400, "Invalid alerts", "; ".join(wrong[:20]), errors=wrong[:20])
    return JSONResponse({"status": "accepted", "alerts": len(alerts)})


def is_proven(header: str, secret: str) -> bool:
    """Whether an Authorization header holds the secret, as bearer token or as basic's password; in constant time."""
    scheme, _, text = header.partition(" ")
    given = text.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return bool(secret) and hmac.compare_digest(given, secret.encode())


def _hook(config: Settings, identity: str) -> Hook:
    for hook in config.hooks:
        if hook.kind == "alertmanager" and hook.id == identity:
            return hook
    raise Problem(404, "Not found", "there is no alertmanager hook of this name (EVENTSPHERE_HOOKS)")
