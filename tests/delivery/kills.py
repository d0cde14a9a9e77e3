"""Mails while workers are killed: publishes notifications, kills workers at random moments, counts what arrived."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from agents import deliver_notifications
from schemas.base import encode
from schemas.notifications import Decision, Notification, Outcome, Result, group_record_key, notification_id
from streams.record import Outgoing
from streams.settings import Alerting, Kafka, Settings, Smtp
from tests.delivery.samples import alert
from tests.parts.process import Process
from tests.parts.running import decoded, following, send, until, worker_process
from tests.parts.smtp_server import Server, Taken

CONFIG = """
route: {receiver: ops}
receivers:
  - name: ops
    email_configs: [{to: ops@example.org, send_resolved: true}]
"""
WAIT_S = 180
LATEST_S = 0.05
"""A kill comes up to so long after the mail it waits for."""


class Plan(NamedTuple):
    mails: int
    kills: int
    seed: int
    workers: int = 2


class Verdict(NamedTuple):
    """`repeats`: mails that came again; `missing`: never came; `strange`: a Message-ID nobody sent."""

    mails: int
    kills: int
    missing: int
    strange: int
    repeats: int
    without_outcome: int
    seconds: float

    @property
    def good(self) -> bool:
        return not (self.missing or self.strange or self.without_outcome) and self.repeats <= self.kills

    def __str__(self) -> str:
        return (
            f"{'GOOD' if self.good else 'BAD'}: {self.mails} notifications, {self.kills} kills: {self.missing} missing,"
            f" {self.repeats} repeated (same Message-ID), {self.strange} with an unknown Message-ID,"
            f" {self.without_outcome} without the outcome `sent`; {self.seconds:.0f} s"
        )


def made(run: int, number: int, now_ms: int) -> Notification:
    """`run` keeps several runs over one broker apart."""
    group = f"{{}}:{{run={run},number={number}}}"
    return Notification(
        id=notification_id("platform", "ops", group, 1),
        tenant="platform",
        receiver="ops",
        group_key=group,
        group_labels={},
        flush=1,
        decision=Decision.SEND,
        status="firing",
        alerts=[alert()],
        decided_at_ms=now_ms,
    )


def outgoing(notification: Notification) -> Outgoing:
    key = group_record_key(notification.tenant, notification.receiver, notification.group_key)
    return Outgoing("notifications", encode(notification), key.encode())


def settings_for(kafka: Kafka, smtp_port: int, folder: Path) -> Settings:
    config = folder / "alertmanager.yml"
    config.write_text(CONFIG)
    return Settings(
        data_dir=str(folder),
        kafka=kafka,
        smtp=Smtp(url=f"smtp://127.0.0.1:{smtp_port}?from=es@example.org"),
        alerting=Alerting(config=str(config)),
    )


async def under_kills(
    kafka: Kafka, smtp: Server, folder: Path, plan: Plan, say: Callable[[str], None] = lambda _: None
) -> Verdict:
    began = time.monotonic()
    now_ms = time.time_ns() // 1_000_000
    notifications = [made(plan.seed, number, now_ms + number) for number in range(plan.mails)]
    workers = [
        worker_process(settings_for(kafka, smtp.port, folder), folder / f"worker{i}.log", deliver_notifications.NAME)
        for i in range(plan.workers)
    ]
    with ExitStack() as stack:
        for worker in workers:
            worker.start()
            stack.callback(worker.stop)
        await _kill(kafka, smtp, notifications, workers, plan, say)
        await until(lambda: len({t.message_id for t in smtp.taken()}) >= plan.mails, "every mail", WAIT_S)
        wanted = {each.id for each in notifications}
        with following(kafka, "notifications.outcomes") as outcomes:

            def without() -> int:
                said = {o.notification for o in decoded(outcomes(), Outcome) if o.result == Result.SENT}
                return len(wanted - said)

            await until(lambda: without() == 0, "every outcome", WAIT_S)
            left = without()
    return verdict(notifications, smtp.taken(), plan.kills, left, time.monotonic() - began)


async def _kill(
    kafka: Kafka,
    smtp: Server,
    notifications: Sequence[Notification],
    workers: Sequence[Process],
    plan: Plan,
    say: Callable[[str], None],
) -> None:
    rng = random.Random(plan.seed)
    for kill in range(plan.kills):
        first, last = (n * plan.mails // plan.kills for n in (kill, kill + 1))
        await send(kafka, *map(outgoing, notifications[first:last]))
        # A random one of the mails published so far; those of a partition that waits for its new owner come later.
        wanted = min(last, len(smtp.taken()) + rng.randint(1, max(1, (last - first) // 2)))
        await until(
            lambda wanted=wanted: len(smtp.taken()) >= wanted,  # type: ignore[misc]
            f"{wanted} mails before kill {kill + 1}",
            WAIT_S,
        )
        await asyncio.sleep(rng.random() * LATEST_S)
        victim = rng.choice(workers)
        await asyncio.to_thread(victim.kill)
        victim.start()
        say(f"kill {kill + 1}: {len(smtp.taken())} of {last} mails")


def verdict(
    notifications: Sequence[Notification], taken: Sequence[Taken], kills: int, without_outcome: int, seconds: float
) -> Verdict:
    came = Counter(each.message_id for each in taken)
    expected = {f"<{each.id}@eventsphere>" for each in notifications}
    return Verdict(
        mails=len(notifications),
        kills=kills,
        missing=len(expected - came.keys()),
        strange=len(came.keys() - expected),
        repeats=sum(count - 1 for count in came.values()),
        without_outcome=without_outcome,
        seconds=seconds,
    )
