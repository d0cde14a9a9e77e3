"""Connectors of a Kafka Connect cluster, by its REST API; secrets in their configurations are never shown.

Source: Kafka Connect's REST API (kafka.apache.org/documentation/#connect_rest), OpenAPI of 4.3.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from gateway.problems import Problem
from streams.connect_settings import ConnectCluster
from streams.errors import Retryable

Config = dict[str, str]
HIDDEN = "********"
"""What stands for a secret; given back in a configuration it means: as it is."""
MAX_BYTES = 8 << 20
MAX_TRACE = 4000
_SECRET = re.compile(
    r"(?i)password|passphrase|secret|token|credential|jaas|authorization|api[._-]?key|private|[._-]key$"
)
_NO_SECRET = re.compile(r"(?i)(^|\.)(primary\.key|message\.key|record\.key)|key\.(converter|ignore)|\.field$")
_PROVIDED = re.compile(r"\$\{[\w.-]+:[^}]*\}")
_IN_URL = re.compile(r"(?i)(://[^/@\s:]*:)[^/@\s]+(@)|([?&;](?:password|secret|token)=)[^&;\s]+")


def masked(config: Mapping[str, str]) -> Config:
    """Without secrets. What names a secret kept elsewhere (`${file:...}`) is none."""
    return {name: _masked(name, value) for name, value in config.items()}


def _masked(name: str, value: str) -> str:
    if _SECRET.search(name) and not _NO_SECRET.search(name) and value and not _PROVIDED.fullmatch(value):
        return HIDDEN
    return _IN_URL.sub(lambda m: f"{m[1]}{HIDDEN}{m[2]}" if m[1] else f"{m[3]}{HIDDEN}", value)


def unmasked(config: Mapping[str, str], before: Mapping[str, str]) -> Config:
    """`config` with what was hidden put back from `before`. Raises 422 for a hidden value there was none of."""
    out = dict(config)
    for name, value in config.items():
        if HIDDEN in value:
            if name not in before or _masked(name, before[name]) != value:
                raise Problem(422, "Invalid request", f"{name}: {HIDDEN} stands for no value there is", field=name)
            out[name] = before[name]
    return out


class ConnectClient:
    """Asks the cluster. Everything raises 404 and 409 as Connect says, Retryable while it is away, 502 for the rest."""

    def __init__(self, settings: ConnectCluster) -> None:
        if not settings.url:
            raise Problem(404, "Not found", "no Kafka Connect is set (EVENTSPHERE_CONNECT__URL)")
        self._settings = settings

    async def all(self) -> dict[str, dict[str, Any]]:
        """Name -> `{info, status}`."""
        found: dict[str, dict[str, Any]] = await self._ask("GET", "/connectors?expand=info&expand=status")
        return found

    async def config(self, name: str) -> Config:
        found: Config = await self._ask("GET", f"{_path(name)}/config")
        return found

    async def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._ask("GET", f"{_path(name)}/status")
        return found

    async def offsets(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._ask("GET", f"{_path(name)}/offsets"))["offsets"]
        return found

    async def plugins(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._ask("GET", "/connector-plugins")
        return found

    async def wrong(self, name: str, config: Config) -> list[dict[str, str]]:
        """What the connector's class says is wrong, as `{field, reason}`. Raises 422 when there is no such class."""
        given = config | {"name": name}
        kind = quote(config.get("connector.class", ""), safe="")
        if not kind:
            return [{"field": "connector.class", "reason": "is missing"}]
        try:
            found = await self._ask("PUT", f"/connector-plugins/{kind}/config/validate", given)
        except Problem as error:
            if error.status_code in (404, 422):
                return [{"field": "connector.class", "reason": "the cluster has no such connector"}]
            raise
        return [
            {"field": each["value"]["name"], "reason": _without_value(reason, given.get(each["value"]["name"], ""))}
            for each in found["configs"]
            for reason in each["value"]["errors"]
        ]

    async def put(self, name: str, config: Config) -> None:
        await self._ask("PUT", f"{_path(name)}/config", config)

    async def delete(self, name: str) -> None:
        await self._ask("DELETE", _path(name))

    async def do(self, name: str, what: str) -> None:
        """`pause`, `resume`, `stop`, or `restart` (tasks too)."""
        if what == "restart":
            await self._ask("POST", f"{_path(name)}/restart?includeTasks=true&onlyFailed=false")
        else:
            await self._ask("PUT", f"{_path(name)}/{what}")

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        settings = self._settings
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if settings.username:
            headers["Authorization"] = aiohttp.encode_basic_auth(
                settings.username, settings.password.get_secret_value()
            )
        data = None if body is None else orjson.dumps(body)
        secure = ssl.create_default_context(cafile=settings.ca_file or None)
        timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.request(
                    method, settings.url.rstrip("/") + path, data=data, ssl=secure, allow_redirects=False
                ) as reply,
            ):
                raw = await reply.content.read(MAX_BYTES)
                while not reply.content.at_eof() and len(raw) < MAX_BYTES:
                    raw += await reply.content.read(MAX_BYTES - len(raw))
                return _answer(reply.status, raw)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Retryable("connect_away", f"Kafka Connect does not answer: {type(error).__name__}") from error


def _answer(status: int, raw: bytes) -> Any:
    try:
        body = orjson.loads(raw) if raw.strip() else None
    except orjson.JSONDecodeError:
        body, status = None, max(status, 502)
    if status < 300:
        return body
    said = str(body.get("message", "")) if isinstance(body, dict) else ""
    if status == 409:  # rebalancing
        raise Retryable("connect_busy", said or "Kafka Connect is rebalancing")
    if status in (400, 422):
        raise Problem(422, "Invalid request", "Kafka Connect refuses the configuration")
    if status == 404 or "Failed to find any class" in said:
        raise Problem(404, "Not found", said or "Kafka Connect knows no such thing")
    raise Problem(502, "Bad gateway", f"Kafka Connect answers {status}")


def _without_value(reason: str, value: str) -> str:
    """Kafka's errors repeat what was given, which may be a secret."""
    return (reason.replace(value, HIDDEN) if len(value) > 3 else reason)[:500]


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"
