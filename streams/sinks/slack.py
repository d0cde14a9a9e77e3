"""Channel `slack`: an incoming webhook. It answers `ok`, or a 4xx whose text is the reason.

Source: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks; the text's form:
docs.slack.dev/messaging/formatting-message-text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from streams.errors import Failure
from streams.sinks.channel import Away, Job
from streams.sinks.chat import Chat
from streams.sinks.kinds import ChatConfig, Kind, Url
from streams.sinks.letter import Letter
from streams.sinks.rendered import dot_of
from streams.sinks.slack_attachment import Attachment, body

_LINK = re.compile(r"\[((?:\\.|[^\]\\])*)\]\(([^)\s]+)\)")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>~])")


class SlackConfig(Attachment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Url = msgspec.field(name="api_url")


class Slack(Chat):
    name = "slack"
    max_bytes = 11_000
    """A text beyond 40 000 characters is refused, a section's beyond 3 000: blocks of 2 900 are made, four at most."""

    def in_own_words(self, config: ChatConfig, job: Job, base_url: str) -> Mapping[str, Any] | None:
        if not isinstance(config, SlackConfig) or not config.own:
            return None
        return body(config, dot_of(job.notification, job.alerts, base_url))

    def request(self, config: ChatConfig, about: Letter, text: str, now_ms: int) -> tuple[str, Mapping[str, Any]]:
        said = mrkdwn(text)
        parts = [said[i : i + 2900] for i in range(0, len(said), 2900)]
        blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": part}} for part in parts if part.strip()]
        title = {"type": "header", "text": {"type": "plain_text", "text": about.subject[:150], "emoji": False}}
        return config.url, {"text": escape(about.subject), "blocks": [title, *blocks]}

    def answered(self, said: str) -> Failure | None:
        return (
            None
            if said.strip() == "ok"
            else Away("slack_answer", f"not Slack's answer: {' '.join(said.split())[:100]}")
        )


def escape(text: str) -> str:
    """The three characters that mean something to Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mrkdwn(markdown: str) -> str:
    """Our Markdown (links, escapes, quotes) as Slack's own."""
    out, at = [], 0
    for link in _LINK.finditer(markdown):
        out.append(_plain(markdown[at : link.start()]))
        out.append(f"<{escape(link[2]).replace('|', '%7C')}|{_plain(link[1])}>")
        at = link.end()
    out.append(_plain(markdown[at:]))
    return re.sub(r"(?m)^&gt; ", "> ", "".join(out))


def _plain(text: str) -> str:
    return escape(_ESCAPED.sub(r"\1", text))


KIND = Kind(
    name="slack",
    title="Slack (incoming webhook)",
    page="https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks",
    config=SlackConfig,
    make=Slack,
)
