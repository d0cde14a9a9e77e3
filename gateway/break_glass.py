"""The break-glass receiver: whom firing alerts are told that reach `POST /api/v2/alerts` while Kafka is away.

Straight from here, by mail or webhook: no rule, group or route is asked, but silences that are known are. What was told
is written to the database; once Kafka is back the alert goes there with an annotation that says so (`already_told`),
and so does each later observation of it: who is paged by the usual way sees that it is not news.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from sqlmodel import Session, col, delete, select

from gateway import am_alerts, audit
from gateway.services import RequestProducer, Services
from schemas.alerting import EmailConfig, Receiver, WebhookConfig
from schemas.alerts import Alert, AlertState, Evidence, Status, episode_id
from schemas.base import digest, encode, rfc3339
from schemas.notifications import Context, Decision, Notification
from schemas.platform import PlatformAudit
from schemas.tables import ToldDirectly
from streams.errors import Failure, Retryable
from streams.kafka import client
from streams.metrics import BREAK_GLASS
from streams.muting import active, silenced_by
from streams.record import Outgoing
from streams.settings import Settings
from streams.sinks.channel import Channel, Job, Target
from streams.sinks.email_channel import Email
from streams.sinks.registry import base_url, server
from streams.sinks.webhook import Webhook

log = structlog.get_logger(__name__)

RECEIVER = "break-glass"
ANNOTATION = "already_told"
EVERY_S = 2.0
SEND_S = 15.0
KEPT_MS = 7 * 86_400_000
MAX_ALERTS = 100
"""Of one message; the others are counted in it."""
NOTE = "Eventsphere cannot reach Kafka: this was told directly, without grouping and routing."
Key = tuple[str, str]
_decode = msgspec.json.Decoder(Alert).decode


def _answers(admin: AdminClient) -> bool:
    try:
        admin.list_topics(am_alerts.TOPIC, timeout=EVERY_S)
    except KafkaException:
        return False
    return True


class BreakGlass:
    """`after_s`: how long Kafka may take until an alert is told directly; None: nobody is."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._settings = settings.break_glass
        self._services = services
        self._receiver = receiver_of(settings)
        self._channels: list[Channel] = [
            Email(server(settings), base_url(settings)),
            Webhook(base_url(settings), allow_private=True),  # the operator's own setting, no tenant's
        ]
        self._told: dict[Key, ToldDirectly] = {}
        self._lock = asyncio.Lock()
        self.away = False
        """Whether Kafka did not answer when it was last asked."""
        self.after_s = self._settings.after_s if self._settings.configured else None
        # What it cannot send in time it forgets: what was told directly must not come again, unmarked, from a queue.
        timeout = {"delivery.timeout.ms": int(self._settings.after_s * 1000), "linger.ms": 0}
        self._producer = RequestProducer(settings.kafka, "eventsphere-gateway-alerts", **timeout)

    async def run(self) -> None:
        """See whether Kafka is there, and tell it then what was told without it."""
        if self.after_s is None:
            return
        await self._producer.start()
        admin = AdminClient(client(self._services.settings.kafka))
        while True:
            self.away = not await asyncio.to_thread(_answers, admin)
            if not self.away:
                with suppress(Failure):
                    await self._reconcile()
            await asyncio.sleep(EVERY_S)

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
        if self.after_s is not None:
            await self._producer.close()

    async def store(self, alerts: Sequence[Alert]) -> None:
        """Alerts on their usual way, urgent ones told directly when it is closed: Retryable is raised then."""
        if self.after_s is None:
            await self._services.producer.send([am_alerts.outgoing(alert) for alert in alerts])
            return
        try:
            if self.away:
                raise Retryable("bus_away", "kafka does not answer")
            await self._producer.send([am_alerts.outgoing(alert) for alert in self.marked(alerts)])
        except Retryable:
            await self.tell(alerts)
            raise

    def shown(self) -> dict[str, Any]:
        waiting = sum(not row.reconciled_ms for row in self._told.values())
        return {"configured": self.after_s is not None, "told": len(self._told), "not_in_kafka_yet": waiting}

    def marked(self, alerts: Sequence[Alert]) -> list[Alert]:
        """With the annotation, where the same alert was told already."""
        return [self._marked(alert) for alert in alerts] if self._told else list(alerts)

    def _marked(self, alert: Alert) -> Alert:
        row = self._told.get((alert.tenant, alert.fingerprint))
        if row is None or row.starts_ms != alert.starts_at_ms:
            return alert
        said = f"to {row.receiver} at {rfc3339(row.told_ms)}, directly, while Kafka was away"
        return msgspec.structs.replace(alert, annotations=alert.annotations | {ANNOTATION: said})

    async def tell(self, alerts: Sequence[Alert]) -> None:
        """Tell those that are urgent, fire, and were not told lately. Never raises: who posted them comes again."""
        async with self._lock:
            now_ms = self._services.clock()
            due = [alert for alert in alerts if self._is_due(alert, now_ms)]
            if not due:
                return
            sent_to = await self._send(due, now_ms)
            BREAK_GLASS.labels("sent" if sent_to else "failed").inc(len(due))
            if not sent_to:
                return
            log.warning("break_glass.told", alerts=len(due), receiver=sent_to)
            rows = [_row(alert, sent_to, now_ms) for alert in due]
            self._told |= {(row.tenant, row.fingerprint): row for row in rows}
            try:
                await self._services.accounts.work(lambda session: _keep(session, rows, now_ms))
            except Failure as error:
                log.warning("break_glass.not_remembered", reason=str(error))

    def _is_due(self, alert: Alert, now_ms: int) -> bool:
        if 0 < alert.ends_at_ms <= now_ms or alert.labels.get("severity") not in self._settings.severities:
            return False
        if silenced_by(_state(alert), active(self._services.views.silences.values(), now_ms)):
            return False
        row = self._told.get((alert.tenant, alert.fingerprint))
        known = row is not None and row.starts_ms == alert.starts_at_ms
        return not (known and row is not None and now_ms - row.told_ms < self._settings.repeat_s * 1000)

    async def _send(self, alerts: Sequence[Alert], now_ms: int) -> str:
        """Whom it reached, or nothing."""
        note = notification(alerts, now_ms, self._services.settings.cluster.name or "local")
        targets = [(channel, target) for channel in self._channels for target in channel.targets(self._receiver)]
        reached = [target.name for channel, target in targets if await _delivered(channel, target, note, now_ms)]
        return ", ".join(reached)[:128]

    async def _reconcile(self) -> None:
        """Raises Retryable while Kafka or the database is away."""
        rows = await self._services.accounts.work(_rows)
        self._told = {(row.tenant, row.fingerprint): row for row in rows} | {
            key: row for key, row in self._told.items() if not row.reconciled_ms and key not in _keys(rows)
        }
        waiting = [row for row in self._told.values() if not row.reconciled_ms]
        if not waiting:
            return
        now_ms = self._services.clock()
        await self._services.producer.send([out for row in waiting for out in self._known(row)])
        done = [ToldDirectly(**row.model_dump() | {"reconciled_ms": now_ms}) for row in waiting]
        await self._services.accounts.work(lambda session: _keep(session, done, now_ms))
        self._told |= {(row.tenant, row.fingerprint): row for row in done}
        log.info("break_glass.reconciled", alerts=len(done))

    def _known(self, row: ToldDirectly) -> Iterable[Outgoing]:
        """The observation with its mark, and what was done, for the records of what was done."""
        yield am_alerts.outgoing(self._marked(_decode(row.alert.encode())))
        yield audit.outgoing(
            PlatformAudit(
                id=digest(RECEIVER, row.tenant, row.fingerprint, str(row.told_ms)),
                actor=RECEIVER,
                verb="notify",
                object=f"alert/{row.fingerprint}",
                result="ok",
                time_ms=row.told_ms,
                reason=f"told {row.receiver} directly while Kafka was away",
                tenant=row.tenant,
            )
        )


def receiver_of(settings: Settings) -> Receiver:
    config = settings.break_glass
    url, authorization = config.webhook_url.get_secret_value(), config.webhook_authorization.get_secret_value()
    return Receiver(
        name=RECEIVER,
        email=[EmailConfig(to=config.mail)] if config.mail else [],
        webhook=[WebhookConfig(url=url, authorization=authorization)] if url else [],
    )


def notification(alerts: Sequence[Alert], now_ms: int, cluster: str) -> Notification:
    """What channels are given: the alerts in one message, marked."""
    shown = [_state(alert) for alert in alerts[:MAX_ALERTS]]
    return Notification(
        id=digest(RECEIVER, str(now_ms), *(alert.fingerprint for alert in alerts)),
        tenant=alerts[0].tenant,
        receiver=RECEIVER,
        group_key=RECEIVER,
        group_labels={"told": "BREAK GLASS: Kafka is away"},
        flush=now_ms,
        decision=Decision.SEND,
        reason="break_glass",
        status="firing",
        alerts=shown,
        truncated=len(alerts) - len(shown),
        decided_at_ms=now_ms,
        cluster=cluster,
    )


async def _delivered(channel: Channel, target: Target, note: Notification, now_ms: int) -> bool:
    job = Job(notification=note, target=target, alerts=note.alerts, context=Context(), notes=[NOTE], now_ms=now_ms)
    try:
        async with asyncio.timeout(SEND_S):
            await channel.send(job)
    except (Failure, TimeoutError) as error:
        log.error("break_glass.failed", channel=channel.name, target=target.name, reason=str(error))
        return False
    return True


def _state(alert: Alert) -> AlertState:
    annotations = alert.annotations | {"break_glass": NOTE}
    evidence: list[Evidence] = []
    return AlertState(
        tenant=alert.tenant,
        fingerprint=alert.fingerprint,
        episode=episode_id(alert.tenant, alert.fingerprint, alert.starts_at_ms),
        state=Status.FIRING,
        labels=alert.labels,
        annotations=annotations,
        starts_at_ms=alert.starts_at_ms,
        updated_at_ms=alert.observed_at_ms,
        seq=1,
        generator_url=alert.generator_url,
        cluster=alert.cluster,
        source=alert.source,
        evidence=evidence,
    )


def _row(alert: Alert, receiver: str, now_ms: int) -> ToldDirectly:
    return ToldDirectly(
        tenant=alert.tenant,
        fingerprint=alert.fingerprint,
        starts_ms=alert.starts_at_ms,
        told_ms=now_ms,
        receiver=receiver,
        alert=encode(alert).decode(),
    )


def _rows(session: Session) -> list[ToldDirectly]:
    return list(session.exec(select(ToldDirectly)))


def _keys(rows: Iterable[ToldDirectly]) -> set[Key]:
    return {(row.tenant, row.fingerprint) for row in rows}


def _keep(session: Session, rows: Iterable[ToldDirectly], now_ms: int) -> None:
    for row in rows:
        session.merge(row)
    old = (col(ToldDirectly.told_ms) < now_ms - KEPT_MS, col(ToldDirectly.reconciled_ms) > 0)
    session.exec(delete(ToldDirectly).where(*old))
    session.commit()
