"""`POST /ingest/logs`: log records over HTTP into the topic `logs`. 202 only after Kafka acked them all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from pydantic import BaseModel

from gateway import ingest
from gateway.deps import Clock, Config, Principal, need
from gateway.documents import held
from gateway.door import Door, door_of, opened
from gateway.lists import tenants
from schemas.catalogue import declared
from streams.process.joining import bulk_joined
from streams.record import Bulk

router = APIRouter(tags=["ingest"])

SOURCE = "http"
MAX_KEY = 256


class Accepted(BaseModel):
    accepted: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with opened(app):
        yield


@router.post(
    "/ingest/logs",
    status_code=202,
    openapi_extra={"requestBody": {"content": {"application/x-ndjson": {}, "application/json": {}}, "required": True}},
)
async def ingest_logs(
    request: Request,
    config: Config,
    clock: Clock,
    door: Annotated[Door, Depends(door_of)],
    who: Annotated[Principal, Depends(need("logs:write"))],
    content_encoding: Annotated[str, Header()] = "",
    idempotency_key: Annotated[str, Header(max_length=MAX_KEY)] = "",
) -> Accepted:
    """NDJSON or a JSON array of objects, plain, gzip or zstd. All or nothing: 422 names the lines that are not records.

    With an `Idempotency-Key` a repeated request changes nothing, also after a 503 (which may have stored some).
    """
    sender = ingest.Sender(config.cluster.name or "local", "".join(tenants(who)), idempotency_key)
    now_ms, record_limit = clock(), declared()[ingest.TOPIC].max_message_mib << 20

    joiner = held(request).joiner
    accepted = 0

    def read(body: bytes) -> list[Bulk]:
        nonlocal accepted
        made = ingest.bulks(body, sender, now_ms=now_ms, limit=record_limit)
        accepted = ingest.records_in(made)
        return made if joiner is None else [bulk_joined(joiner, bulk) for bulk in made]

    await door.take(request, who, SOURCE, content_encoding, read)
    return Accepted(accepted=accepted)
