"""Problems: every error over HTTP is `application/problem+json` (RFC 9457), naming what is wrong and where.

Routes raise `Problem`, or the bus's own errors, whose consequence decides the status: `Invalid` 422 (413 when too
large), `Retryable` 503 with `Retry-After`.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.context import request_id
from streams.errors import Invalid, Retryable

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
PARAMETERS = {"query": "q", "cursor": "cursor"}
"""Which parameter the search index means when it refuses."""


class Problem(HTTPException):
    """An answer other than success. `extensions` become members of the problem document (`field`, `errors`, ...)."""

    def __init__(
        self, status: int, title: str, detail: str = "", *, headers: Mapping[str, str] | None = None, **extensions: Any
    ) -> None:
        super().__init__(status, detail or title, headers)
        self.title = title
        self.extensions = extensions

    def document(self) -> dict[str, Any]:
        out = {"type": "about:blank", "title": self.title, "status": self.status_code, "detail": self.detail}
        return out | self.extensions


def bad_parameter(field: str, reason: str) -> Problem:
    """422 naming the one field that is wrong."""
    return Problem(422, "Invalid request", f"{field}: {reason}", field=field, errors=[_error(field, reason)])


def respond(problem: Problem) -> Response:
    document = problem.document()
    if identity := request_id.get():
        document["request_id"] = identity
    return JSONResponse(document, problem.status_code, problem.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Invalid, _invalid)
    app.add_exception_handler(Retryable, _retryable)


def unexpected(error: Exception, path: str) -> Response:
    """500 without the error's text, which may hold secrets; the log has it under the request's id."""
    log.error("request.failed", path=path, request_id=request_id.get(), exc_info=error)
    return respond(Problem(500, "Internal error", "see the gateway's log for this request id"))


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101
    return respond(error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 404:
        from gateway import pages  # which answers problems itself

        if pages.wants_page(request):
            return await pages.not_found(request, Problem(404, "Not found", "There is no such page."))
    phrase = HTTPStatus(error.status_code).phrase
    return respond(Problem(error.status_code, phrase, str(error.detail or phrase), headers=error.headers))


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and not kind.endswith(("/json", "+json")) and any(item["loc"][:1] == ("body",) for item in error.errors()):
        return respond(Problem(415, "Unsupported media type", f"{kind[:64]}: expected application/json"))
    errors = [_named(item) for item in error.errors()[:20]]
    detail = "; ".join(f"{each['field']}: {each['reason']}" for each in errors)
    return respond(Problem(422, "Invalid request", detail, field=errors[0]["field"] if errors else "", errors=errors))


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Invalid)  # noqa: S101
    status = 413 if error.reason == "too_large" else 422
    more: dict[str, Any] = {"indexes": {str(i): why for i, why in error.indexes.items()}} if error.indexes else {}
    if error.reason in PARAMETERS:
        more["field"] = PARAMETERS[error.reason]
    if (position := getattr(error, "position", None)) is not None:
        more["position"] = position  # in the query: characters from 0
    return respond(
        Problem(status, HTTPStatus(status).phrase, error.detail or error.reason, reason=error.reason, **more)
    )


async def _retryable(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Retryable)  # noqa: S101
    after = str(max(1, round(error.after_s or RETRY_AFTER_S)))
    title = "Service unavailable"
    return respond(
        Problem(503, title, error.detail or error.reason, headers={"Retry-After": after}, reason=error.reason)
    )


def _named(item: Mapping[str, Any]) -> dict[str, str]:
    if item["type"] == "json_invalid":  # its place is a position in the body
        return _error("body", f"not JSON: {item['ctx']['error']} at character {item['loc'][-1]}")
    return _error(_field(item["loc"]), str(item["msg"]))


def _error(field: str, reason: str) -> dict[str, str]:
    return {"field": field, "reason": reason}


def _field(location: tuple[Any, ...]) -> str:
    """`("query", "limit")` -> `limit`; the place is left out, the path within a body kept."""
    return ".".join(map(str, location[1:] if len(location) > 1 else location))
