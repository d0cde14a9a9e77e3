"""Channel `alertmanager`: hand our alerts to an existing Alertmanager (`POST /api/v2/alerts`).

As Prometheus does, each alert goes with an `endsAt` a few re-sendings ahead: should we stop, it resolves by itself
there. The outbox re-sends about every minute until the group resolved (streams/outbox.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiohttp

from schemas.alerting import AlertmanagerConfig, Receiver
from schemas.alerts import AlertState, Status
from schemas.base import encode, rfc3339
from streams.sinks.channel import Job, Target
from streams.sinks.guard import guarded_session
from streams.sinks.http import post
from streams.sinks.webhook import headers, target

AHEAD_MS = 4 * 60_000
PATH = "/api/v2/alerts"


class Alertmanager:
    name = "alertmanager"
    wants_context = False

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession | None = None

    def targets(self, receiver: Receiver) -> Sequence[Target]:
        return [target(self.name, config) for config in receiver.alertmanager]

    async def send(self, job: Job) -> None:
        config = job.target.config
        assert isinstance(config, AlertmanagerConfig)  # noqa: S101
        if self._session is None:
            self._session = guarded_session(allow_private=self._allow_private)
        url = config.url.rstrip("/").removesuffix(PATH) + PATH
        body = encode([posted(alert, job.now_ms) for alert in job.alerts])
        await post(self._session, url, body, headers(job, config.authorization), now_s=job.now_ms / 1000)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def posted(alert: AlertState, now_ms: int) -> dict[str, Any]:
    """A postable alert of Alertmanager's API v2 (api/v2/openapi.yaml, `postableAlert`)."""
    resolved = alert.state is Status.RESOLVED
    out: dict[str, Any] = {
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": rfc3339(alert.starts_at_ms),
        "endsAt": rfc3339((alert.ends_at_ms or alert.updated_at_ms) if resolved else now_ms + AHEAD_MS),
    }
    if alert.generator_url.startswith(("http://", "https://")):
        out["generatorURL"] = alert.generator_url
    return out
