"""The three agents on a real broker: alerts in, notifications out, workers killed meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from agents import group_notifications, keep_alert_state, route_alerts
from gateway.am_alerts import outgoing
from schemas.alerts import Alert, AlertState, Silence, Status, fingerprint
from schemas.base import encode
from schemas.notifications import Decision, Notification
from streams.matching import parse_matchers
from streams.record import Outgoing
from streams.settings import Alerting, Kafka, Settings
from tests.parts.process import Process
from tests.parts.running import decoded, following, producing, until, worker_process

Send = Callable[[Sequence[Outgoing]], Awaitable[None]]
ALERTS, KILLS = 120, 4
AGENTS = (keep_alert_state.NAME, route_alerts.NAME, group_notifications.NAME)
CONFIG = """\
route:
  receiver: team
  group_by: ['...']
  group_wait: 1s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: team
    webhook_configs: [{url: "http://127.0.0.1:1/"}]
"""


def observed(number: int, *, resolved: bool = False) -> Outgoing:
    now = time.time_ns() // 1_000_000
    labels = {"alertname": "Chaos", "number": str(number)}
    return outgoing(
        Alert(
            labels=labels,
            starts_at_ms=1_700_000_000_000 + number,
            ends_at_ms=now if resolved else 0,
            observed_at_ms=now,
            fingerprint=fingerprint(labels),
            source="tests",
        )
    )


def silence(number: int) -> Outgoing:
    value = Silence(
        id=str(number),
        matchers=parse_matchers(f"number={number}"),
        starts_at_ms=1,
        ends_at_ms=4_000_000_000_000,
        created_by="tests",
        updated_at_ms=1,
    )
    return Outgoing("silences", encode(value), value.id.encode())


@pytest.mark.timeout(500)
async def test_every_episode_is_told_once_whatever_is_killed(platform_kafka: Kafka, tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG)
    settings = Settings(data_dir=str(tmp_path), kafka=platform_kafka, alerting=Alerting(config=str(config)))
    workers = [worker_process(settings, tmp_path / f"worker{number}.log", *AGENTS) for number in range(2)]
    await asyncio.gather(*(asyncio.to_thread(worker.start) for worker in workers))
    try:
        with following(platform_kafka, "notifications") as read, following(platform_kafka, "alerts.state") as states:
            async with producing(platform_kafka) as producer:
                await producer.send([silence(0)])
                await _disturbed(workers, [observed(number) for number in range(ALERTS)], producer.send)
                await until(lambda: len(_told(read(), "firing")) >= ALERTS - 1, "every alert told", 150)
                gone = [observed(number, resolved=True) for number in range(ALERTS)]
                await _disturbed(workers, gone, producer.send)
                await until(lambda: len(_told(read(), "resolved")) >= ALERTS - 1, "every resolve told", 150)
            await until(lambda: len(_final(states(), Status.RESOLVED)) == ALERTS, "every state")
            notifications = {each.id: each for each in decoded(read(), Notification)}
            changes = decoded(states(), AlertState)
    finally:
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))
    sent = [each for each in notifications.values() if each.decision is Decision.SEND]
    counts = Counter((each.group_labels["number"], each.status) for each in sent)
    assert set(counts.values()) == {1}, "the same thing was decided twice under different ids"
    assert "0" not in {number for number, _ in counts}
    silenced = [each for each in notifications.values() if each.decision is Decision.SILENCED]
    assert [each.reason for each in silenced] == ["silenced by 0"]
    by_print = defaultdict(set)
    for change in changes:
        by_print[change.fingerprint].add((change.seq, change.state.value))
    assert all(seen == {(1, "firing"), (2, "resolved")} for seen in by_print.values())


async def _disturbed(workers: list[Process], records: list[Outgoing], send: Send) -> None:
    """Send in portions, killing a worker after each."""
    rng = random.Random(3)
    for kill in range(KILLS):
        await send(records[kill * len(records) // KILLS : (kill + 1) * len(records) // KILLS])
        await asyncio.sleep(rng.random() * 3)
        victim = workers[kill % len(workers)]
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)


def _told(records: list[tuple[bytes | None, bytes | None]], status: str) -> set[str]:
    return {
        each.group_labels["number"]
        for each in decoded(records, Notification)
        if each.decision is Decision.SEND and each.status == status
    }


def _final(records: list[tuple[bytes | None, bytes | None]], state: Status) -> set[str]:
    last = {each.fingerprint: each.state for each in decoded(records, AlertState)}
    return {print_ for print_, each in last.items() if each is state}
