"""Instant queries to a Prometheus: what rules over `metrics` go by. No PromQL of our own.

Source: prometheus.io/docs/prometheus/latest/querying/api. Bounded: time, bytes of an answer, series, labels. What went
wrong is an answer too (`Failed`): a rule says what it means.
"""

from __future__ import annotations

import math
import ssl
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec

from schemas.base import UNREADABLE
from streams.settings import Prometheus as Settings
from streams.sinks.guard import GuardedConnector

MAX_BYTES = 16 << 20
MAX_SERIES = 10_000
MAX_LABELS = 64
MAX_LABEL = 4096
NAME = "__name__"


class Sample(NamedTuple):
    """One series of a result: its labels (without the metric's name) and its value."""

    labels: dict[str, str]
    value: float


class Failed(NamedTuple):
    """There is no result: a bounded `reason`, and words for people."""

    reason: str
    detail: str


Result = list[Sample] | Failed


class _Series(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _Data(msgspec.Struct):
    resultType: str  # noqa: N815 Prometheus's name
    result: Any


class _Answer(msgspec.Struct):
    status: str = ""
    data: _Data | None = None
    errorType: str = ""  # noqa: N815 Prometheus's name
    error: str = ""


_answers = msgspec.json.Decoder(_Answer)


class Prometheus:
    """Redirects are not followed. A name is resolved and checked where the connection is made; the operator chose the
    address, so private ones are allowed."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.url.rstrip("/") + "/api/v1/query"
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, query: str, at_ms: int) -> Result:
        """The result of `query` at a time (ms since the epoch)."""
        form = {"query": query, "time": f"{at_ms / 1000:.3f}", "timeout": f"{self._settings.timeout_s:g}s"}
        try:
            async with self._opened().post(self._url, data=form, allow_redirects=False) as answer:
                body = await _bounded(answer)
                if body is None:
                    return Failed("too_large", f"an answer of more than {MAX_BYTES >> 20} MiB")
                return parsed(answer.status, body)
        except TimeoutError:
            return Failed("timeout", f"no answer within {self._settings.timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Failed("unreachable", str(error)[:300] or type(error).__name__)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings, headers = self._settings, {"User-Agent": "eventsphere"}
            if token := settings.token.get_secret_value():
                headers["Authorization"] = f"Bearer {token}"
            elif settings.username:
                secret = settings.password.get_secret_value()
                headers["Authorization"] = aiohttp.encode_basic_auth(settings.username, secret)
            tls = ssl.create_default_context(cafile=settings.ca_file or None)
            self._session = aiohttp.ClientSession(
                connector=GuardedConnector(allow_private=True, ssl=tls),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=settings.timeout_s + 1, connect=5),
                trust_env=False,
            )
        return self._session


async def _bounded(answer: aiohttp.ClientResponse) -> bytes | None:
    """The body; None when it is larger than it may be."""
    out = bytearray()
    async for chunk in answer.content.iter_chunked(64 << 10):
        out += chunk
        if len(out) > MAX_BYTES:
            return None
    return bytes(out)


def parsed(status: int, body: bytes) -> Result:
    """An answer's samples. Errors of Prometheus keep its kind (`bad_data`, `execution`, ...) as the reason."""
    try:
        answer = _answers.decode(body)
    except UNREADABLE:
        return Failed("http", f"HTTP {status}: not an answer of a Prometheus")
    if answer.status != "success" or answer.data is None:
        return Failed(answer.errorType[:40] or "http", f"HTTP {status}: {answer.error[:300]}")
    try:
        return _samples(answer.data)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        return Failed("result", str(error)[:300])


def _samples(data: _Data) -> list[Sample]:
    """Raises ValueError for what is no result of a rule."""
    if data.resultType == "scalar":
        _, value = msgspec.convert(data.result, tuple[float, str])
        return [Sample({}, float(value))]
    if data.resultType != "vector":
        raise ValueError(f"a {data.resultType[:40]}: expected an instant vector or a scalar")
    series = msgspec.convert(data.result, list[_Series])
    if len(series) > MAX_SERIES:
        raise ValueError(f"more than {MAX_SERIES} series")
    return [Sample(_labels(each.metric), float(each.value[1])) for each in series]


def _labels(metric: dict[str, str]) -> dict[str, str]:
    out = {name: value for name, value in metric.items() if name != NAME and value}
    if len(out) > MAX_LABELS or any(len(value) > MAX_LABEL for value in out.values()):
        raise ValueError(f"a series with more than {MAX_LABELS} labels, or one of more than {MAX_LABEL} characters")
    return out


def wrong_url(url: str) -> str:
    """What is wrong with the address of a Prometheus; empty when nothing is."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "expected http://HOST:PORT or https://..."
    if parts.username or parts.password:
        return "expected no credentials in the address: there are username, password and token"
    return ""


def shown(value: float) -> str:
    """As Prometheus writes a number."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
