"""`GET /kapis/logging.kubesphere.io/v1alpha2/...`: KubeSphere's log query API, at all its levels."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi import Query as FromQuery
from fastapi.responses import JSONResponse

from gateway import kapis
from gateway.api.logs_export import exported
from gateway.deps import Kit, Principal
from gateway.lists import sees, tenants
from gateway.log_query import Reader
from gateway.problems import Problem
from gateway.services import Services
from streams.sinks.index.port import Hit, Index, Query

router = APIRouter(tags=["kubesphere"], prefix="/kapis/logging.kubesphere.io/v1alpha2")

A_PAGE = 5000
Operation = Annotated[Literal["query", "statistics", "histogram", "export", ""], FromQuery()]
Text = Annotated[str, FromQuery(max_length=8192)]


async def answer(
    request: Request,
    kit: Kit,
    who: Reader,
    operation: Operation = "query",
    namespaces: Text = "",
    namespace_query: Text = "",
    workloads: Text = "",
    workload_query: Text = "",
    pods: Text = "",
    pod_query: Text = "",
    containers: Text = "",
    container_query: Text = "",
    log_query: Text = "",
    interval: Text = "15m",
    start_time: Text = "",
    end_time: Text = "",
    sort: Text = "desc",
    from_: Annotated[str, FromQuery(alias="from", max_length=20)] = "0",
    size: Annotated[str, FromQuery(max_length=20)] = "10",
) -> Response:
    """`operation`: `query` gives records, `statistics` how many records of how many containers, `histogram` how many
    in each `interval`, `export` all as text. Lists are separated by commas: `namespaces`, `workloads`, `pods`,
    `containers` exact, their `*_query` a part of the name, `log_query` keywords, one of which must occur."""
    place = dict(request.path_params)
    query = kapis.asked(place, request.query_params, _tenants(who, place.pop("workspace", "")))
    if operation == "export":
        return await exported(kit, query, 0, "lines")
    return JSONResponse(await _answered(kit, operation or "query", query, request.query_params))


for _path in (
    "/cluster",
    "/workspaces/{workspace}",
    "/namespaces/{namespace}",
    "/namespaces/{namespace}/workloads/{workload}",
    "/namespaces/{namespace}/pods/{pod}",
    "/namespaces/{namespace}/pods/{pod}/containers/{container}",
):
    router.add_api_route(_path, answer, methods=["GET"], summary=f"Log records of {_path}", response_class=JSONResponse)


def _tenants(who: Principal, workspace: str) -> tuple[str, ...]:
    """A record's tenant is its workspace. Raises 403 for another's."""
    if not workspace:
        return tenants(who)
    if not sees(who, workspace):
        raise Problem(403, "Forbidden", f"the workspace {workspace[:64]} is not yours")
    return (workspace,)


async def _answered(kit: Services, operation: str, query: Query, params: Any) -> dict[str, Any]:
    index = kit.index
    if operation == "histogram":
        interval = kapis.Interval(params.get("interval") or "15m")
        return kapis.histogram(interval, await index.histogram(query, interval.step_ms))
    if operation == "statistics":
        whole = msgspec.structs.replace(query, limit=0)
        containers, page = await asyncio.gather(index.containers(query), index.search(whole))
        return kapis.statistics(containers, page.total)
    start, size = kapis.window(params)
    total, hits = await _window(index, query, start, size)
    return kapis.records(total, hits)


async def _window(index: Index, query: Query, start: int, size: int) -> tuple[int, list[Hit]]:
    """How many match, and `size` of them from the `start`th on."""
    hits: list[Hit] = []
    page = await index.search(msgspec.structs.replace(query, limit=min(A_PAGE, start + size)))
    total = page.total
    hits += page.items
    while page.next and len(hits) < start + size:
        left = min(A_PAGE, start + size - len(hits))
        page = await index.search(msgspec.structs.replace(query, limit=left, cursor=page.next, count=False))
        hits += page.items
    return total, hits[start : start + size]
