"""`POST /v1/logs`: OTLP/HTTP log records, protobuf or JSON. 200 only after Kafka acked all that is not rejected.

Answers are those of the OTLP specification: what can never be taken is counted in `partial_success`; of errors, 429 and
503 (with `Retry-After`) ask to send again, all others not to.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from gateway import otlp, otlp_json, otlp_protobuf
from gateway.api.ingest import MAX_KEY
from gateway.deps import Clock, Config, Principal, need
from gateway.documents import held
from gateway.door import Door, door_of
from gateway.ingest import TOPIC, Sender
from gateway.lists import tenants
from gateway.problems import Problem
from schemas.catalogue import declared
from streams.errors import Failure, Invalid, Retryable
from streams.metrics import REFUSED
from streams.process.joining import bulk_joined
from streams.record import Bulk

router = APIRouter(tags=["ingest"])

SOURCE = "otlp"
FORMS = {module.MEDIA_TYPE: module for module in (otlp_protobuf, otlp_json)}
INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE = 3, 8, 14
"""Of google.rpc.Code."""
RETRY_S = 2


@router.post(
    "/v1/logs",
    openapi_extra={"requestBody": {"content": {media_type: {} for media_type in FORMS}, "required": True}},
)
async def export_logs(
    request: Request,
    config: Config,
    clock: Clock,
    door: Annotated[Door, Depends(door_of)],
    who: Annotated[Principal, Depends(need("logs:write"))],
    content_type: Annotated[str, Header()] = "",
    content_encoding: Annotated[str, Header()] = "",
    idempotency_key: Annotated[str, Header(max_length=MAX_KEY)] = "",
) -> Response:
    """An `ExportLogsServiceRequest`; resource attributes `k8s.*` become `kubernetes`. OTLP names no records: a request
    that is sent again is stored again, unless it carries an `Idempotency-Key`."""
    media_type = content_type.partition(";")[0].strip().lower()
    form = FORMS.get(media_type)
    if form is None:
        raise Problem(415, "Unsupported media type", f"{media_type[:64]!r}: expected one of {', '.join(FORMS)}")
    sender = Sender(config.cluster.name or "local", "".join(tenants(who)), idempotency_key)
    now_ms, limit, joiner = clock(), declared()[TOPIC].max_message_mib << 20, held(request).joiner
    rejected, why = 0, ""

    def read(body: bytes) -> list[Bulk]:
        nonlocal rejected, why
        made, rejected, why = otlp.taken(form.groups(body), sender, now_ms=now_ms, limit=limit)
        return made if joiner is None else [bulk_joined(joiner, bulk) for bulk in made]

    def answer(status: int, body: bytes, **headers: str) -> Response:
        return Response(body, status, headers, media_type)

    try:
        await door.take(request, who, SOURCE, content_encoding, read)
    except Invalid as error:
        return answer(413 if error.reason == "too_large" else 400, form.status(INVALID_ARGUMENT, error.detail))
    except Retryable as error:
        after = str(max(1, round(error.after_s or RETRY_S)))
        return answer(503, form.status(UNAVAILABLE, error.detail or error.reason), **{"Retry-After": after})
    except Failure as error:
        return answer(500, form.status(INVALID_ARGUMENT, error.reason))
    except Problem as error:
        code = RESOURCE_EXHAUSTED if error.status_code == 429 else UNAVAILABLE
        code = code if error.status_code in (429, 503) else INVALID_ARGUMENT
        return answer(error.status_code, form.status(code, str(error.detail)), **dict(error.headers or {}))
    if rejected:
        REFUSED.labels(SOURCE, "rejected").inc(rejected)
    return answer(200, form.response(rejected, why))
