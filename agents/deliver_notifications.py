"""notifications -> email, webhooks, chats, Apprise, Alertmanager, and notifications.outcomes.

Key: tenant/receiver/group key. Guarantee: every target of a notification hears of it once; a crash repeats at most the
one delivery a lane was at, with the same Message-ID, and loses none (docs/adr/0004-delivery.md). The owner of the
partition is the only sender. In shadow mode (`EVENTSPHERE_NOTIFY__MODE=shadow`) nothing is sent:
decisions say `shadow` and have no outcome; one to `send` from before gets the outcome `shadow`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from schemas.alerting import AlertingConfig, Receiver, alerts_for
from schemas.alerts import AlertState, Status, alert_key
from schemas.notifications import Notification
from schemas.people import Person
from schemas.platform import Control
from streams.alerting import load
from streams.canary import CanaryChannel
from streams.context import Gathered, Surroundings
from streams.errors import Invalid, Retryable
from streams.lanes import Attempt, Lanes
from streams.notify_settings import policy_for
from streams.outbox import REFRESH, TOPIC, Due, Outbox, Planned
from streams.pace import Pace
from streams.people import reached
from streams.producer import Producer
from streams.sinks.channel import Channel, Final, Job, Staged, Target
from streams.sinks.email_channel import Email
from streams.sinks.index.port import Index, open_index
from streams.sinks.registry import base_url, channels

if TYPE_CHECKING:
    from streams.worker import Worker

NAME = "deliver-notifications"


class Directory:
    """Whom receivers reach, by the configuration as it is now."""

    def __init__(
        self,
        config: AlertingConfig,
        channels: Sequence[Channel],
        people: Callable[[], Iterable[Person]],
        clock: Callable[[], int],
    ) -> None:
        """`people` raises Retryable while they are not known."""
        self.config = config
        self.channels = {channel.name: channel for channel in channels}
        self._people = people
        self._clock = clock

    def plan(self, notification: Notification) -> list[Planned]:
        """The targets of a notification; those whose channel is told nothing of its alerts are left out."""
        receiver = self._receiver(notification.receiver)
        at_once = {
            target.ref: Planned(target.channel, target.ref, target.name)
            for target in self._named(receiver)
            if alerts_for(notification, target.config)
        }
        for target, until_ms in self._in_person(receiver, notification):
            if alerts_for(notification, target.config):
                at_once.setdefault(target.ref, Planned(target.channel, target.ref, target.name, until_ms))
        return list(at_once.values())

    def find(self, due: Due) -> tuple[Channel, Target]:
        """Raises Invalid when the receiver no longer has this target."""
        receiver = self._receiver(due.notification.receiver)
        people = (target for target, _ in self._in_person(receiver, due.notification))
        for target in (*self._named(receiver), *people):
            if (target.channel, target.ref) == (due.delivery.channel, due.delivery.ref):
                return self.channels[target.channel], target
        raise Invalid("target_gone", f"{due.notification.receiver} has no {due.delivery.channel} {due.delivery.name}")

    def _receiver(self, name: str) -> Receiver:
        receiver = self.config.receiver(name)
        if receiver is None:
            raise Invalid("receiver_unknown", f"there is no receiver {name!r}")
        return receiver

    def _in_person(self, receiver: Receiver, notification: Notification) -> list[tuple[Target, int]]:
        """The tenant's people, and until when each is kept waiting (ms; 0: not)."""
        email = self.channels.get("email")
        if not receiver.people or not isinstance(email, Email):
            return []
        resolved = any(each.send_resolved for each in receiver.people)
        return [
            (email.person(person.address, person.language, send_resolved=resolved), until_ms)
            for person, until_ms in reached(self._people(), notification, self._clock())
        ]

    def _named(self, receiver: Receiver) -> list[Target]:
        """Each target once, however often a receiver lists it."""
        found = [target for channel in self.channels.values() for target in channel.targets(receiver)]
        return list({(target.channel, target.ref): target for target in found}.values())


def current(alerts: Sequence[AlertState], now: Callable[[str], AlertState | None], now_ms: int) -> list[AlertState]:
    """`alerts` as they are by now; one that is forgotten, or whose key began another episode, is resolved."""
    out = []
    for alert in alerts:
        state = now(alert_key(alert.tenant, alert.fingerprint))
        if state is None or (state.episode != alert.episode and state.updated_at_ms >= alert.updated_at_ms):
            ended = alert.ends_at_ms or (min(state.starts_at_ms, now_ms) if state else now_ms)
            state = msgspec.structs.replace(alert, state=Status.RESOLVED, ends_at_ms=max(alert.starts_at_ms, ended))
        out.append(state if state.updated_at_ms >= alert.updated_at_ms else alert)
    return out


class Reader:
    """The search index to ask: this worker's own when it writes one, else one opened for reading."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._own: Index | None = None

    async def index(self) -> Index:
        if self._worker.search_index is not None:
            return self._worker.search_index
        if self._own is None:
            own = open_index(self._worker.settings, writer=False)
            await own.open()
            self._own = own
        return self._own

    async def close(self) -> None:
        if self._own is not None:
            await self._own.close()
            self._own = None


class Sender:
    """How one due delivery is made."""

    def __init__(self, worker: Worker, directory: Directory, surroundings: Surroundings) -> None:
        self._clock = worker.clock
        self._policies = worker.settings.notify.policies
        self._directory = directory
        self._surroundings = surroundings
        self._states = worker.view("alerts.state", msgspec.json.Decoder(AlertState).decode)

    def prepare(self, due: Due) -> Attempt:
        """Raises Invalid when the target is gone."""
        channel, target = self._directory.find(due)
        again = due.key.startswith(REFRESH)
        alerts = alerts_for(due.notification, target.config)
        if again:
            alerts = current(alerts, self._states.get, self._clock())
        resolved = all(alert.state is Status.RESOLVED for alert in alerts)
        policy = policy_for(self._policies, target.channel, due.notification.receiver)
        return Attempt(
            target.lane,
            partial(self._send, channel, target, due.notification, alerts),
            again and resolved,
            Pace(policy.per_minute, policy.burst, policy.concurrency),
        )

    async def _send(
        self, channel: Channel, target: Target, notification: Notification, alerts: list[AlertState], final: Final
    ) -> None:
        about = Gathered(notification.context, [])
        if channel.wants_context:
            about = await self._surroundings.gather(notification, alerts)
        job = Job(
            notification=notification,
            target=target,
            alerts=alerts,
            context=about.context,
            notes=about.notes,
            now_ms=self._clock(),
        )
        if isinstance(channel, Staged):
            await channel.send_staged(job, final)
        else:
            async with final():
                await channel.send(job)


def register(worker: Worker) -> None:
    settings = worker.settings
    canary = CanaryChannel(worker.producer, worker.clock, settings.cluster.name or "local")
    view = worker.view("people", msgspec.json.Decoder(Person).decode)

    def people() -> Iterable[Person]:
        if not view.ready:
            raise Retryable("people", "who wants to be told in person is not read yet")
        return view.values()

    directory = Directory(load(settings), [*channels(settings), canary], people, worker.clock)
    policies = settings.notify.policies
    outbox = Outbox(
        directory.plan,
        shadow=settings.notify.mode == "shadow",
        policy=lambda channel, receiver: policy_for(policies, channel, receiver),
    )
    reader = Reader(worker)
    sender = Sender(worker, directory, Surroundings(reader.index, base_url(settings), worker.clock))
    worker.stateful(NAME, TOPIC, outbox)

    async def deliver() -> None:
        # Marks go one at a time and are waited for: no lingering to fill a batch.
        marker = Producer(settings.kafka, f"eventsphere.worker.{worker.name}.marks", **{"linger.ms": 0})
        await marker.start()
        try:
            await Lanes(worker.keyed[NAME], outbox, sender.prepare, worker.clock, marker).run()
        finally:
            await marker.close()
            for channel in directory.channels.values():
                await channel.close()
            await reader.close()

    async def reload(message: Control) -> None:
        if message.type == "alerting.changed":
            directory.config = await asyncio.to_thread(load, settings)

    worker.on_control(reload)
    worker.task(NAME, deliver)
