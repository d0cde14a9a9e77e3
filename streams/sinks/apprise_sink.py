"""Channel `apprise`: any of Apprise's services by its URL, in threads of its own, behind our outbox.

Apprise does not say why a service refused, only that it did: every refusal comes again until the delivery expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apprise

from schemas.alerting import AppriseConfig, Receiver
from streams.errors import Invalid, Retryable
from streams.sinks.channel import Away, Job, Target, reference
from streams.sinks.guard import check_host
from streams.sinks.letter import Letter, letter
from streams.sinks.mail import bodies

THREADS = 4
TIMEOUT_S = 30.0
"""How long one notification may take; the request's own limits (4 s to connect, 4 s to answer) come first."""


class Apprise:
    name = "apprise"
    wants_context = True

    def __init__(self, base_url: str, *, allow_private: bool) -> None:
        self._base_url = base_url
        self._allow_private = allow_private
        self._asset = apprise.AppriseAsset(
            http_redirects=False, app_id="Eventsphere", app_desc="Eventsphere", app_url=""
        )
        self._threads = ThreadPoolExecutor(THREADS, "apprise")

    def targets(self, receiver: Receiver) -> Sequence[Target]:
        return [self._target(config) for config in receiver.apprise]

    def _target(self, config: AppriseConfig) -> Target:
        scheme = config.url.partition("://")[0]
        ref = reference(self.name, config.url)
        return Target(channel=self.name, name=f"{scheme} {ref[:6]}", ref=ref, lane=f"apprise {ref}", config=config)

    async def send(self, job: Job) -> None:
        config = job.target.config
        assert isinstance(config, AppriseConfig)  # noqa: S101
        service = apprise.Apprise.instantiate(config.url, asset=self._asset)
        if service is None:
            raise Invalid("apprise_url", f"no service of Apprise understands this {config.url.partition('://')[0]} URL")
        if service.host and _names_a_host(service):
            await check_host(service.host, allow_private=self._allow_private)
        about = letter(job.notification, job.alerts, job.context, self._base_url)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                taken = await loop.run_in_executor(self._threads, _notify, service, about)
        except TimeoutError:
            raise Away("apprise_timeout") from None
        except Exception as error:
            # Its text may repeat the URL with its secrets: the kind says enough.
            raise Retryable("apprise_failed", type(error).__name__) from error
        if not taken:
            raise Retryable("apprise_refused", "the service did not take it")

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _names_a_host(service: Any) -> bool:
    """Whether the URL's host is one (`json://host`), not a token (`slack://token/...`)."""
    return any("{host}" in form for form in service.templates)


def _notify(service: Any, about: Letter) -> bool:
    text, html = bodies(about)
    wants_html = service.notify_format == apprise.NotifyFormat.HTML
    kind = apprise.NotifyType.FAILURE if about.firing else apprise.NotifyType.SUCCESS
    box = apprise.Apprise(asset=service.asset)
    box.add(service)
    done = box.notify(
        body=html if wants_html else text,
        title=about.subject,
        notify_type=kind,
        body_format=apprise.NotifyFormat.HTML if wants_html else apprise.NotifyFormat.TEXT,
    )
    return bool(done)
