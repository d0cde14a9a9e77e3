"""`POST /hooks/github/{id}`, `POST /hooks/gitlab/{id}` -> cicd.events. Key: repository@branch.

The sender proves itself by a signature over the raw bytes (or GitLab's token); 202 comes after Kafka has the event. A
delivery that comes again gives the same event id. What is not used is accepted and ignored, with the reason.
"""

from __future__ import annotations

import hashlib
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi import Path as FromPath
from pydantic import BaseModel

from gateway import pushes, signatures
from gateway.deps import Bus, Clock, Config, audit
from gateway.problems import Problem
from schemas.base import encode
from schemas.cicd import CicdEvent
from schemas.headers import cloud_headers
from streams.metrics import RECEIVED, REFUSED
from streams.record import Outgoing
from streams.settings import Hook, Settings

router = APIRouter(tags=["hooks"])
HookId = Annotated[str, FromPath(max_length=128)]
MAX_DELIVERY = 200
MAX_FIELDS = 10
"""Of a form."""


class Taken(BaseModel):
    """`accepted` with the event's id, or `ignored` with the reason."""

    status: str
    id: str = ""
    reason: str = ""


@router.post("/hooks/github/{hook}", status_code=202)
async def github(hook: HookId, request: Request, config: Config, bus: Bus, clock: Clock) -> Taken:
    """GitHub's push events (JSON or form), signed with the hook's secret."""
    found = _hook(config, "github", hook)
    body = await request.body()
    _prove(request, found, signatures.github(request.headers, body, found.secret.get_secret_value()))
    origin = _origin(config, found, _delivery(request, body, "x-github-delivery"), clock())
    kind = request.headers.get("x-github-event", "")
    return await _take(bus, _parsed(pushes.github, _unwrapped(request, body), kind, origin), origin)


@router.post("/hooks/gitlab/{hook}", status_code=202)
async def gitlab(hook: HookId, request: Request, config: Config, bus: Bus, clock: Clock) -> Taken:
    """GitLab's push events, by `X-Gitlab-Token` or signed by Standard Webhooks."""
    found = _hook(config, "gitlab", hook)
    body = await request.body()
    secret = found.secret.get_secret_value()
    _prove(request, found, signatures.gitlab(request.headers, body, secret, clock() / 1000))
    names = ("idempotency-key", "webhook-id")
    origin = _origin(config, found, _delivery(request, body, *names), clock())
    kind = request.headers.get("x-gitlab-event", "")
    return await _take(bus, _parsed(pushes.gitlab, body, kind, origin), origin)


def _hook(config: Settings, kind: str, id_: str) -> Hook:
    for hook in config.hooks:
        if (hook.kind, hook.id) == (kind, id_) and hook.secret.get_secret_value():
            return hook
    raise Problem(404, "Not found", f"there is no {kind} hook of this name (EVENTSPHERE_HOOKS)")


def _prove(request: Request, hook: Hook, refusal: str) -> None:
    """Raises 401 with an audit record; the caller stays anonymous in it, as it proved nothing."""
    if refusal:
        REFUSED.labels(f"hook-{hook.kind}", "forged").inc()
        audit(request, verb="hook", reason=refusal)
        raise Problem(401, "Unauthorized", refusal, headers={"WWW-Authenticate": "Signature"})
    audit(request, verb="hook", actor=f"{hook.kind}/{hook.id}")


def _delivery(request: Request, body: bytes, *names: str) -> str:
    """The sender's id of this delivery; without one, the body's hash."""
    given = next((request.headers[name] for name in names if request.headers.get(name)), "")
    return given[:MAX_DELIVERY] or hashlib.sha256(body).hexdigest()


def _origin(config: Settings, hook: Hook, delivery: str, now_ms: int) -> pushes.Origin:
    return pushes.Origin(
        kind=hook.kind,
        hook=hook.id,
        tenant=hook.tenant,
        delivery=delivery,
        now_ms=now_ms,
        cluster=config.cluster.name or "local",
    )


def _unwrapped(request: Request, body: bytes) -> bytes:
    """GitHub sends a form with the JSON in `payload` when the hook is set up that way. Raises 400 for another form."""
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        try:
            fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=MAX_FIELDS)
        except ValueError:
            raise _malformed("github", f"the form has more than {MAX_FIELDS} fields: expected payload") from None
        return fields.get("payload", [""])[0].encode()
    return body


def _malformed(kind: str, reason: str) -> Problem:
    REFUSED.labels(f"hook-{kind}", "malformed").inc()
    return Problem(400, "Malformed body", reason[:500])


def _parsed(parse: pushes.Parser, body: bytes, kind: str, origin: pushes.Origin) -> CicdEvent | str:
    try:
        return parse(body, kind[:100], origin)
    except ValueError as error:
        raise _malformed(origin.kind, str(error)) from None


async def _take(bus: Bus, event: CicdEvent | str, origin: pushes.Origin) -> Taken:
    if isinstance(event, str):
        return Taken(status="ignored", reason=event)
    await bus.send([outgoing(event)])
    RECEIVED.labels(f"hook-{origin.kind}").inc()
    return Taken(status="accepted", id=event.id)


def outgoing(event: CicdEvent) -> Outgoing:
    headers = cloud_headers(
        topic="cicd.events",
        id=event.id,
        type=event.type,
        source=f"eventsphere/hooks/{event.source}",
        time_ms=event.time_ms,
        subject=event.subject_id,
    )
    return Outgoing("cicd.events", encode(event), event.subject_id.encode(), headers, event.time_ms)
