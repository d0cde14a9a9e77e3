"""The canary: an alert of our own that makes the whole way, from a topic through rule, state, route and delivery.

`platform.canary` -> rule EventsphereCanary (deploy/rules/own-canary.yaml) -> `alerts` -> `alerts.state` ->
`alerts.routes` -> `notifications` -> channel `canary` -> `platform.trips`. Its alert belongs to a tenant nobody is of:
it is in no list, no silence covers it, and its route is the first of every configuration without being written there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from schemas.alerting import AlertingConfig, Channel, Receiver, Route
from schemas.alerts import INTERNAL, Matcher
from schemas.base import digest, encode
from schemas.headers import cloud_headers
from schemas.notifications import Timing
from schemas.platform import Canary, Trip
from streams.matching import render_all
from streams.producer import Producer
from streams.record import Outgoing
from streams.sinks.channel import Job, Target

TOPIC, TRIPS = "platform.canary", "platform.trips"
RECEIVER = "eventsphere-canary"
ANNOTATION = "canary"
MATCHERS = [
    Matcher(name="alertname", value="EventsphereCanary"),
    Matcher(name="eventsphere_internal", value="canary"),
]
TIMING = Timing(group_wait_ms=0, group_interval_ms=1_000, repeat_interval_ms=3_600_000)


def with_canary(config: AlertingConfig) -> AlertingConfig:
    """The configuration with the canary's receiver and its route before all others."""
    key = f"{config.route.key}/{render_all(MATCHERS)}"
    route = Route(receiver=RECEIVER, key=key, matchers=MATCHERS, timing=TIMING)
    root = msgspec.structs.replace(config.route, routes=[route, *config.route.routes])
    return msgspec.structs.replace(config, route=root, receivers=[*config.receivers, Receiver(name=RECEIVER)])


def sent(canary: Canary) -> Outgoing:
    headers = cloud_headers(
        topic=TOPIC,
        id=canary.id,
        type="canary.sent",
        source="eventsphere/gateway",
        time_ms=canary.time_ms,
        subject=canary.id,
    )
    return Outgoing(TOPIC, encode(canary), canary.id.encode(), headers, canary.time_ms)


def is_canary(value: bytes | None) -> bool:
    """Whether a notification or an outcome is the canary's."""
    return value is not None and b'"tenant":"' + INTERNAL.encode() + b'"' in value


class CanaryChannel:
    """Where its notification is delivered: that it arrived goes to `platform.trips`. Raises Retryable while Kafka is
    away."""

    name = "canary"
    wants_context = False

    def __init__(self, producer: Producer, clock: Callable[[], int], cluster: str) -> None:
        self._producer = producer
        self._clock = clock
        self._cluster = cluster

    def targets(self, receiver: Receiver) -> Sequence[Target]:
        if receiver.name != RECEIVER:
            return []
        config = Channel(send_resolved=False)
        return [Target(channel=self.name, name="internal", ref=self.name, lane=self.name, config=config)]

    async def send(self, job: Job) -> None:
        now_ms = self._clock()
        trips = [
            Trip(id=id_, arrived_ms=now_ms, cluster=self._cluster)
            for alert in job.alerts
            if (id_ := alert.annotations.get(ANNOTATION, ""))
        ]
        await self._producer.send([arrived(trip) for trip in trips])

    async def close(self) -> None:
        """Nothing is open."""


def arrived(trip: Trip) -> Outgoing:
    headers = cloud_headers(
        topic=TRIPS,
        id=digest(TRIPS, trip.id, str(trip.arrived_ms)),
        type="canary.arrived",
        source="eventsphere/deliver-notifications",
        time_ms=trip.arrived_ms,
        subject=trip.id,
    )
    return Outgoing(TRIPS, encode(trip), b"trip", headers)
