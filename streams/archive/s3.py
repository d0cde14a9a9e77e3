"""An S3-compatible store: four requests of its API, by path (`<endpoint>/<bucket>/...`)."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree

import aiohttp
from yarl import URL

from streams.archive.sigv4 import path_text, query_text, signed
from streams.errors import Fatal, Retryable
from streams.settings import Archive

TIMEOUT_S = 30.0
"""Within the worker's watchdog."""
MAX_LISTING = 16 << 20
PAGE = 1000
"""Names of one answer."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class S3Store:
    """`prefix` goes before every name."""

    def __init__(self, settings: Archive, *, bucket: str, prefix: str, now: Callable[[], datetime] = utc_now) -> None:
        endpoint = settings.s3_endpoint or f"https://s3.{settings.s3_region}.amazonaws.com"
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise Fatal("archive_settings", f"archive.s3_endpoint: {endpoint!r} is no http(s)://host:port")
        self._base, self._host = f"{parts.scheme}://{parts.netloc}", parts.netloc
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._settings = settings
        self._now = now
        self._session: aiohttp.ClientSession | None = None

    async def put(self, name: str, content: bytes) -> None:
        await self._ask("PUT", self._path(name), content=content)

    async def get(self, name: str) -> bytes | None:
        return await self._ask("GET", self._path(name), missing=True)

    async def delete(self, name: str) -> None:
        await self._ask("DELETE", self._path(name), missing=True)

    async def names(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        params = {"list-type": "2", "max-keys": str(PAGE), "prefix": self._prefix + prefix}
        if after:
            params["start-after"] = self._prefix + after
        while True:
            answer = await self._ask("GET", f"/{self._bucket}", params)
            names, token = _listing(answer or b"")
            for name in names:
                yield name.removeprefix(self._prefix)
            if not token:
                return
            params["continuation-token"] = token

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _path(self, name: str) -> str:
        return f"/{self._bucket}/{self._prefix}{name}"

    async def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        content: bytes = b"",
        missing: bool = False,
    ) -> bytes | None:
        params = params or {}
        headers = signed(
            method,
            self._host,
            path,
            params,
            {},
            content,
            access_key=self._settings.s3_access_key,
            secret_key=self._settings.s3_secret_key.get_secret_value(),
            region=self._settings.s3_region,
            now=self._now(),
        )
        url = URL(f"{self._base}{path_text(path)}?{query_text(params)}".removesuffix("?"), encoded=True)
        try:
            async with self._http().request(method, url, headers=headers, data=content or None) as answer:
                body = await answer.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Retryable("archive_away", f"{self._base}: {error or type(error).__name__}"[:300]) from None
        if answer.status < 300:
            return body
        if answer.status == 404 and missing and b"NoSuchBucket" not in body:
            return None
        reason = "archive_denied" if answer.status in (401, 403) else "archive_away"
        raise Retryable(reason, f"{method} {path}: {answer.status} {_code(body)}"[:300])

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=self._settings.s3_ca_file or None)
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                connector=aiohttp.TCPConnector(ssl=context),
                skip_auto_headers=("Content-Type",),
            )
        return self._session


def _listing(body: bytes) -> tuple[list[str], str]:
    """The names of one page, and the token of the next (empty on the last)."""
    root = _xml(body)
    names = [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == "Key"]
    tokens = [e.text or "" for e in root.iter() if e.tag.rpartition("}")[2] == "NextContinuationToken"]
    return names, tokens[0] if tokens else ""


def _code(body: bytes) -> str:
    try:
        return next((e.text or "" for e in _xml(body).iter() if e.tag.rpartition("}")[2] == "Code"), "")
    except Retryable:
        return ""


def _xml(body: bytes) -> ElementTree.Element:
    if len(body) > MAX_LISTING or b"<!" in body:
        raise Retryable("archive_away", "the store's answer is no listing")
    try:
        return ElementTree.fromstring(body)  # noqa: S314 - without a DTD there are no entities to expand
    except ElementTree.ParseError as error:
        raise Retryable("archive_away", f"the store's answer is no XML: {error}") from None
