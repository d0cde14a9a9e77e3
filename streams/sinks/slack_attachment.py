"""The fields of an alertmanager.yml's `slack_configs`, and the message Alertmanager makes of them.

Fields are Go templates (streams/gotemplates). A receiver that sets none of them is told in our own form. Source:
alertmanager 0.25 config/notifiers.go SlackConfig, notify/slack/slack.go; api.slack.com/reference/messaging/attachments.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from streams.gotemplates import library
from streams.gotemplates.values import Data
from streams.sinks.kinds import ChatConfig

Words = Annotated[str, Meta(max_length=16_384)]
_SUBJECT = ("username", "title", "title_link", "pretext", "text", "fallback", "callback_id", "footer")
_DEFAULTS = {name: f'{{{{ template "slack.default.{name.replace("_", "")}" . }}}}' for name in _SUBJECT} | {
    "color": '{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}',
    "icon_emoji": '{{ template "slack.default.iconemoji" . }}',
    "icon_url": '{{ template "slack.default.iconurl" . }}',
}
_PARTS = (*_SUBJECT[1:], "image_url", "thumb_url", "color")
_ALWAYS = frozenset({"text", "fallback", "callback_id", "footer"})
"""What an attachment has even when it is empty."""


class Attachment(ChatConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    channel: Words | None = None
    username: Words | None = None
    color: Words | None = None
    title: Words | None = None
    title_link: Words | None = None
    pretext: Words | None = None
    text: Words | None = None
    fields: list[dict[str, str | bool]] | None = None
    """`title`, `value` and, if it is to differ from `short_fields`, `short`."""
    short_fields: bool | None = None
    footer: Words | None = None
    fallback: Words | None = None
    callback_id: Words | None = None
    icon_emoji: Words | None = None
    icon_url: Words | None = None
    image_url: Words | None = None
    thumb_url: Words | None = None
    link_names: bool | None = None
    mrkdwn_in: list[str] | None = None
    files: tuple[tuple[str, str], ...] = msgspec.field(default=(), name="__files")
    """Name and text of the template files; set by who reads the configuration."""

    def __post_init__(self) -> None:
        for each in self.fields or ():
            texts = all(isinstance(each.get(name), str) for name in ("title", "value"))
            if not texts or not each.keys() <= {"title", "value", "short"}:
                raise ValueError("fields: expected title, value and perhaps short")

    @property
    def own(self) -> bool:
        """Whether anything of Alertmanager's form is wished for."""
        names = set(Attachment.__struct_fields__) - set(ChatConfig.__struct_fields__) - {"files"}
        return any(getattr(self, name) is not None for name in names)


def body(config: Attachment, dot: Data) -> dict[str, Any]:
    """What Alertmanager would post. Raises TemplateError."""
    own = library(config.files)

    def said(name: str) -> str:
        given = getattr(config, name)
        return own.render(_DEFAULTS.get(name, "") if given is None else given, dot)

    top = {name: said(name) for name in ("channel", "username", "icon_emoji", "icon_url")}
    attachment: dict[str, Any] = {name: said(name) for name in _PARTS}
    attachment = {name: text for name, text in attachment.items() if text or name in _ALWAYS}
    if config.fields:
        attachment["fields"] = [
            {
                "title": own.render(str(each["title"]), dot),
                "value": own.render(str(each["value"]), dot),
                "short": bool(each.get("short", config.short_fields)),
            }
            for each in config.fields
        ]
    attachment["mrkdwn_in"] = config.mrkdwn_in or ["fallback", "pretext", "text"]
    out: dict[str, Any] = {name: text for name, text in top.items() if text}
    if config.link_names:
        out["link_names"] = True
    return out | {"attachments": [attachment]}
