"""Channel `webhook`: Alertmanager's webhook payload, version 4, or a CloudEvent, by a guarded POST.

Format: prometheus.io/docs/alerting/latest/configuration/#webhook_config. The notification's id goes along as
`Idempotency-Key`, so that a receiver can tell a repeat. With signing secrets the body is signed as Standard Webhooks
has it (github.com/standard-webhooks/standard-webhooks), once for each of them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec

from schemas.alerting import Receiver, WebhookConfig
from schemas.alerts import AlertState, Status
from schemas.base import encode, rfc3339
from schemas.headers import DATASCHEMA
from schemas.notifications import Notification, group_record_key
from streams.sinks.channel import Job, Target, reference
from streams.sinks.guard import guarded_session, host_of
from streams.sinks.http import post
from streams.sinks.letter import common_annotations, common_labels

NO_END = "0001-01-01T00:00:00Z"
"""Go's zero time, which is what Alertmanager writes for an alert without an end."""


class Webhook:
    name = "webhook"
    wants_context = False

    def __init__(self, external_url: str, *, allow_private: bool) -> None:
        self._external_url = external_url
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession | None = None

    def targets(self, receiver: Receiver) -> Sequence[Target]:
        return [target(self.name, config) for config in receiver.webhook]

    async def send(self, job: Job) -> None:
        config = job.target.config
        assert isinstance(config, WebhookConfig)  # noqa: S101
        if self._session is None:
            self._session = guarded_session(allow_private=self._allow_private)
        head = headers(job, config.authorization)
        if config.format == "cloudevents":
            body = encode(event(job.notification, job.alerts, self._external_url))
            head["Content-Type"] = "application/cloudevents+json"
        else:
            body = encode(payload(job.notification, job.alerts, self._external_url, config.max_alerts))
        head |= signature(config.signing_secrets, head["Idempotency-Key"], job.now_ms // 1000, body)
        await post(self._session, config.url, body, head, now_s=job.now_ms / 1000)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def target(channel: str, config: Any) -> Target:
    shown = host_of(config.url)
    return Target(
        channel=channel, name=shown, ref=reference(channel, config.url), lane=f"{channel} {shown}", config=config
    )


def headers(job: Job, authorization: str) -> dict[str, str]:
    out = {
        "Content-Type": "application/json",
        "User-Agent": "Eventsphere",
        "Idempotency-Key": f"{job.notification.id}-{job.target.ref}",
    }
    if authorization:
        out["Authorization"] = authorization
    return out


def signature(secrets: Sequence[str], identity: str, now_s: int, body: bytes) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` (of this attempt), `webhook-signature`; nothing without secrets."""
    if not secrets:
        return {}
    signed = identity.encode() + b"." + str(now_s).encode() + b"." + body
    macs = [
        hmac.new(base64.b64decode(each.removeprefix("whsec_")), signed, hashlib.sha256).digest() for each in secrets
    ]
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join("v1," + base64.b64encode(mac).decode() for mac in macs),
    }


def event(notification: Notification, alerts: Sequence[AlertState], external_url: str) -> dict[str, Any]:
    """A CloudEvent 1.0, structured mode: the record of `notifications` with the alerts this channel is told about."""
    return {
        "specversion": "1.0",
        "id": notification.id,
        "type": "notification.send",
        "source": external_url,
        "subject": group_record_key(notification.tenant, notification.receiver, notification.group_key),
        "time": rfc3339(notification.decided_at_ms),
        "dataschema": DATASCHEMA.format(topic="notifications"),
        "datacontenttype": "application/json",
        "data": msgspec.structs.replace(notification, alerts=list(alerts)),
    }


def payload(
    notification: Notification, alerts: Sequence[AlertState], external_url: str, max_alerts: int = 0
) -> dict[str, Any]:
    shown = alerts[:max_alerts] if max_alerts else alerts
    firing = any(alert.state is not Status.RESOLVED for alert in alerts)
    return {
        "version": "4",
        "groupKey": notification.group_key,
        "truncatedAlerts": len(alerts) - len(shown) + notification.truncated,
        "status": "firing" if firing else "resolved",
        "receiver": notification.receiver,
        "groupLabels": notification.group_labels,
        "commonLabels": common_labels(alerts),
        "commonAnnotations": common_annotations(alerts),
        "externalURL": external_url,
        "alerts": [_alert(alert) for alert in shown],
    }


def _alert(alert: AlertState) -> dict[str, Any]:
    resolved = alert.state is Status.RESOLVED
    return {
        "status": "resolved" if resolved else "firing",
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": rfc3339(alert.starts_at_ms),
        "endsAt": rfc3339(alert.ends_at_ms or alert.updated_at_ms) if resolved else NO_END,
        "generatorURL": alert.generator_url,
        "fingerprint": alert.fingerprint,
    }
