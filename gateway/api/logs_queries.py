"""`/api/v1/log-queries`: searches that people keep and share within their tenant."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway import saved_queries, times
from gateway.deps import Kit, audit
from gateway.lists import Cursor, Limit, Page, of_memory
from gateway.log_query import Reader
from schemas.base import rfc3339
from schemas.tables import NAME_LENGTH, SavedQuery
from streams.sinks.index.language_parser import parse

router = APIRouter(tags=["search"], prefix="/api/v1/log-queries")

Short = Annotated[str, Field(max_length=1024)]


class Asks(BaseModel):
    """The parameters of `GET /api/v1/logs` by name; times may be relative (`-1h`)."""

    model_config = ConfigDict(extra="forbid")

    q: Short = ""
    cluster: Short = ""
    namespace: Short = ""
    workload: Short = ""
    pod: Short = ""
    container: Short = ""
    start: Short = ""
    end: Short = ""


class NewQuery(BaseModel):
    name: str = Field(min_length=1, max_length=NAME_LENGTH)
    asks: Asks
    shared: bool = False
    """Whether others of the tenant see it."""


class QueryOut(BaseModel):
    id: str
    name: str
    owner: str
    shared: bool
    asks: dict[str, str]
    created: str
    updated: str


def shown(row: SavedQuery) -> dict[str, Any]:
    return QueryOut(
        id=row.id,
        name=row.name,
        owner=row.owner,
        shared=row.shared,
        asks=saved_queries.asked(row),
        created=rfc3339(row.created_ms),
        updated=rfc3339(row.updated_ms),
    ).model_dump()


@router.get("")
async def list_queries(kit: Kit, who: Reader, limit: Limit = 100, cursor: Cursor = "") -> Page:
    """One's own saved queries and those shared in the tenant, by name."""
    rows = await kit.accounts.work(lambda session: saved_queries.seen_by(session, who))
    return of_memory(rows, order=lambda row: (row.name, row.id), reverse=False, limit=limit, cursor=cursor, show=shown)


@router.post("", status_code=201)
async def create_query(body: NewQuery, request: Request, kit: Kit, who: Reader) -> QueryOut:
    """Keep a query. One that could not be understood is refused."""
    asks, now, id_ = checked(body.asks, kit.clock()), kit.clock(), kit.new_id()
    row = await kit.accounts.work(
        lambda session: saved_queries.create(session, who, id_, body.name, asks, now, shared=body.shared)
    )
    audit(request, verb="create", object=f"log-query/{row.id}", after=shown(row))
    return QueryOut(**shown(row))


@router.get("/{id}")
async def get_query(id: str, kit: Kit, who: Reader) -> QueryOut:  # noqa: A002
    """One of them."""
    return QueryOut(**shown(await kit.accounts.work(lambda session: saved_queries.one(session, who, id))))


@router.put("/{id}")
async def change_query(id: str, body: NewQuery, request: Request, kit: Kit, who: Reader) -> QueryOut:  # noqa: A002
    """Change one's own (an admin: anyone's)."""
    asks, now = checked(body.asks, kit.clock()), kit.clock()
    row = await kit.accounts.work(
        lambda session: saved_queries.change(session, who, id, body.name, asks, now, shared=body.shared)
    )
    audit(request, verb="update", object=f"log-query/{id}", after=shown(row))
    return QueryOut(**shown(row))


@router.delete("/{id}", status_code=204)
async def delete_query(id: str, request: Request, kit: Kit, who: Reader) -> Response:  # noqa: A002
    """Delete one's own (an admin: anyone's)."""
    audit(request, verb="delete", object=f"log-query/{id}")
    await kit.accounts.work(lambda session: saved_queries.remove(session, who, id))
    return Response(status_code=204)


def checked(asks: Asks, now_ms: int) -> dict[str, str]:
    """What is asked, by name. Raises 422 for a query or a time that cannot be understood."""
    parse(asks.q)
    for field, text in (("start", asks.start), ("end", asks.end)):
        times.parse(field, text, now_ms)
    found: dict[str, str] = asks.model_dump()
    return {name: text for name, text in found.items() if text}
