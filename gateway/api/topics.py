"""Topics: the catalogue with what the cluster says of each, their schemas, publishing to them, and single records."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel

from gateway import cloudevents, publish
from gateway.cluster import Snapshot
from gateway.deps import Bus, Clock, Config, Kit, Principal, audit, need
from gateway.lists import Cursor, Limit, Page, Sort, of_memory, page_instead
from gateway.problems import Problem, bad_parameter
from gateway.records import shown, visible
from schemas.alerts import NO_TENANT
from schemas.asyncapi import document
from schemas.catalogue import DLQ_SUFFIX, Topic, catalogue, declared, dlq_name
from schemas.connect import connect_schema
from schemas.jsonschema import schema
from streams.errors import Failure
from streams.metrics import RECEIVED, REFUSED

router = APIRouter(tags=["topics"])

SOURCE = "publish"
MAX_KEY = 256
RECORD_PAGE = page_instead("/records/{topic}/{partition}/{offset}")


class Accepted(BaseModel):
    accepted: int


@router.get("/api/v1/topics")
async def topics(
    kit: Kit,
    who: Annotated[Principal, Depends(need("status:read"))],
    limit: Limit = 100,
    cursor: Cursor = "",
    sort: Sort = "name",
) -> Page:
    """The catalogue's topics, with partitions, offsets, dead letters and lag of each consumer group. `sort`: `name`,
    `records`, `lag` or `dead_letters`, `-` for the other way."""
    field = sort.removeprefix("-")
    if field not in ("name", "records", "lag", "dead_letters"):
        raise bad_parameter("sort", "expected name, records, lag or dead_letters")
    seen = await kit.cluster.snapshot()
    items = [described(topic, seen) for topic in declared().values()]
    return of_memory(
        items,
        order=lambda item: (item[field], item["name"]),
        reverse=sort.startswith("-"),
        limit=limit,
        cursor=cursor,
        show=lambda item: item,
    )


@router.get("/api/v1/topics/{topic}")
async def topic(topic: str, kit: Kit, who: Annotated[Principal, Depends(need("status:read"))]) -> dict[str, Any]:
    """One topic, as in the list."""
    return described(declared_or_404(topic), await kit.cluster.snapshot())


@router.get("/api/v1/topics/{topic}/schema")
async def topic_schema(
    topic: str, who: Annotated[Principal, Depends(need())], form: Literal["json", "connect"] = "json"
) -> Response:
    """The JSON Schema of the topic's records, or (`form=connect`) what Kafka Connect's JsonConverter takes as
    `schema.content`."""
    import msgspec

    found = declared_or_404(topic)
    if form == "connect":
        return Response(msgspec.json.encode(connect_schema(found)), media_type="application/json")
    return Response(msgspec.json.encode(schema(found)), media_type="application/schema+json")


@router.get("/api/v1/asyncapi.json")
async def asyncapi_document(who: Annotated[Principal, Depends(need())]) -> Response:
    """The public topics as an AsyncAPI 3 document."""
    import msgspec

    return Response(msgspec.json.encode(document()), media_type="application/vnd.aai.asyncapi+json;version=3.0.0")


@router.post(
    "/api/v1/topics/{topic}/events",
    status_code=202,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {}, cloudevents.STRUCTURED: {}, cloudevents.BATCH: {}},
        }
    },
)
async def publish_events(
    topic: str,
    request: Request,
    bus: Bus,
    config: Config,
    clock: Clock,
    who: Annotated[Principal, Depends(need("topics:{topic}:write"))],
    idempotency_key: Annotated[str, Header(max_length=MAX_KEY)] = "",
) -> Accepted:
    """Publish CloudEvents: binary, structured or batched. 202 only after Kafka acked; 422 names the indices of a batch
    that do not fit the topic's schema, and then none was stored. After a 503 send again with the same ids."""
    tenant = "" if who.tenant == NO_TENANT else who.tenant
    declared_topic = publish.open_topic(topic, tenant)
    publisher = publish.Publisher(config.cluster.name or "local", tenant, idempotency_key)
    try:
        events = cloudevents.read(request.headers, await request.body())
        await bus.send(publish.outgoing(declared_topic, events, publisher, clock()))
    except Failure as error:
        REFUSED.labels(SOURCE, error.reason).inc()
        raise
    RECEIVED.labels(SOURCE).inc(len(events))
    audit(request, verb="publish", object=f"topic/{topic}", after={"events": len(events)})
    return Accepted(accepted=len(events))


@router.get("/api/v1/records/{topic}/{partition}/{offset}", dependencies=[RECORD_PAGE])
@router.get("/api/v1/topics/{topic}/{partition}/{offset}", dependencies=[RECORD_PAGE], include_in_schema=False)
async def record(
    topic: str,
    partition: Annotated[int, Path(ge=0, le=100_000)],
    offset: Annotated[int, Path(ge=0, le=2**62)],
    kit: Kit,
    who: Annotated[Principal, Depends(need("topics:{topic}:read"))],
) -> Response:
    """Exactly this record of Kafka, where evidence and mails point to. 404 when it is not there (any more)."""
    import msgspec

    if topic not in catalogue():
        raise Problem(404, "Not found", f"there is no topic {topic[:128]!r} in the catalogue")
    found = await kit.reader.one(topic, partition, offset)
    if found is None or not visible(who, found):
        raise Problem(404, "Not found", f"{topic} has no record at partition {partition}, offset {offset} (any more)")
    return Response(msgspec.json.encode(shown(found)), media_type="application/json")


def declared_or_404(name: str) -> Topic:
    found = declared().get(name)
    if found is None:
        raise Problem(404, "Not found", f"there is no topic {name[:128]!r} in the catalogue")
    return found


def described(topic: Topic, seen: Snapshot) -> dict[str, Any]:
    """A topic of the catalogue and how it stands. `lag` is the longest of its groups."""
    groups = {group: seen.lag(group, topic.name) for group in seen.groups_of(topic.name)}
    spans = seen.topics.get(topic.name, [])
    return {
        "name": topic.name,
        "key": topic.key,
        "record": topic.record,
        "public": topic.public,
        "publish": topic.public and topic.publish,
        "cleanup": topic.cleanup,
        "retention_hours": topic.retention_hours,
        "producers": topic.producers,
        "consumers": topic.consumers,
        "example": topic.example,
        "records": seen.produced(topic.name),
        "held": seen.held(topic.name),
        "partitions": [{"partition": n} | span._asdict() for n, span in enumerate(spans)],
        "groups": groups,
        "lag": max(groups.values(), default=0),
        "dead_letters": seen.held(dlq_name(topic.name)) if topic.dead_letters else 0,
        "dead_letter_topic": topic.name + DLQ_SUFFIX if topic.dead_letters else "",
    }
