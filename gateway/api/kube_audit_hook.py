"""`POST /hooks/kube-audit/{id}` -> `kube.audit`: the audit webhook of a kube-apiserver as a source.

It cannot sign: it proves itself by the hook's secret, as bearer token or basic password of the kubeconfig that
`--audit-webhook-config-file` names (EVENTSPHERE_HOOKS). 200 comes after Kafka has the events; the apiserver tries again
on 5xx. An event that comes again has the same id.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as FromPath
from fastapi.responses import JSONResponse

from gateway import kube_audit
from gateway.api.alertmanager_hook import is_proven
from gateway.deps import Bus, Clock, Config, audit
from gateway.problems import Problem
from streams.metrics import RECEIVED, REFUSED
from streams.settings import Hook, Settings

router = APIRouter(tags=["hooks"])
KIND = "kube-audit"
SOURCE = f"hook-{KIND}"


@router.post("/hooks/kube-audit/{hook}")
async def kube_audit_events(
    hook: Annotated[str, FromPath(max_length=128)], request: Request, config: Config, bus: Bus, clock: Clock
) -> Response:
    """Events that are none are named in a 400; the others of the same body are taken all the same."""
    found = _hook(config, hook)
    if not is_proven(request.headers.get("authorization", ""), found.secret.get_secret_value()):
        REFUSED.labels(SOURCE, "forged").inc()
        audit(request, verb="hook", reason="the secret is wrong or missing")
        raise Problem(401, "Unauthorized", "the secret is wrong or missing", headers={"WWW-Authenticate": "Bearer"})
    audit(request, verb="hook", actor=f"{KIND}/{hook}")
    origin = kube_audit.Origin(found.tenant, found.cluster or config.cluster.name or "local", clock())
    try:
        records, wrong = kube_audit.read(await request.body(), origin)
    except ValueError as error:
        REFUSED.labels(SOURCE, "malformed").inc()
        raise Problem(400, "Malformed body", str(error)[:500]) from None
    await bus.send(records)
    RECEIVED.labels(SOURCE).inc(len(records))
    if wrong:
        REFUSED.labels(SOURCE, "invalid").inc(len(wrong))
        raise Problem(400, "Invalid events", "; ".join(wrong[:20]), errors=wrong[:20])
    return JSONResponse({"status": "accepted", "events": len(records)})


def _hook(config: Settings, identity: str) -> Hook:
    for hook in config.hooks:
        if hook.kind == KIND and hook.id == identity and hook.secret.get_secret_value():
            return hook
    raise Problem(404, "Not found", f"there is no {KIND} hook of this name (EVENTSPHERE_HOOKS)")
