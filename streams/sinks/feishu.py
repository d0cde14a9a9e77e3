"""Channel `feishu`: a custom bot of a Feishu or Lark group, signed when it has a secret. HTTP 200 for most refusals.

Source: open.feishu.cn/document/client-docs/bot-v3/add-custom-bot (card, sign: base64 of HMAC-SHA256 of nothing, keyed
with "<timestamp in s>\\n<secret>"; 5 a second, 100 a minute, 20 KB a request; codes 9499, 19021, 19022, 19024, 11232).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from streams.errors import Failure
from streams.sinks.chat import Chat, coded
from streams.sinks.kinds import SECRET, ChatConfig, Kind
from streams.sinks.letter import Letter

SLOW = frozenset({11232, 99991400})
"""Over the frequency."""
AWAY: frozenset[int] = frozenset({11200, 2200})
"""An error of the service's own."""


class FeishuConfig(ChatConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    secret: Annotated[str, Meta(max_length=512, description="The bot's signing secret.", extra_json_schema=SECRET)] = ""


class Feishu(Chat):
    name = "feishu"
    max_bytes = 16_000

    def request(self, config: ChatConfig, about: Letter, text: str, now_ms: int) -> tuple[str, Mapping[str, Any]]:
        assert isinstance(config, FeishuConfig)  # noqa: S101
        color = "green" if not about.firing else "red" if about.severity == "critical" else "orange"
        card = {
            "config": {"wide_screen_mode": True},
            "header": {"title": {"tag": "plain_text", "content": about.subject}, "template": color},
            "elements": [{"tag": "markdown", "content": text}],
        }
        return config.url, sign(config.secret, now_ms // 1000) | {"msg_type": "interactive", "card": card}

    def answered(self, said: str) -> Failure | None:
        return coded(said, "code", SLOW, AWAY, "feishu")


def sign(secret: str, now_s: int) -> dict[str, str]:
    if not secret:
        return {}
    mac = hmac.new(f"{now_s}\n{secret}".encode(), b"", hashlib.sha256).digest()
    return {"timestamp": str(now_s), "sign": base64.b64encode(mac).decode()}


KIND = Kind(
    name="feishu",
    title="Feishu / Lark (custom bot)",
    page="https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot",
    config=FeishuConfig,
    make=Feishu,
)
