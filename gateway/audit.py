"""What goes to `platform.audit`: one record for every change asked for, and for every refusal. Key: actor.

Data itself (`DATA`) is not audited when it was taken: each of its records in Kafka carries the request's id already.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

import structlog

from gateway.context import request_id
from gateway.limits import Limits
from gateway.principal import Principal
from gateway.services import Services
from schemas.base import digest, encode
from schemas.headers import cloud_headers
from schemas.platform import PlatformAudit
from streams.errors import Failure
from streams.metrics import AUDIT_LOST
from streams.record import Outgoing

log = structlog.get_logger(__name__)

ANONYMOUS = "anonymous"
CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
REFUSED = frozenset({401, 403, 429})
DATA = re.compile(r"/ingest/|/v1/(?:logs|traces)$|/api/v2/(?:spans|alerts)$")
WAIT_S = 2.0
"""How long an answer waits for its audit record to be stored; while the bus is away it goes out all the same."""
ANONYMOUS_PER_S, ANONYMOUS_BURST = 20.0, 200.0
"""Refusals of callers nobody knows that are written down; a flood of them is counted only."""


def is_due(method: str, path: str, status: int, *, offered: bool) -> bool:
    """`offered`: whether the caller showed credentials; who only asks without any is told to, and refused nothing."""
    if status in REFUSED and (offered or status != 401):
        return True
    return method in CHANGES and not DATA.match(path)


def result(status: int) -> str:
    if status < 400:
        return "ok"
    return "denied" if status in REFUSED else "failed"


def record(
    *,
    method: str,
    path: str,
    status: int,
    address: str,
    identity: str,
    now_ms: int,
    cluster: str,
    state: Mapping[str, Any],
) -> PlatformAudit:
    """The audit record of one answered request. `state`: what the route said of it (gateway.deps.audit)."""
    who = state.get("principal")
    said: dict[str, Any] = state.get("audit") or {}
    denied = state.get("audit_denied")
    actor = str(said.get("actor") or (who.name if isinstance(who, Principal) else ANONYMOUS))[:128]
    return PlatformAudit(
        id=digest("audit", identity, str(now_ms), method, path),
        actor=actor,
        verb=str(said.get("verb") or method.lower()),
        object=str(said.get("object") or path)[:512],
        result=result(status),
        status=status,
        address=address,
        request_id=identity,
        time_ms=now_ms,
        before=said.get("before"),
        after=said.get("after"),
        reason=str(said.get("reason") or (f"needs {denied}" if denied else ""))[:512],
        tenant=who.tenant if isinstance(who, Principal) else "",
        cluster=cluster,
    )


def outgoing(entry: PlatformAudit) -> Outgoing:
    headers = cloud_headers(
        topic="platform.audit",
        id=entry.id,
        type="eventsphere.audit",
        source="eventsphere/gateway",
        time_ms=entry.time_ms,
        subject=entry.object[:256],
    )
    return Outgoing("platform.audit", encode(entry), entry.actor.encode(), headers, entry.time_ms)


class Auditor:
    """Writes audit records; keeps a hold of those still under way."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()
        self._anonymous = Limits(ANONYMOUS_PER_S, ANONYMOUS_BURST, time.monotonic)

    async def answered(self, services: Services, scope: Mapping[str, Any], status: int, address: str) -> None:
        """Write down an answered request, before its answer goes out, waiting at most `WAIT_S`."""
        entry = record(
            method=scope["method"],
            path=scope["path"],
            status=status,
            address=address,
            identity=request_id.get(),
            now_ms=services.clock(),
            cluster=services.settings.cluster.name or "local",
            state=scope["state"],
        )
        if entry.actor == ANONYMOUS and self._anonymous.wait_s(address):
            AUDIT_LOST.labels("flood").inc()
            return
        await self.write(services, entry, wait=entry.result == "ok")

    async def write(self, services: Services, entry: PlatformAudit, *, wait: bool) -> None:
        task = asyncio.create_task(_send(services, outgoing(entry)), name="audit")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        if wait:
            await asyncio.wait({task}, timeout=WAIT_S)


async def _send(services: Services, entry: Outgoing) -> None:
    try:
        await services.producer.send([entry])
    except Failure as error:
        AUDIT_LOST.labels(error.reason).inc()
        log.warning("audit.lost", reason=error.reason, request_id=request_id.get())
