"""Connectors of a Kafka Connect cluster: `/api/v1/connectors`. For the platform's people alone: a connector may do what
the cluster's principal may, on any topic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field

from gateway.connectors import MAX_TRACE, ConnectClient, masked, unmasked
from gateway.deps import Config, Principal, audit, need
from gateway.lists import Cursor, Limit, Page, of_memory
from gateway.problems import Problem
from schemas.alerts import NO_TENANT

router = APIRouter(tags=["connectors"])

Name = Annotated[str, Path(min_length=1, max_length=255, pattern=r"^[^/\x00-\x1f]+$")]


def _platforms(scope: str) -> Any:
    ask = need(scope)

    async def caller(request: Request) -> Principal:
        who = await ask(request)
        if who.tenant != NO_TENANT:
            raise Problem(403, "Forbidden", "connectors are the platform's, not a tenant's")
        return who

    return Depends(caller)


Reader = Annotated[Principal, _platforms("connectors:read")]
Writer = Annotated[Principal, _platforms("connectors:write")]


async def _client(config: Config) -> ConnectClient:
    return ConnectClient(config.connect)


Client = Annotated[ConnectClient, Depends(_client)]


class Wanted(BaseModel):
    config: dict[str, str] = Field(min_length=1, max_length=500)


class Task(BaseModel):
    id: int
    state: str
    worker: str
    trace: str
    """Why it failed; the beginning of Java's stack trace."""


class Connector(BaseModel):
    name: str
    type: str
    """`source` or `sink`."""
    state: str
    """`UNASSIGNED`, `RUNNING`, `PAUSED`, `FAILED`, `STOPPED`; of it and its tasks the worst."""
    config: dict[str, str]
    """Secrets as `********`; given back like that they stay."""
    tasks: list[Task]


@router.get("/api/v1/connectors")
async def connectors(who: Reader, client: Client, limit: Limit = 100, cursor: Cursor = "") -> Page:
    """Every connector, by name."""
    items = [shown(name, each) for name, each in (await client.all()).items()]
    return of_memory(
        items,
        order=lambda item: item.name,
        reverse=False,
        limit=limit,
        cursor=cursor,
        show=lambda item: item.model_dump(),
    )


@router.get("/api/v1/connectors/{name}")
async def connector(name: Name, who: Reader, client: Client) -> Connector:
    """One, as in the list."""
    return shown(name, {"info": {"config": await client.config(name)}, "status": await client.status(name)})


@router.put("/api/v1/connectors/{name}", status_code=200)
async def put_connector(name: Name, body: Wanted, request: Request, who: Writer, client: Client) -> dict[str, Any]:
    """Make it or change it. 422 names each field that its class does not take, and then nothing was changed."""
    before = await _config(client, name)
    config = unmasked(body.config, before or {})
    config.pop("name", None)
    audit(request, verb="put", object=f"connector/{name}", before=masked(before or {}), after=masked(config))
    if wrong := await client.wrong(name, config):
        detail = "; ".join(f"{each['field']}: {each['reason']}" for each in wrong[:5])
        raise Problem(422, "Invalid request", detail, field=f"config.{wrong[0]['field']}", errors=wrong)
    await client.put(name, config)
    return {"name": name, "created": before is None, "config": masked(config)}


@router.post("/api/v1/connectors/{name}/{action}", status_code=202)
async def act(
    name: Name,
    action: Literal["pause", "resume", "restart", "stop"],
    request: Request,
    who: Writer,
    client: Client,
) -> dict[str, str]:
    """Connect does it soon; its status says when it has."""
    audit(request, verb=action, object=f"connector/{name}")
    await client.do(name, action)
    return {"name": name, "asked": action}


@router.get("/api/v1/connectors/{name}/offsets")
async def offsets(name: Name, who: Reader, client: Client) -> dict[str, Any]:
    """How far it is: of a sink by topic and partition, of a source in its own terms."""
    return {"items": await client.offsets(name)}


@router.delete("/api/v1/connectors/{name}", status_code=204)
async def delete_connector(name: Name, request: Request, who: Writer, client: Client) -> Response:
    """Its offsets stay with Connect: one of the same name goes on from them."""
    audit(request, verb="delete", object=f"connector/{name}")
    await client.delete(name)
    return Response(status_code=204)


@router.get("/api/v1/connector-plugins")
async def plugins(who: Reader, client: Client) -> dict[str, Any]:
    """What connectors the cluster can run."""
    return {"items": await client.plugins()}


async def _config(client: ConnectClient, name: str) -> dict[str, str] | None:
    try:
        return await client.config(name)
    except Problem as error:
        if error.status_code == 404:
            return None
        raise


def shown(name: str, found: dict[str, Any]) -> Connector:
    status = found.get("status", {})
    tasks = [
        Task(
            id=task["id"],
            state=task["state"],
            worker=task.get("worker_id", ""),
            trace=str(task.get("trace", ""))[:MAX_TRACE],
        )
        for task in status.get("tasks", [])
    ]
    states = [status.get("connector", {}).get("state", "UNASSIGNED"), *(task.state for task in tasks)]
    return Connector(
        name=name,
        type=status.get("type", ""),
        state="FAILED" if "FAILED" in states else states[0],
        config=masked(found.get("info", {}).get("config", {})),
        tasks=tasks,
    )
