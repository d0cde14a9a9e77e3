"""Refuses query parameters that a route of ours does not take: a filter misspelt would otherwise show everything."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from gateway.problems import bad_parameter

OURS = "/api/v1/"


async def known(request: Request) -> None:
    """A dependency of every route; 422 names the parameter and what was perhaps meant."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute) or not route.path.startswith(OURS):
        return
    if "authorization" not in request.headers and not request.cookies:
        return  # nobody: that is said first
    taken = _names(route)
    for name in request.query_params:
        if name not in taken:
            close = difflib.get_close_matches(name, taken, 1)
            meant = f"did you mean {close[0]}?" if close else f"here one of {', '.join(sorted(taken)) or 'none'}"
            raise bad_parameter(name[:100], f"no such parameter: {meant}")


def _names(route: APIRoute) -> frozenset[str]:
    return frozenset(_query(route.dependant))


def _query(dependant: Any) -> Iterator[str]:
    for field in dependant.query_params:
        yield field.alias
    for inner in dependant.dependencies:
        yield from _query(inner)
