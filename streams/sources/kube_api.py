"""What is asked of a Kubernetes API: credentials by the official client's loader, lists and watches read by ourselves.

The client's own watch retries a 410 with the same version and decodes into models at several times the cost.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import msgspec
import orjson
from kubernetes.client import Configuration
from kubernetes.config import ConfigException
from kubernetes.config.incluster_config import load_incluster_config
from kubernetes.config.kube_config import list_kube_config_contexts, load_kube_config

from streams.errors import Failure, Retryable
from streams.sources.kube_records import Resource

IN_CLUSTER = "in-cluster"
PAGE = 500
WATCH_S = 240
"""How long the server keeps a watch open: also the longest a dead connection goes unnoticed, with `SLACK_S`."""
SLACK_S = 30
CONNECT_S = 10
REQUEST_S = 60
MAX_LINE = 16 << 20
GONE = 410


class Gone(Failure):
    """The version is older than the server's history (410)."""


class Denied(Failure):
    """The server does not let us, or does not know the resource. `detail` names verb and resource."""


class Line(NamedTuple):
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    kind: str
    object: dict[str, Any]


class Page(NamedTuple):
    """Some of a list's items; `version` is the list's."""

    items: list[dict[str, Any]]
    version: str


def context_of(kubeconfig: str) -> str:
    """Name of a kubeconfig's current context; empty for `in-cluster` or when it cannot be read."""
    if kubeconfig == IN_CLUSTER:
        return ""
    try:
        _, active = list_kube_config_contexts(config_file=kubeconfig)
    except (ConfigException, OSError, KeyError, TypeError):
        return ""
    return str(active.get("name", "")) if active else ""


def configuration(kubeconfig: str) -> Configuration:
    """Host, CA and credentials. Raises Retryable naming the file: it may be put right while we wait."""
    out = Configuration(host="")
    try:
        if kubeconfig == IN_CLUSTER:
            load_incluster_config(client_configuration=out)
        else:
            load_kube_config(config_file=kubeconfig, client_configuration=out, persist_config=False)
    except Exception as error:  # the loader raises whatever its parts do, exec plug-ins among them
        raise Retryable("kubeconfig", f"{kubeconfig}: {type(error).__name__}: {error}"[:400]) from None
    return out


def tls(config: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.ssl_ca_cert or None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # many clusters' own CAs lack what Python 3.13 asks of them
    if not config.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.cert_file:
        context.load_cert_chain(config.cert_file, config.key_file or None)
    return context


class Api:
    """One cluster's API. Raises Retryable when it is away, Denied when it refuses, Gone for a version too old."""

    def __init__(self, kubeconfig: str, configure: Callable[[str], Configuration] = configuration) -> None:
        self.kubeconfig = kubeconfig
        self._configure = configure
        self._config: Configuration | None = None
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def uid(self) -> str:
        """The cluster's: that of its kube-system namespace."""
        resource = Resource("", "v1", "namespaces", "Namespace")
        async with self._get("get", resource, "/kube-system", REQUEST_S) as reply:
            found = orjson.loads(await reply.read())
        return str(found["metadata"]["uid"])

    async def pages(self, resource: Resource) -> AsyncGenerator[Page, None]:
        """The whole list, in pages."""
        token = ""
        while True:
            params = {"limit": str(PAGE)} | ({"continue": token} if token else {})
            async with self._get("list", resource, "", REQUEST_S, **params) as reply:
                found = orjson.loads(await reply.read())
            meta = found.get("metadata") or {}
            yield Page(found.get("items") or [], str(meta.get("resourceVersion", "")))
            token = meta.get("continue") or ""
            if not token:
                return

    async def watch(self, resource: Resource, version: str) -> AsyncGenerator[list[Line], None]:
        """What changes after `version`, as many lines as came at once. Ends when the server ends the stream.

        First comes an empty list: the watch is up.
        """
        params = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
        }
        async with self._get("watch", resource, "", WATCH_S + SLACK_S, **params) as reply:
            yield []
            rest = b""
            async for data in reply.content.iter_any():
                *lines, rest = (rest + data).split(b"\n") if b"\n" in data else ([rest + data])
                if len(rest) > MAX_LINE:
                    raise Retryable("line_too_long", f"a watch line of {resource.named} over {MAX_LINE} bytes")
                if parsed := [_line(line, resource) for line in lines if line]:
                    yield parsed

    @asynccontextmanager
    async def _get(
        self, verb: str, resource: Resource, more: str, timeout_s: float, **params: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            session, config = await self._open()
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=timeout_s)
            url = config.host.rstrip("/") + resource.path + more
            headers = await asyncio.to_thread(_authorization, config)
            name = config.tls_server_name or None
            async with session.get(
                url, params=params, headers=headers, timeout=timeout, proxy=config.proxy, server_hostname=name
            ) as reply:
                if reply.status != 200:
                    await self._failed(reply, verb, resource)
                yield reply
        except (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError) as error:
            raise Retryable("api_away", f"{type(error).__name__}: {error}"[:300]) from None
        except (orjson.JSONDecodeError, msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
            raise Retryable("bad_answer", f"{resource.named}: {type(error).__name__}: {error}"[:300]) from None

    async def _open(self) -> tuple[aiohttp.ClientSession, Configuration]:
        async with self._opening:
            if self._session is None or self._config is None:
                self._config = await asyncio.to_thread(self._configure, self.kubeconfig)
                connector = aiohttp.TCPConnector(ssl=tls(self._config), limit=0)
                self._session = aiohttp.ClientSession(connector=connector)
            return self._session, self._config

    async def _failed(self, reply: aiohttp.ClientResponse, verb: str, resource: Resource) -> None:
        body = (await reply.content.read(64 << 10)).decode("utf-8", "replace")
        try:
            said = str(orjson.loads(body).get("message", ""))[:400]
        except (orjson.JSONDecodeError, AttributeError):
            said = body[:200]
        if reply.status == GONE:
            raise Gone("gone", said)
        if reply.status == 401:
            self._config = None  # credentials are read again: they may have been renewed
            await self.close()
            raise Denied("unauthorized", f"cannot {verb} {resource.named}: the credentials are not accepted: {said}")
        if reply.status in (403, 404, 405):
            raise Denied("forbidden", f"cannot {verb} {resource.named}: {said}")
        after = reply.headers.get("Retry-After", "")
        raise Retryable(
            f"http_{reply.status}", f"{verb} {resource.named}: {said}", float(after) if after.isdecimal() else 0
        )


def _authorization(config: Configuration) -> dict[str, str]:
    """Reads a renewed token from its file when it is due."""
    token = (config.get_api_key_with_prefix("BearerToken", "authorization") or "").strip()
    if token:
        return {"Authorization": token if " " in token else f"Bearer {token}"}
    if config.username:
        return {"Authorization": aiohttp.BasicAuth(config.username, config.password or "").encode()}
    return {}


def _line(raw: bytes, resource: Resource) -> Line:
    found = orjson.loads(raw)
    kind, item = str(found["type"]), dict(found["object"])
    if kind == "ERROR":
        if item.get("code") == GONE:
            raise Gone("gone", str(item.get("message", ""))[:300])
        raise Retryable("watch_error", f"{resource.named}: {item.get('message', item)}"[:300])
    return Line(kind, item)
