"""`POST /ingest/logs`: log records over HTTP into the topic `logs`. 202 only after Kafka acked them all."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel

from gateway import ingest
from gateway.compression import inflate
from gateway.deps import Bus, Clock, Config, Kit, Principal, need
from gateway.documents import held
from gateway.lists import tenants
from gateway.problems import Problem
from gateway.services import Services
from schemas.catalogue import declared
from streams.errors import Failure
from streams.metrics import RECEIVED, REFUSED
from streams.process.joining import records_joined
from streams.record import Outgoing

router = APIRouter(tags=["ingest"])

SOURCE = "http"
SMALL = 64 << 10
"""Bodies up to this are read on the event loop, larger ones beside it."""
MAX_KEY = 256


class Accepted(BaseModel):
    accepted: int


@router.post(
    "/ingest/logs",
    status_code=202,
    openapi_extra={"requestBody": {"content": {"application/x-ndjson": {}, "application/json": {}}, "required": True}},
)
async def ingest_logs(
    request: Request,
    bus: Bus,
    config: Config,
    clock: Clock,
    kit: Kit,
    who: Annotated[Principal, Depends(need("logs:write"))],
    content_encoding: Annotated[str, Header()] = "",
    idempotency_key: Annotated[str, Header(max_length=MAX_KEY)] = "",
) -> Accepted:
    """NDJSON or a JSON array of objects, plain, gzip or zstd. All or nothing: 422 names the lines that are not records.

    With an `Idempotency-Key` a repeated request changes nothing, also after a 503 (which may have stored some).
    """
    sender = ingest.Sender(config.cluster.name or "local", "".join(tenants(who)), idempotency_key)
    _within_quota(kit, sender.tenant)
    body = await request.body()
    now_ms, record_limit = clock(), declared()[ingest.TOPIC].max_message_mib << 20

    def read() -> list[Outgoing]:
        plain = inflate(body, content_encoding, config.gateway.max_inflated_bytes)
        return ingest.outgoing(plain, sender, now_ms=now_ms, limit=record_limit)

    try:
        records = read() if len(body) <= SMALL and not content_encoding else await asyncio.to_thread(read)
        accepted = len(records)
        if (joiner := held(request).joiner) is not None:
            records = records_joined(joiner, records)
        await bus.send(records)
    except Failure as error:
        REFUSED.labels(SOURCE, error.reason).inc()
        raise
    RECEIVED.labels(SOURCE).inc(len(records))
    kit.took(SOURCE, records)
    return Accepted(accepted=accepted)


def _within_quota(kit: Services, tenant: str) -> None:
    """Raises 429 for a tenant's sender when a hard quota of its tenant is used up: until the next day."""
    over = kit.quotas.refused(tenant) if tenant else None
    if over is not None:
        REFUSED.labels(SOURCE, "quota").inc()
        wait_s = max(1, (over.until_ms - kit.clock()) // 1000)
        raise Problem(
            429,
            "Quota used up",
            f"quota {over.quota}: {over.used_bytes} of {over.limit_bytes} bytes a day",
            headers={"Retry-After": str(wait_s)},
            retry_after_s=wait_s,
        )
