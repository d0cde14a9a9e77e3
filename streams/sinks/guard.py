"""Whom outgoing HTTP may reach: the SSRF guard. Addresses are checked where the connection is made, after resolving.

Link-local addresses (cloud metadata), multicast and what is no address of a host are refused always; loopback and
private ones unless allowed. The connection goes to the very address that was checked, so a name that changes its
address in between (DNS rebinding) gains nothing; redirects are not followed; no proxy is taken from the environment.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from streams.errors import Invalid, Retryable

REASON = "forbidden_address"
TIMEOUT = aiohttp.ClientTimeout(total=15, connect=5)
_METADATA = frozenset(
    ipaddress.ip_address(each) for each in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SHARED = ipaddress.ip_network("100.64.0.0/10")
IP = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(OSError):
    """Raised inside aiohttp's connecting; an OSError, so that it comes out as its ClientConnectorError."""


def refusal(address: str, *, allow_private: bool) -> str:
    """Why no connection may go to `address` (an IP), or an empty text."""
    ip = _unwrapped(ipaddress.ip_address(address.split("%", maxsplit=1)[0]))
    if ip in _METADATA or ip.is_link_local:
        return f"{address} is link-local or a metadata service"
    if ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255":
        return f"{address} is not the address of a host"
    if not allow_private and (not ip.is_global or ip in _SHARED):
        return f"{address} is loopback, private or reserved (EVENTSPHERE_NOTIFY__ALLOW_PRIVATE_ADDRESSES)"
    return ""


def _unwrapped(ip: IP) -> IP:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, Teredo, NAT64), else itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or ip


class GuardedResolver(AbstractResolver):
    """Resolves names, giving only addresses that may be reached."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        refusals = [refusal(each["host"], allow_private=self._allow_private) for each in found]
        allowed = [each for each, why in zip(found, refusals, strict=True) if not why]
        if not allowed:
            raise Forbidden(f"{host}: {refusals[0] if refusals else 'no address'}")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


class GuardedConnector(aiohttp.TCPConnector):
    """A connector over the guarded resolver; addresses written as such pass no resolver, so they are checked here."""

    def __init__(self, *, allow_private: bool, **more: Any) -> None:
        super().__init__(resolver=GuardedResolver(allow_private=allow_private), use_dns_cache=False, **more)
        self._allow_private = allow_private

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[ResolveResult]:
        try:
            why = refusal(host, allow_private=self._allow_private)
        except ValueError:
            why = ""
        if why:
            raise Forbidden(why)
        return await super()._resolve_host(host, port, traces)


def guarded_session(*, allow_private: bool) -> aiohttp.ClientSession:
    """An HTTP session for URLs that users choose. Make it inside the loop; redirects are refused by `post`."""
    return aiohttp.ClientSession(
        connector=GuardedConnector(allow_private=allow_private, limit=32),
        timeout=TIMEOUT,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


async def check_host(host: str, *, allow_private: bool) -> None:
    """For clients that connect by themselves. Raises Invalid(REASON), or Retryable when the name does not resolve."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Retryable("unresolved", f"{host}: {error}") from error
    for *_, address in found:
        if why := refusal(str(address[0]), allow_private=allow_private):
            raise Invalid(REASON, f"{host}: {why}")


def host_of(url: str) -> str:
    """Scheme, host and port of an URL: what may be shown of it (user, path and query may hold secrets)."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host or ''}{port}"
