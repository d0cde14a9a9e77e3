"""One guarded POST of JSON, its answer classed: taken, refused for good, or to come again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import aiohttp

from streams.errors import Failure, Invalid, Retryable
from streams.sinks.channel import Away
from streams.sinks.guard import REASON, Forbidden

AGAIN = frozenset({408, 409, 423, 425, 429})
"""4xx that say "not now"."""
MAX_REPLY = 2048
MAX_WAIT_S = 3600.0


async def post(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str], *, now_s: float
) -> str:
    """Return the answer's text (cut) on 2xx.

    Raises Invalid("http_<status>"), Retryable (429 and its like) or Away (5xx, no connection).
    """
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as reply:
            said = (await reply.content.read(MAX_REPLY)).decode("utf-8", "replace")
            if failure := classified(reply.status, said, retry_after(reply.headers.get("Retry-After", ""), now_s)):
                raise failure
            return said
    except aiohttp.InvalidURL as error:
        raise Invalid("url", "not an URL that can be reached") from error
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise _unreached(error) from error


def classified(status: int, said: str = "", after_s: float = 0.0) -> Failure | None:
    """None: taken. Source: RFC 9110 section 15."""
    detail = " ".join(said.split())[:200]
    if 200 <= status < 300:
        return None
    if status >= 500:
        return Away(f"http_{status}", detail, after_s)
    if status in AGAIN:
        return Retryable(f"http_{status}", detail, after_s)
    if 300 <= status < 400:
        return Invalid(f"http_{status}", "redirects are not followed: set the URL it leads to")
    return Invalid(f"http_{status}", detail)


def retry_after(text: str, now_s: float) -> float:
    """Seconds that a `Retry-After` asks to wait, at most an hour; 0 when it says nothing we understand."""
    try:
        wait = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, TypeError):
        return 0.0
    return min(max(0.0, wait), MAX_WAIT_S)


def _unreached(error: Exception) -> Failure:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Forbidden):
            return Invalid(REASON, str(cause))
        cause = cause.__cause__ or getattr(cause, "os_error", None) or cause.__context__
    if isinstance(error, asyncio.TimeoutError):
        return Away("http_timeout")
    # The error's text may repeat the URL, which may hold a secret: its kind says enough.
    return Away("http_away", type(error).__name__)
