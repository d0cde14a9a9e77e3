"""A proxy in front of Elasticsearch that makes bulk requests go wrong, by a schedule; and a double to stand behind it.

What the schedule says happens to one bulk request after the other, then nothing more goes wrong. Besides, for good:
requests over `max_bytes` are answered 413; documents whose id `conflicts` are refused unless they are in their fallback
form; those whose id is `hopeless` in any form.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, NamedTuple

import aiohttp
import msgspec
from aiohttp import web

from streams.sinks.index.elasticsearch import lenient
from tests.parts.process import free_port

Item = dict[str, Any]
BUSY_SHARE = 0.3
SLOW_S = 0.05


class Fault(Enum):
    NONE = "none"
    BUSY_ITEMS = "429 for 30 % of the items"
    AWAY_ITEMS = "503 for 30 % of the items"
    BUSY = "429 for the request"
    AWAY = "503 for the request"
    CUT_BEFORE = "the connection is cut before anything was done"
    CUT_AFTER = "the connection is cut after it was applied"
    GARBAGE = "applied, and answered with something else"
    TRUNCATED = "applied, and half of the answer is sent"
    FEWER = "applied, and the answer leaves an item out"
    SLOW = "slow"


class Answer(NamedTuple):
    status: int
    body: bytes


Upstream = Callable[[str, str, bytes], Awaitable[Answer]]
"""(method, path with query, body) -> answer."""


def never(_id: str) -> bool:
    return False


def share(per_cent: int, seed: int) -> Callable[[str], bool]:
    """Whether an id is among so many per cent of all: the same answer whenever it is asked."""
    return lambda id_: random.Random(f"{seed}/{id_}").randrange(100) < per_cent


def schedule(seed: int, length: int) -> list[Fault]:
    return random.Random(seed).choices(list(Fault), k=length)


class Proxy:
    def __init__(
        self,
        upstream: Upstream,
        faults: Iterable[Fault] = (),
        *,
        seed: int = 0,
        max_bytes: int = 1 << 30,
        conflicts: Callable[[str], bool] = never,
        hopeless: Callable[[str], bool] = never,
    ) -> None:
        self.seen: list[Fault] = []
        """What happened to the requests so far."""
        self.away = Fault.NONE
        """While `AWAY` or `CUT_BEFORE`, that happens to every request."""
        self._upstream = upstream
        self._faults = iter(faults)
        self._rng = random.Random(seed)
        self._max_bytes = max_bytes
        self._conflicts = conflicts
        self._hopeless = hopeless

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Yields its URL."""
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.away is not Fault.NONE:
            return _cut(request) if self.away is Fault.CUT_BEFORE else _response(Answer(503, b'{"error":"away"}'))
        if not request.path.endswith("/_bulk"):
            return _response(await self._upstream(request.method, request.path_qs, body))
        if len(body) > self._max_bytes:
            return _response(Answer(413, b""))
        fault = next(self._faults, Fault.NONE)
        self.seen.append(fault)
        if fault is Fault.SLOW:
            await asyncio.sleep(SLOW_S)
        if fault in (Fault.BUSY, Fault.AWAY):
            return _response(Answer(429 if fault is Fault.BUSY else 503, b'{"error":{"type":"t","reason":"r"}}'))
        if fault is Fault.CUT_BEFORE:
            return _cut(request)
        answer = await self._bulk(request.path_qs, body, fault)
        if fault is Fault.CUT_AFTER:
            return _cut(request)
        return _response(_spoiled(answer, fault))

    async def _bulk(self, path: str, body: bytes, fault: Fault) -> Answer:
        """Hand on the items nothing is to happen to; the others get their answer here."""
        if self._conflicts is never and self._hopeless is never and fault not in (Fault.BUSY_ITEMS, Fault.AWAY_ITEMS):
            return await self._upstream("POST", path, body)
        pairs = pairs_of(body)
        own = [self._own(action, document, fault) for action, document in pairs]
        rest = b"".join(b"%b\n%b\n" % pair for pair, item in zip(pairs, own, strict=True) if item is None)
        answer = await self._upstream("POST", path, rest) if rest else Answer(200, b'{"errors":false,"items":[]}')
        if answer.status != 200:
            return answer
        reply = msgspec.json.decode(answer.body)
        theirs = iter(reply.get("items", ()))
        items = [item or next(theirs) for item in own]
        errors = bool(reply["errors"]) or any(item is not None for item in own)
        return Answer(200, msgspec.json.encode({"errors": errors, "items": items}))

    def _own(self, action: bytes, document: bytes, fault: Fault) -> Item | None:
        if fault in (Fault.BUSY_ITEMS, Fault.AWAY_ITEMS) and self._rng.random() < BUSY_SHARE:
            return refusal(429 if fault is Fault.BUSY_ITEMS else 503, "rejected_execution_exception", "later")
        id_ = msgspec.json.decode(action)["create"]["_id"]
        if self._hopeless(id_) or (self._conflicts(id_) and b'"unparsed":' not in document):
            return refusal(400, "document_parsing_exception", "failed to parse field [log] of type [text]")
        return None


class Double:
    """Elasticsearch as far as bulk requests go: `create` by id, documents refused as our mapping refuses them."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], dict[str, Any]] = {}

    async def __call__(self, method: str, path: str, body: bytes) -> Answer:
        route = path.partition("?")[0].strip("/").split("/")
        if route[-1] != "_bulk":
            return Answer(200, b'{"acknowledged":true}')
        default = route[0] if len(route) > 1 else ""
        items = []
        for action, document in pairs_of(body):
            target = msgspec.json.decode(action)["create"]
            items.append(self._create(target.get("_index", default), target["_id"], document))
        errors = any("error" in item["create"] for item in items)
        return Answer(200, msgspec.json.encode({"errors": errors, "items": items}))

    def _create(self, index: str, id_: str, document: bytes) -> Item:
        try:
            record = lenient.read(document)
        except ValueError:
            return refusal(400, "document_parsing_exception", "failed to parse")
        if field := _misfit(record):
            return refusal(400, "document_parsing_exception", f"failed to parse field [{field}] of type [x]")
        if (index, id_) in self.stored:
            return refusal(409, "version_conflict_engine_exception", "document already exists")
        self.stored[index, id_] = record
        return {"create": {"status": 201}}


def pairs_of(body: bytes) -> list[tuple[bytes, bytes]]:
    lines = body.split(b"\n")[:-1]
    return list(zip(lines[::2], lines[1::2], strict=True))


def refusal(status: int, kind: str, reason: str) -> Item:
    return {"create": {"status": status, "error": {"type": kind, "reason": reason}}}


@asynccontextmanager
async def server_at(url: str) -> AsyncIterator[Upstream]:
    """A real Elasticsearch to stand behind the proxy."""
    async with aiohttp.ClientSession() as session:

        async def ask(method: str, path: str, body: bytes) -> Answer:
            headers = {"content-type": "application/json"}
            async with session.request(method, url + path, data=body, headers=headers) as answer:
                return Answer(answer.status, await answer.read())

        yield ask


def _misfit(record: Any) -> str:
    """The field our mapping refuses, empty for none."""
    if not isinstance(record, dict):
        return "_doc"
    if not isinstance(record.get("_where"), dict):
        return "_where"
    if isinstance(record.get("log"), dict):
        return "log"
    about = record.get("kubernetes", {})
    if not isinstance(about, dict):
        return "kubernetes"
    return "" if isinstance(about.get("labels", {}), dict) else "kubernetes.labels"


def _response(answer: Answer) -> web.Response:
    headers = {"X-Elastic-Product": "Elasticsearch", "content-type": "application/json"}
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _spoiled(answer: Answer, fault: Fault) -> Answer:
    if fault is Fault.GARBAGE:
        return Answer(200, b"<html>maintenance</html>")
    if fault is Fault.TRUNCATED:
        return Answer(200, answer.body[: len(answer.body) // 2])
    if fault is Fault.FEWER:
        reply: dict[str, Sequence[Item]] = msgspec.json.decode(answer.body)
        return Answer(200, msgspec.json.encode({"errors": True, "items": reply["items"][1:]}))
    return answer
