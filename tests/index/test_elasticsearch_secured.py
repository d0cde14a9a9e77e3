"""A real Elasticsearch behind TLS of a private CA that lets in who holds the right credentials, as clusters have it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trustme
from aiohttp import web
from pydantic import SecretStr

from streams.errors import Failure
from streams.settings import Index as IndexSettings
from streams.sinks.index.elasticsearch import ElasticsearchIndex
from streams.sinks.index.port import Kind
from tests.index.conftest import batch, find, lines, log
from tests.index.faults import server_at
from tests.parts.process import free_port

WAYS: list[tuple[dict[str, Any], str]] = [
    ({"api_key": SecretStr("bm9ib2R5OnNlY3JldA==")}, "ApiKey bm9ib2R5OnNlY3JldA=="),
    ({"username": "writer", "password": SecretStr("pä$$")}, "Basic d3JpdGVyOnDDpCQk"),
]


@asynccontextmanager
async def guarded(elasticsearch: str, authorization: str, tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """(URL, CA file)"""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with server_at(elasticsearch) as ask:

        async def handle(request: web.Request) -> web.Response:
            product = {"X-Elastic-Product": "Elasticsearch"}
            if request.headers.get("Authorization") != authorization:
                refusal = {"error": {"type": "security_exception", "reason": "missing authentication"}, "status": 401}
                return web.json_response(refusal, status=401, headers=product)
            answer = await ask(request.method, request.path_qs, await request.read())
            return web.Response(
                body=answer.body, status=answer.status, headers=product, content_type="application/json"
            )

        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        try:
            yield f"https://127.0.0.1:{port}", str(tmp_path / "ca.pem")
        finally:
            await runner.cleanup()


@pytest.mark.parametrize(("credentials", "authorization"), WAYS)
async def test_records_are_written_and_found(
    elasticsearch: str, tmp_path: Path, credentials: dict[str, Any], authorization: str
) -> None:
    async with guarded(elasticsearch, authorization, tmp_path) as (url, ca_file):
        index = ElasticsearchIndex(
            IndexSettings(url=url, ca_file=ca_file, prefix=f"t{uuid4().hex[:10]}", **credentials)
        )
        await index.open()
        await index.write(Kind.LOGS, batch(log("over tls", 0), log("with a key", 1)))
        assert sorted(lines(await find(index, 2))) == ["over tls", "with a key"]
        await index.close()


@pytest.mark.parametrize(
    ("trusts", "credentials"),
    [(True, {}), (True, {"api_key": SecretStr("another")}), (False, WAYS[0][0])],
)
async def test_without_the_key_or_the_ca_it_says_so_and_nothing_leaks(
    elasticsearch: str, tmp_path: Path, trusts: bool, credentials: dict[str, Any]
) -> None:
    async with guarded(elasticsearch, WAYS[0][1], tmp_path) as (url, ca_file):
        index = ElasticsearchIndex(IndexSettings(url=url, ca_file=ca_file if trusts else "", **credentials))
        with pytest.raises(Failure) as refused:
            await index.open()
        said = f"{refused.value.reason} {refused.value.detail}"
        assert ("401" if trusts else "certificate") in said.lower()
        assert "secret" not in said
        assert "another" not in said
        await index.close()
