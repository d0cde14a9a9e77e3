"""What every list shares: `?limit&cursor&sort` in, `{items, total, next}` out, and whose records a caller may see."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import msgspec
from fastapi import Depends, Request
from fastapi import Query as FromQuery
from pydantic import BaseModel

from gateway.principal import Principal
from gateway.problems import Problem, bad_parameter
from schemas.alerts import NO_TENANT
from schemas.base import rfc3339
from streams.sinks.index.fields import readable
from streams.sinks.index.port import Hit
from streams.sinks.index.port import Page as IndexPage

MAX_LIMIT = 1000
MAX_CURSOR = 4096
MAX_VALUES = 100
Limit = Annotated[int, FromQuery(ge=1, le=MAX_LIMIT, description="Items a page.")]
Cursor = Annotated[str, FromQuery(max_length=MAX_CURSOR, description="`next` of the page before.")]
Sort = Annotated[str, FromQuery(max_length=64, description="`time` (oldest first) or `-time`, or a field of the list.")]
Text = Annotated[str, FromQuery(max_length=1024)]
Names = Annotated[str, FromQuery(max_length=8192, description="Exact; several separated by commas are alternatives.")]
T = TypeVar("T")


class Page(BaseModel):
    """`total` counts all that match; `next` is the cursor of the page after, empty on the last."""

    items: list[dict[str, Any]]
    total: int
    next: str = ""


def tenants(who: Principal) -> tuple[str, ...]:
    """Whose records the caller may see: empty for all. The one place where that is decided."""
    return () if who.tenant == NO_TENANT else (who.tenant,)


def sees(who: Principal, tenant: str) -> bool:
    return who.tenant in (NO_TENANT, tenant)


def names(field: str, text: str) -> tuple[str, ...]:
    """`a,b` -> ("a", "b")."""
    out = tuple(part for part in (part.strip() for part in text.split(",")) if part)
    if len(out) > MAX_VALUES:
        raise bad_parameter(field, f"at most {MAX_VALUES} values")
    return out


def oldest_first(sort: str) -> bool:
    """Of a list by time. Raises 422 for another order."""
    if sort not in ("", "time", "-time"):
        raise bad_parameter("sort", "expected time (oldest first) or -time (newest first)")
    return sort == "time"


def shown(hit: Hit) -> dict[str, Any]:
    """A document of the index as lists show it: the record, where it stands in Kafka, and in `note` why not every field
    of it is searched."""
    return {
        "id": hit.id,
        "time": rfc3339(hit.time_ms),
        "topic": hit.topic,
        "partition": hit.partition,
        "offset": hit.offset,
        "record": readable(hit.record),
    } | ({"note": hit.note} if hit.note else {})


def of_index(page: IndexPage) -> Page:
    return Page(items=[shown(hit) for hit in page.items], total=page.total, next=page.next)


def page_instead(path: str) -> Any:
    """A dependency that sends a person's browser, which follows a link from a mail, to the console's page (and its
    login) instead of answering with JSON. `path` may hold path parameters."""

    async def see(request: Request) -> None:
        if "text/html" in request.headers.get("accept", ""):
            params = {name: quote(str(value), safe="") for name, value in request.path_params.items()}
            raise Problem(303, "See other", "for people", headers={"Location": path.format(**params)})

    return Depends(see)


def pack(position: Any) -> str:
    """An opaque cursor of a JSON value."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def unpack(cursor: str, type_: type[T]) -> T:
    """Raises 422 for a cursor that is not one of ours."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=type_)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise bad_parameter("cursor", "not a cursor of this list") from None


def of_memory(
    items: Sequence[T], *, order: Callable[[T], Any], reverse: bool, limit: int, cursor: str, show: Callable[[T], Any]
) -> Page:
    """A page of a list that is held in memory; the cursor is a position, so changes between pages may shift it."""
    start = unpack(cursor, int) if cursor else 0
    if start < 0:
        raise bad_parameter("cursor", "not a cursor of this list")
    ordered = sorted(items, key=order, reverse=reverse)
    end = start + limit
    return Page(
        items=[show(item) for item in ordered[start:end]],
        total=len(ordered),
        next=pack(end) if end < len(ordered) else "",
    )
