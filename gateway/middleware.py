"""What every request goes through, in one pure ASGI layer: its id, body limit, security headers, audit, metrics.

The body's limit is a running total over what arrives, whatever its length claims; a sender that stalls is cut off.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import audit
from gateway.context import REQUEST_ID_HEADER, accepted_request_id, request_id, traceparent
from gateway.problems import MEDIA_TYPE, Problem, respond, unexpected
from gateway.services import Services
from streams.envelope import TRACEPARENT, trace
from streams.metrics import REQUEST_SECONDS, REQUESTS
from streams.settings import Settings

STALLED_S = 60.0
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""A route's own header of the same name wins."""
ALERTMANAGER = "/api/v2/"
"""Its clients (amtool) read JSON only, and for any other type of an error say nothing but that they cannot."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def install(app: FastAPI, settings: Settings) -> None:
    app.state.auditor = audit.Auditor()
    app.add_middleware(Gate, app=app, settings=settings)


class Gate:
    def __init__(self, inner: ASGIApp, app: FastAPI, settings: Settings) -> None:
        self._inner = inner
        self._app = app
        self._limit = settings.gateway.max_body_bytes
        self._secure = settings.gateway.public_url.startswith("https:")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        identity = accepted_request_id(headers.get(REQUEST_ID_HEADER.lower().encode(), b"").decode("latin-1"))
        mark = request_id.set(identity)
        traced = traceparent.set(trace(headers.get(TRACEPARENT.encode(), b"").decode("latin-1")))
        scope.setdefault("state", {})
        answer = _Answer(self, scope, send, identity)
        try:
            if _claims_too_much(headers, self._limit):
                await respond(_too_large(self._limit))(scope, receive, answer)
                return
            await self._inner(scope, _limited(receive, self._limit), answer)
        except ClientDisconnect:
            pass
        except Exception as error:
            if answer.started:
                raise
            await unexpected(error, scope["path"])(scope, receive, answer)
        finally:
            request_id.reset(mark)
            traceparent.reset(traced)

    async def before_answer(self, scope: Scope, status: int) -> None:
        services = getattr(self._app.state, "services", None)
        offered = any(name in (b"authorization", b"cookie") for name, _ in scope["headers"])
        if isinstance(services, Services) and audit.is_due(scope["method"], scope["path"], status, offered=offered):
            await self._app.state.auditor.answered(services, scope, status, address(scope))

    @property
    def secure(self) -> bool:
        return self._secure


class _Answer:
    """`send`, adding headers, writing the audit record and counting when the answer starts."""

    def __init__(self, gate: Gate, scope: Scope, send: Send, identity: str) -> None:
        self._gate = gate
        self._scope = scope
        self._send = send
        self._identity = identity
        self._began = time.perf_counter()
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._decorate(message)
            await self._gate.before_answer(self._scope, message["status"])
            self._count(message["status"])
        await self._send(message)

    def _decorate(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers[REQUEST_ID_HEADER] = self._identity
        if "content-security-policy" in headers:
            headers.setdefault("x-frame-options", "SAMEORIGIN")  # made to be shown in a frame of ours
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        if self._scope["path"].startswith(ALERTMANAGER) and headers.get("content-type") == MEDIA_TYPE:
            headers["content-type"] = "application/json"
        if self._gate.secure:
            headers.setdefault("strict-transport-security", "max-age=31536000")

    def _count(self, status: int) -> None:
        route = getattr(self._scope.get("route"), "path", "unmatched")
        method = self._scope["method"] if self._scope["method"] in METHODS else "other"
        REQUESTS.labels(method, route, f"{status // 100}xx").inc()
        REQUEST_SECONDS.labels(route).observe(time.perf_counter() - self._began)


def address(scope: Scope) -> str:
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else ""


def _claims_too_much(headers: dict[bytes, bytes], limit: int) -> bool:
    length = headers.get(b"content-length", b"0")
    return length.isdigit() and int(length[:20]) > limit


def _too_large(limit: int) -> Problem:
    return Problem(413, "Content too large", f"the body is over {limit} bytes", limit_bytes=limit)


def _limited(receive: Receive, limit: int) -> Receive:
    total = 0
    complete = False

    async def limited() -> Message:
        nonlocal total, complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout(STALLED_S):  # not wait_for: a task for each piece of a body is dear
                message: dict[str, Any] = dict(await receive())
        except TimeoutError:
            raise Problem(408, "Request timeout", f"no byte of the body came for {STALLED_S:.0f} s") from None
        total += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if total > limit:
            raise _too_large(limit)
        return message

    return limited
