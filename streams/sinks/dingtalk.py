"""Channel `dingtalk`: a custom robot of a DingTalk group, signed when it has a secret. HTTP 200 whatever happens.

Source: open.dingtalk.com/document/robots/custom-robot-access (requests, 20 a minute) and
open.dingtalk.com/document/robots/customize-robot-security-settings (sign: base64 of HMAC-SHA256, keyed with the secret,
of "<timestamp in ms>\\n<secret>").
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote_plus

from msgspec import Meta

from streams.errors import Failure
from streams.sinks.chat import Chat, coded
from streams.sinks.kinds import SECRET, ChatConfig, Kind
from streams.sinks.letter import Letter

SLOW = frozenset({130101, 410100, 660026})
"""Sent too fast."""
AWAY = frozenset({-1, 88, 90018})
"""The service is busy."""


class DingTalkConfig(ChatConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    secret: Annotated[
        str, Meta(max_length=512, description="`SEC...`: the robot's signing secret.", extra_json_schema=SECRET)
    ] = ""
    at_mobiles: Annotated[list[str], Meta(max_length=50, description="Who is called on, by telephone number.")] = []
    at_all: Annotated[bool, Meta(description="Call on everybody.")] = False


class DingTalk(Chat):
    name = "dingtalk"
    max_bytes = 18_000
    """20 000 bytes a message."""

    def request(self, config: ChatConfig, about: Letter, text: str, now_ms: int) -> tuple[str, Mapping[str, Any]]:
        assert isinstance(config, DingTalkConfig)  # noqa: S101
        called = "".join(f" @{number}" for number in config.at_mobiles)
        body = {
            "msgtype": "markdown",
            "markdown": {"title": about.subject, "text": f"#### {about.subject}\n\n{text}{called}"},
            "at": {"atMobiles": config.at_mobiles, "isAtAll": config.at_all},
        }
        return signed(config.url, config.secret, now_ms), body

    def answered(self, said: str) -> Failure | None:
        return coded(said, "errcode", SLOW, AWAY, "dingtalk")


def signed(url: str, secret: str, now_ms: int) -> str:
    """`url` with `timestamp` and `sign`; as it is without a secret."""
    if not secret:
        return url
    mac = hmac.new(secret.encode(), f"{now_ms}\n{secret}".encode(), hashlib.sha256).digest()
    joint = "&" if "?" in url else "?"
    return f"{url}{joint}timestamp={now_ms}&sign={quote_plus(base64.b64encode(mac))}"


KIND = Kind(
    name="dingtalk",
    title="DingTalk (custom robot)",
    page="https://open.dingtalk.com/document/robots/custom-robot-access",
    config=DingTalkConfig,
    make=DingTalk,
)
