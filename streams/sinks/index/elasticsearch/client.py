"""The `elasticsearch` client as we use it: connections, credentials, TLS, and failures by consequence."""

from __future__ import annotations

import asyncio
import gzip
import logging
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from aiohttp import BytesPayload
from aiohttp.abc import AbstractStreamWriter
from elastic_transport import AiohttpHttpNode, HttpHeaders, JsonSerializer, NodeConfig, TransportError
from elastic_transport.client_utils import DEFAULT, DefaultType
from elasticsearch import ApiError, AsyncElasticsearch, UnsupportedProductError

from streams.errors import Failure, Fatal, Invalid, Retryable
from streams.settings import Index as Settings
from streams.sinks.index.elasticsearch import lenient
from streams.sinks.index.elasticsearch.reply import CLEAN

TIMEOUT_S = 30.0
"""Well within the worker's watchdog (60 s), so that a server that hangs is a failure of ours to retry."""
CONNECTIONS = 8
LARGE = 64 << 10
SMALL = 1 << 10
"""Bodies up to this size are not compressed: they fit into a packet."""
GZIP_LEVEL = 3
"""A tenth or less of the size of log records, for 1.5 CPU-s a million; the default, 9, takes four times the CPU."""
_JSON = {"content-type": "application/json", "accept": "application/json"}
_COMPATIBLE = "application/vnd.elasticsearch+json"

# A line for every request, sent into our own pipeline, would make requests of its own without end.
logging.getLogger("elastic_transport").setLevel(logging.WARNING)


class Apart(BytesPayload):
    """A body that is written apart from the headers: aiohttp would copy it to put them in front."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        writer.send_headers()
        await super().write_with_length(writer, content_length)


class PlainNode(AiohttpHttpNode):
    """Asks for plain JSON (the client's own `compatible-with=9` is refused by Elasticsearch 8), and compresses large
    bodies beside the event loop."""

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        self._gzip = bool(config.http_compress)
        self._http_compress = False

    async def perform_request(  # type: ignore[override]  # the base class is that of blocking nodes
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: DefaultType | float | None = DEFAULT,
    ) -> Any:
        plain = HttpHeaders(headers or {})
        plain.update(_JSON)
        if body is not None and len(body) > SMALL and self._gzip:
            body = await asyncio.to_thread(gzip.compress, body, GZIP_LEVEL)
            plain["content-encoding"] = "gzip"
        if body is not None and len(body) > LARGE:
            body = cast(bytes, Apart(body))  # handed on to aiohttp as it is
        return await super().perform_request(method, target, body, plain, request_timeout)


class Json(JsonSerializer):
    """msgspec instead of the standard library; a bulk reply without errors is not read beyond saying so."""

    def json_dumps(self, data: Any) -> bytes:
        return msgspec.json.encode(data)

    def json_loads(self, data: bytes) -> Any:
        if CLEAN.match(data):
            return {"errors": False}
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return lenient.read(data)


def connect(settings: Settings) -> AsyncElasticsearch:
    """A client of `settings.url` (several: comma separated). Raises Fatal for settings it cannot be made of."""
    secrets: dict[str, Any] = {}
    if key := settings.api_key.get_secret_value():
        secrets["api_key"] = key
    elif settings.username:
        pair = f"{settings.username}:{settings.password.get_secret_value()}"
        secrets["basic_auth"] = b64encode(pair.encode()).decode()  # the client's own way takes ASCII alone
    if settings.ca_file:
        secrets["ca_certs"] = settings.ca_file
    try:
        return AsyncElasticsearch(
            [url.strip() for url in settings.url.split(",")],
            node_class=PlainNode,
            serializers={_JSON["accept"]: Json(), _COMPATIBLE: Json()},
            max_retries=0,
            retry_on_timeout=False,
            request_timeout=TIMEOUT_S,
            connections_per_node=CONNECTIONS,
            http_compress=compresses(settings),
            **secrets,
        )
    except (ValueError, TypeError, OSError) as error:
        raise Fatal("index_settings", f"index.url or its credentials: {error}") from None


def compresses(settings: Settings) -> bool:
    """Whether requests are gzipped: when asked for, or when they leave this machine."""
    if settings.compress != "auto":
        return settings.compress
    return not all(_is_near(urlsplit(url.strip()).hostname or "") for url in settings.url.split(","))


def _is_near(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Client:
    """Requests by path, their failures as ours."""

    def __init__(self, settings: Settings) -> None:
        self._client = connect(settings)

    async def close(self) -> None:
        await self._client.close()

    async def request(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        """The decoded body of the answer. `body`: rendered bytes, or what is to be made JSON.

        Raises Retryable when it is away or refuses us, Invalid("too_large") for 413, Invalid("request") for 400.
        """
        try:
            answer = await self._client.perform_request(method, path, params=params, headers=_JSON, body=body)
        except UnsupportedProductError:
            raise Retryable("index_not_elasticsearch", "the answer lacks X-Elastic-Product: Elasticsearch") from None
        except ApiError as error:
            raise failure(error.status_code, error.body) from None
        except TransportError as error:
            raise Retryable("index_away", f"{type(error).__name__}: {error.message}"[:300]) from None
        return answer.body


def failure(status: int, body: Any) -> Failure:
    """An answer that is not a success, by its consequence."""
    error = body.get("error") if isinstance(body, Mapping) else body
    if isinstance(error, Mapping):
        error = f"{error.get('type', '')}: {error.get('reason', '')}"
    detail = f"{status} {error}"[:300]
    if status == 413:
        return Invalid("too_large", detail)
    if status == 400:
        return Invalid("request", detail)
    if status in (401, 403):
        return Retryable("index_denied", detail)
    if status == 404:
        return Retryable("index_missing", detail)
    return Retryable("index_busy" if status == 429 else "index_away", detail)
