"""`POST /ingest/logs`: log records over HTTP into the topic `logs`. 202 only after Kafka acked them all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel

from gateway import ingest
from gateway.deps import need, services
from gateway.documents import held
from gateway.door import door_of, opened
from gateway.lists import tenants
from gateway.problems import bad_parameter
from schemas.catalogue import declared
from streams.process.joining import bulk_joined
from streams.record import Bulk

router = APIRouter(tags=["ingest"])

SOURCE = "http"
IDEMPOTENCY_KEY = "Idempotency-Key"
MAX_KEY = 256


class Accepted(BaseModel):
    accepted: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with opened(app):
        yield


_PARAMETERS = [
    {"name": "Content-Encoding", "in": "header", "schema": {"enum": ["gzip", "zstd"]}},
    {"name": IDEMPOTENCY_KEY, "in": "header", "schema": {"type": "string", "maxLength": MAX_KEY}},
]
_needed = need("logs:write")


@router.post(
    "/ingest/logs",
    status_code=202,
    response_model=Accepted,
    openapi_extra={
        "parameters": _PARAMETERS,
        "requestBody": {"content": {"application/x-ndjson": {}, "application/json": {}}, "required": True},
    },
)
async def ingest_logs(request: Request) -> Response:
    """NDJSON or a JSON array of objects, plain, gzip or zstd. All or nothing: 422 names the lines that are not records.

    With an `Idempotency-Key` a repeated request changes nothing, also after a 503 (which may have stored some).
    """
    # Asked for here and not by the signature: that costs as much as taking in a few hundred records.
    who, door, kit = await _needed(request), await door_of(request), services(request)
    key = request.headers.get(IDEMPOTENCY_KEY, "")
    if len(key) > MAX_KEY:
        raise bad_parameter(IDEMPOTENCY_KEY, f"at most {MAX_KEY} characters")
    sender = ingest.Sender(kit.settings.cluster.name or "local", "".join(tenants(who)), key)
    now_ms, record_limit = kit.clock(), declared()[ingest.TOPIC].max_message_mib << 20

    joiner = held(request).joiner
    accepted = 0

    def read(body: bytes) -> list[Bulk]:
        nonlocal accepted
        made = ingest.bulks(body, sender, now_ms=now_ms, limit=record_limit)
        accepted = ingest.records_in(made)
        return made if joiner is None else [bulk_joined(joiner, bulk) for bulk in made]

    await door.take(request, who, SOURCE, request.headers.get("content-encoding", ""), read)
    return Response(b'{"accepted":%d}' % accepted, 202, media_type="application/json")
