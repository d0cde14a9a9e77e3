"""What channels have in common that post a message to a chat's webhook.

Such services answer HTTP 200 with a code of their own in the body, so each says what its codes mean (`answered`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec
import structlog

from schemas.alerting import Receiver
from schemas.base import encode
from streams.errors import Failure, Invalid, Retryable
from streams.gotemplates import TemplateError
from streams.sinks.channel import Away, Job, Target
from streams.sinks.guard import guarded_session
from streams.sinks.http import post
from streams.sinks.kinds import ChatConfig, Platform
from streams.sinks.letter import Letter, letter
from streams.sinks.message import message
from streams.sinks.own_templates import Renderer
from streams.sinks.webhook import headers, target

log = structlog.get_logger(__name__)


class Chat:
    """One kind of chat. A subclass names itself and makes the request."""

    name: str
    max_bytes: int
    """Of the message's text, as UTF-8; a longer one is cut."""
    wants_context = False

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._session: aiohttp.ClientSession | None = None
        self._renderer = Renderer()

    def in_own_words(self, config: ChatConfig, job: Job, base_url: str) -> Mapping[str, Any] | None:
        """The whole message when the receiver says it in its own words. Raises TemplateError."""
        return None

    def request(self, config: ChatConfig, about: Letter, text: str, now_ms: int) -> tuple[str, Mapping[str, Any]]:
        """URL and JSON of the message `text` (Markdown)."""
        raise NotImplementedError

    def answered(self, said: str) -> Failure | None:
        """What a 2xx answer's body means."""
        return None

    def targets(self, receiver: Receiver) -> Sequence[Target]:
        return [target(self.name, other.config) for other in receiver.others if other.kind == self.name]

    async def send(self, job: Job) -> None:
        config = job.target.config
        assert isinstance(config, ChatConfig)  # noqa: S101
        base_url, notes = self._platform.base_url, job.notes
        url, body, wrong = config.url, None, ""
        try:
            body = self.in_own_words(config, job, base_url)
        except TemplateError as error:
            log.warning("template.not_rendered", receiver=job.notification.receiver, reason=str(error)[:500])
            wrong = f"The receiver's own form could not be rendered ({str(error)[:300]})."
        if body is None:
            notes = [*notes, wrong] if wrong else notes
            about = letter(job.notification, job.alerts, job.context, base_url, notes, config.language)
            text = await message(about, config.template, self._renderer)
            url, body = self.request(config, about, cut(text, self.max_bytes), job.now_ms)
        if self._session is None:
            self._session = guarded_session(allow_private=self._platform.allow_private)
        said = await post(self._session, url, encode(body), headers(job, ""), now_s=job.now_ms / 1000)
        if failure := self.answered(said):
            raise failure

    async def close(self) -> None:
        await asyncio.gather(self._renderer.close(), *([self._session.close()] if self._session else ()))
        self._session = None


def coded(said: str, field: str, slow: frozenset[int], away: frozenset[int], name: str) -> Failure | None:
    """The answer `{<field>: 0, ...}` of a service that answers 200 always. `slow`: codes for "too fast, later"; `away`:
    the service itself is troubled; any other: refused for good."""
    try:
        answer = msgspec.json.decode(said)
        code = answer.get(field, answer.get("StatusCode"))
    except (msgspec.DecodeError, AttributeError):
        code = None
    if code == 0:
        return None
    detail = " ".join(said.split())[:200]
    if not isinstance(code, int):
        return Away(f"{name}_answer", f"not the answer of this service: {detail}")
    if code in away:
        return Away(f"{name}_{code}", detail)
    if code in slow:
        return Retryable(f"{name}_{code}", detail, 60.0)
    return Invalid(f"{name}_{code}", detail)


def cut(text: str, max_bytes: int) -> str:
    raw = text.encode()
    if len(raw) <= max_bytes:
        return text
    return raw[: max_bytes - 4].decode("utf-8", "ignore") + "…"
