"""Channel `wecom`: a robot of a WeCom group (WeChat Work). HTTP 200 whatever happens.

Source: developer.work.weixin.qq.com/document/path/91770 (requests, 20 a minute, 4096 bytes of Markdown);
codes: developer.work.weixin.qq.com/document/path/90313.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from streams.errors import Failure
from streams.sinks.chat import Chat, coded, cut
from streams.sinks.kinds import ChatConfig, Kind
from streams.sinks.letter import Letter

SLOW = frozenset({45009, 45033})
"""Over the frequency, too many at once."""
AWAY = frozenset({-1, 50003})
"""The service is busy."""


class WeComConfig(ChatConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mentioned: Annotated[list[str], Meta(max_length=50, description="Who is called on, by user id.")] = []


class WeCom(Chat):
    name = "wecom"
    max_bytes = 4096

    def request(self, config: ChatConfig, about: Letter, text: str, now_ms: int) -> tuple[str, Mapping[str, Any]]:
        assert isinstance(config, WeComConfig)  # noqa: S101
        called = "".join(f"<@{name}>" for name in config.mentioned)
        color = "warning" if about.firing else "info"
        title = about.subject.replace("<", "\uff1c").replace(">", "\uff1e")
        content = cut(f'{called}**<font color="{color}">{title}</font>**\n{text}', self.max_bytes)
        return config.url, {"msgtype": "markdown", "markdown": {"content": content}}

    def answered(self, said: str) -> Failure | None:
        return coded(said, "errcode", SLOW, AWAY, "wecom")


KIND = Kind(
    name="wecom",
    title="WeCom (group robot)",
    page="https://developer.work.weixin.qq.com/document/path/91770",
    config=WeComConfig,
    make=WeCom,
)
