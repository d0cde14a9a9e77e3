"""`alerts.state` -> `alerts.routes`: each change of an alert to every group the route tree leads it into.

Key: tenant/receiver/group key. Guarantee: at least once, in the order of the alert's changes but for repeats, which
carry the same `seq`. Nothing is kept here. When the configuration changes, and when a worker starts, everything that
fires is routed again, so that alerts reach the groups they belong to now. What is pending is nobody's business yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from schemas.alerting import AlertingConfig
from schemas.alerts import AlertState, Status
from schemas.base import UNREADABLE, digest, encode
from schemas.headers import cloud_headers
from schemas.notifications import Routed, group_record_key
from streams.alerting import LiveConfig
from streams.batch import Batch
from streams.envelope import opened, trace_of, traced
from streams.errors import Invalid
from streams.policies import led
from streams.record import Outgoing
from streams.routing import Destination

if TYPE_CHECKING:
    import faust

    from schemas.platform import Control
    from streams.worker import Worker

NAME = "route-alerts"
TOPIC = "alerts.routes"
ROUTED = frozenset({Status.FIRING, Status.RESOLVED})
CHUNK = 1000
_decoder = msgspec.json.Decoder(AlertState)


def routed(config: AlertingConfig, alert: AlertState) -> Iterator[Outgoing]:
    """One record a receiver and group."""
    if alert.state in ROUTED:
        alert = msgspec.structs.replace(alert, remarks=[], history=[])  # nothing is decided by what was said and was
        for destination in led(config, alert.labels):
            yield outgoing(alert, destination)


def outgoing(alert: AlertState, to: Destination) -> Outgoing:
    record = Routed(
        tenant=alert.tenant,
        receiver=to.route.receiver,
        group_key=to.group_key,
        group_labels=to.group_labels,
        timing=to.route.timing,
        alert=alert,
        cluster=alert.cluster,
    )
    key = group_record_key(alert.tenant, to.route.receiver, to.group_key)
    headers = cloud_headers(
        topic=TOPIC,
        id=digest(key, alert.episode, str(alert.seq)),
        type="alert.routed",
        source=f"eventsphere/{NAME}",
        time_ms=alert.updated_at_ms,
        subject=key,
    )
    return Outgoing(TOPIC, encode(record), key.encode(), headers)


def route_batch(config: AlertingConfig, batch: Batch) -> list[Outgoing]:
    """Raises Invalid naming the records that are no alert states. Tombstones say nothing to a group."""
    out: list[Outgoing] = []
    wrong: dict[int, str] = {}
    for index, record in enumerate(map(opened, batch.records())):
        if record.value is None:
            continue
        try:
            out += traced(routed(config, _decoder.decode(record.value)), trace_of(record.headers))
        except UNREADABLE as error:
            wrong[index] = str(error)
    if wrong:
        raise Invalid("decode", f"{len(wrong)} records are no alert states", wrong)
    return out


def register(worker: Worker) -> None:
    source = worker.source(NAME, ["alerts.state"])
    live = LiveConfig(worker.settings)
    states = worker.view("alerts.state", _decoder.decode)

    async def route(batch: Batch) -> None:
        try:
            await worker.producer.send(route_batch(live.current, batch))
        except Invalid as error:
            if error.reason == "too_large":  # its indexes are those of what was sent, not of the batch
                error.indexes = None
            raise

    async def on_control(message: Control) -> None:
        if await live.on_control(message):
            firing = [each for each in states.values() if each.state is Status.FIRING]
            for start in range(0, len(firing), CHUNK):
                chunk = firing[start : start + CHUNK]
                await worker.producer.send([out for each in chunk for out in routed(live.current, each)])

    worker.on_control(on_control)

    @worker.app.agent(source.channel, name=NAME)
    async def route_alerts(batches: faust.StreamT[Batch]) -> None:
        async for batch in batches:
            await worker.deliver(source, batch, route)
