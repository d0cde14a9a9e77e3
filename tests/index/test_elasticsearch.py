"""What Elasticsearch may answer besides "stored": each answer has its consequence. The server here is a double whose
answers have the form of those real Elasticsearch gave; what both adapters do alike is tested on the real one."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from aiohttp import web

from streams.errors import Fatal, Invalid, Retryable
from streams.settings import Index as IndexSettings
from streams.sinks.index.elasticsearch import ElasticsearchIndex, pace, writer
from streams.sinks.index.port import Kind, Query
from tests.index import faults
from tests.index.conftest import batch, log, raw
from tests.parts.process import free_port

Answer = Callable[[list[dict[str, Any]]], "list[int] | web.Response"]
REASONS = {
    400: "document_parsing_exception",
    429: "es_rejected_execution_exception",
    503: "unavailable_shards_exception",
}


class Double:
    """Answers bulk requests by `answer`: a status for each document, or a whole response."""

    def __init__(self, answer: Answer, product: str = "Elasticsearch") -> None:
        self.answer = answer
        self.product = product
        self.requests: list[web.Request] = []
        self.stored: dict[str, dict[str, Any]] = {}
        self.sent: list[list[str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append(request)
        response = web.json_response({"acknowledged": True})
        if request.path.endswith("/_bulk"):
            lines = [msgspec.json.decode(line) for line in body.splitlines()]
            documents = [{"id": a["create"]["_id"]} | b for a, b in zip(lines[::2], lines[1::2], strict=True)]
            self.sent.append([each["id"] for each in documents])
            answer = self.answer(documents)
            response = answer if isinstance(answer, web.Response) else self._reply(documents, answer)
        response.headers["X-Elastic-Product"] = self.product
        return response

    def _reply(self, documents: list[dict[str, Any]], statuses: list[int]) -> web.Response:
        items: list[dict[str, Any]] = []
        for document, status in zip(documents, statuses, strict=True):
            item: dict[str, Any] = {"status": status}
            if status in (200, 201):
                self.stored[document["id"]] = document
            else:
                item["error"] = {"type": REASONS.get(status, "exception"), "reason": "because"}
            items.append({"create": item})
        return web.json_response({"errors": any(status >= 300 for status in statuses), "items": items})

    @asynccontextmanager
    async def index(self, tls: ssl.SSLContext | None = None, **settings: Any) -> AsyncIterator[ElasticsearchIndex]:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        made = ElasticsearchIndex(IndexSettings(url=f"{'https' if tls else 'http'}://127.0.0.1:{port}", **settings))
        try:
            yield made
        finally:
            await made.close()
            await runner.cleanup()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FIRST_PAUSE_S", 0.001)


def always(status: int) -> Answer:
    return lambda documents: [status] * len(documents)


def refusing(status: int, **body: Any) -> Answer:
    return lambda _documents: web.json_response(body or {"error": {"type": "t", "reason": "r"}}, status=status)


RECORDS = [log(f"n{n}", n, key=b"k%d" % n) for n in range(10)]
KEYS = {f"k{n}" for n in range(10)}


async def test_only_items_answered_later_are_sent_again() -> None:
    turns = iter([[201, 429, 201, 503, 409, 201, 500, 201, 201, 201], [201, 429, 201], [201]])
    double = Double(lambda _documents: next(turns))
    async with double.index() as index:
        await index.write(Kind.LOGS, batch(*RECORDS))
    assert [len(sent) for sent in double.sent] == [10, 3, 1]
    assert double.sent[1:] == [["k1", "k3", "k6"], ["k3"]]


async def test_items_that_stay_away_make_the_batch_retryable_and_no_dead_letter() -> None:
    double = Double(lambda documents: [429 if each["id"] == "k3" else 201 for each in documents])
    async with double.index() as index:
        with pytest.raises(Retryable) as caught:
            await index.write(Kind.LOGS, batch(*RECORDS))
    assert caught.value.reason == "index_busy"
    assert len(double.sent) == 1 + writer.ATTEMPTS
    assert double.stored.keys() == KEYS - {"k3"}


async def test_a_refused_document_is_stored_in_its_fallback_form_and_others_as_they_are() -> None:
    double = Double(lambda docs: [400 if "unparsed" not in d["_where"] and d["id"] == "k3" else 201 for d in docs])
    async with double.index() as index:
        await index.write(Kind.LOGS, batch(*RECORDS))
    assert double.stored.keys() == KEYS
    assert msgspec.json.decode(double.stored["k3"]["_where"]["unparsed"])["log"] == "n3"
    assert double.stored["k3"]["kubernetes"]["namespace_name"] == ["shop"]
    assert "unparsed" not in double.stored["k4"]["_where"]


async def test_what_even_its_fallback_is_refused_is_invalid_with_the_reason() -> None:
    double = Double(lambda documents: [400 if each["id"] in ("k3", "k5") else 201 for each in documents])
    async with double.index() as index:
        with pytest.raises(Invalid) as caught:
            await index.write(Kind.LOGS, batch(*RECORDS))
    assert caught.value.indexes == dict.fromkeys((3, 5), "400 document_parsing_exception: because")
    assert double.stored.keys() == KEYS - {"k3", "k5"}


async def test_a_request_that_is_too_large_goes_in_halves() -> None:
    def answer(documents: list[dict[str, Any]]) -> list[int] | web.Response:
        too_large = len(documents) > 3 or any(each["id"] == "k7" for each in documents)
        return web.Response(status=413) if too_large else [201] * len(documents)

    double = Double(answer)
    async with double.index() as index:
        with pytest.raises(Invalid) as caught:
            await index.write(Kind.LOGS, batch(*RECORDS))
    assert list(caught.value.indexes or {}) == [7]
    assert double.stored.keys() == KEYS - {"k7"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusing(500), "index_away"),
        (refusing(502), "index_away"),
        (refusing(429), "index_busy"),
        (refusing(401), "index_denied"),
        (refusing(403), "index_denied"),
        (refusing(404), "index_missing"),
        (refusing(200, hello="world"), "index_reply"),
        (refusing(200, errors=True, items=[]), "index_reply"),
        (lambda _documents: web.Response(text="<html>maintenance</html>", status=200), "index_reply"),
    ],
)
async def test_a_whole_request_that_fails_is_retryable(answer: Answer, reason: str) -> None:
    double = Double(answer)
    async with double.index() as index:
        with pytest.raises(Retryable) as caught:
            await index.write(Kind.LOGS, batch(*RECORDS))
    assert caught.value.reason == reason


async def test_a_server_that_is_away_and_comes_back() -> None:
    port = free_port()
    index = ElasticsearchIndex(IndexSettings(url=f"http://127.0.0.1:{port}"))
    for work in (
        index.open(),
        index.write(Kind.LOGS, batch(*RECORDS)),
        index.search(Query(kind=Kind.LOGS)),
        index.ping(),
    ):
        with pytest.raises(Retryable) as caught:
            await work
        assert caught.value.reason == "index_away"
    await index.close()


async def test_something_else_than_elasticsearch_is_said_to_be_so() -> None:
    double = Double(always(201), product="Other")
    async with double.index() as index:
        with pytest.raises(Retryable) as caught:
            await index.open()
    assert caught.value.reason == "index_not_elasticsearch"


@pytest.mark.parametrize(
    ("settings", "header"),
    [({"api_key": "id:key"}, "ApiKey id:key"), ({"username": "u", "password": "p"}, "Basic dTpw"), ({}, None)],
)
async def test_credentials_and_a_version_every_server_takes(settings: dict[str, str], header: str | None) -> None:
    double = Double(always(201))
    async with double.index(None, **settings) as index:
        await index.write(Kind.LOGS, batch(*RECORDS))
    assert {request.headers.get("authorization") for request in double.requests} == {header}
    assert {request.headers["accept"] for request in double.requests} == {"application/json"}
    assert {request.headers["content-type"] for request in double.requests} == {"application/json"}


async def test_requests_are_gzipped_when_asked_for() -> None:
    double = Double(always(201))
    async with double.index(compress=True) as index:
        await index.write(Kind.LOGS, batch(*RECORDS))
    assert double.stored.keys() == KEYS
    assert gzip.compress(b"")[:2] == b"\x1f\x8b"
    assert double.requests[-1].headers["content-encoding"] == "gzip"


async def test_tls_with_a_private_ca_and_without_it(tmp_path: Path) -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    double = Double(always(201))
    async with double.index(tls=server, ca_file=str(tmp_path / "ca.pem")) as index:
        await index.write(Kind.LOGS, batch(*RECORDS))
    async with double.index(tls=server) as index:
        with pytest.raises(Retryable):
            await index.write(Kind.LOGS, batch(*RECORDS))


@pytest.mark.parametrize(
    "settings", [{"ca_file": "/nowhere/ca.pem", "url": "https://h:1"}, {"url": "http://h:x"}, {"prefix": "Logs"}]
)
async def test_settings_that_cannot_work_are_fatal(settings: dict[str, str]) -> None:
    index = ElasticsearchIndex(IndexSettings(**({"url": "http://127.0.0.1:1"} | settings)))
    with pytest.raises(Fatal):
        await index.open()


async def test_a_large_batch_goes_in_requests_of_bounded_size_several_at_once() -> None:
    under_way, most = 0, 0

    class Slow(Double):
        async def handle(self, request: web.Request) -> web.Response:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.05)
            under_way -= 1
            return await super().handle(request)

    double = Slow(always(201))
    records = [log("x" * 2000, n, key=b"%d" % n) for n in range(8000)]
    async with double.index() as index:
        await index.open()
        most = 0
        await index.write(Kind.LOGS, batch(*records))
    assert sorted(key for sent in double.sent for key in sent) == sorted(str(n) for n in range(8000))
    assert 2 <= most <= pace.MAX_AT_ONCE
    assert len(double.sent) >= 8


async def test_a_line_break_in_a_record_never_becomes_an_action_of_its_own() -> None:
    stored = faults.Double()
    evil = b'{"log":"a"}\n{"delete":{"_index":"x","_id":"y"}}\n{"log":"b"}'
    async with faults.Proxy(stored).serve() as url:
        index = ElasticsearchIndex(IndexSettings(url=url))
        with pytest.raises(Invalid) as caught:
            await index.write(Kind.LOGS, batch(raw(evil, 0, key=b"evil"), log("good", 1, key=b"good")))
        await index.close()
    assert caught.value.indexes is not None
    assert caught.value.indexes.keys() == {0}
    assert [id_ for _index, id_ in stored.stored] == ["good"]
