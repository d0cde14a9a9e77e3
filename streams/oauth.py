"""OAUTHBEARER: a client's own tokens (client credentials grant): librdkafka asks by itself, for aiokafka we do.

Source: RFC 6749 section 4.4; KIP-768; librdkafka's `sasl.oauthbearer.method=oidc`; aiokafka.abc.AbstractTokenProvider.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec
from aiokafka.abc import AbstractTokenProvider

from streams.errors import Retryable
from streams.settings import Kafka

TIMEOUT_S = 10.0
MAX_BYTES = 1 << 20
RENEWED = 0.8
"""After this part of a token's life another is asked for."""
LIFE_S = 300.0
"""Of a token whose server does not say."""


class _Answer(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float = LIFE_S


def librdkafka(kafka: Kafka) -> dict[str, Any]:
    """Its properties: it asks for tokens by itself, on a thread of its own."""
    out = {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": kafka.username,
        "sasl.oauthbearer.client.secret": kafka.password.get_secret_value(),
        "sasl.oauthbearer.token.endpoint.url": kafka.token_url,
    }
    if kafka.token_scope:
        out["sasl.oauthbearer.scope"] = kafka.token_scope
    if kafka.ca_file:
        out["https.ca.location"] = kafka.ca_file
    return out


class Tokens(AbstractTokenProvider):  # type: ignore[misc, unused-ignore]
    """Tokens for aiokafka, each asked for once and used until most of its life is over."""

    def __init__(self, kafka: Kafka, clock: Callable[[], float] = time.monotonic) -> None:
        self._kafka = kafka
        self._clock = clock
        self._token = ""
        self._until = 0.0

    async def token(self) -> str:
        """Raises Retryable when the server does not give one; the connection is tried again then."""
        if self._clock() >= self._until:
            answer = await self._ask()
            self._token, self._until = answer.access_token, self._clock() + RENEWED * answer.expires_in
        return self._token

    async def _ask(self) -> _Answer:
        form = {"grant_type": "client_credentials"}
        if self._kafka.token_scope:
            form["scope"] = self._kafka.token_scope
        who = aiohttp.encode_basic_auth(self._kafka.username, self._kafka.password.get_secret_value())
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    self._kafka.token_url,
                    data=form,
                    headers={"Authorization": who, "Accept": "application/json"},
                    ssl=ssl.create_default_context(cafile=self._kafka.ca_file or None),
                    allow_redirects=False,
                ) as reply,
            ):
                body = await reply.content.read(MAX_BYTES)
                if reply.status != 200:
                    raise Retryable("bus_away", f"the token server answers {reply.status}")
                return msgspec.json.decode(body, type=_Answer)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            raise Retryable("bus_away", f"no token from {self._kafka.token_url}: {type(error).__name__}") from error
