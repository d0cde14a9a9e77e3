"""cicd.events -> Jenkins builds, and pipelines.runs.

Key: subject (repository@branch). Guarantee: a push that matches a trigger starts one build, however often it is
delivered and whenever this process is killed; while Jenkins is away it is asked again for a day, then the event is a
dead letter, and replaying that starts the build once. The owner of the partition is the only one to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog

from streams.errors import Failure, Invalid, Retryable
from streams.record import Outgoing
from streams.sinks.jenkins import Jenkins, Queued
from streams.state import State
from streams.triggers import SETTLE_MS, TOPIC, RunEntry, Step, Triggers

if TYPE_CHECKING:
    from streams.keyed import Keyed
    from streams.worker import Worker

NAME = "trigger-pipelines"
LOOK_S = 0.25
AT_ONCE = 4
"""Runs of a partition that are worked on beside each other."""

Change = Callable[[State[RunEntry], int], list[Outgoing]]
Write = Callable[[Change], Awaitable[None]]

log = structlog.get_logger(__name__)


class Runner:
    """Brings runs forward, one step a call: what is known is written down before and after Jenkins is asked."""

    def __init__(self, ledger: Keyed[RunEntry], core: Triggers, jenkins: Jenkins, clock: Callable[[], int]) -> None:
        self._ledger = ledger
        self._core = core
        self._jenkins = jenkins
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for partition in list(self._ledger.partitions):
                try:
                    await self._look(partition)
                except Retryable as error:
                    log.warning("runs.not_recorded", partition=partition, reason=error.reason)
            await asyncio.sleep(LOOK_S)

    async def _look(self, partition: int) -> None:
        now = self._clock()
        due = await self._ledger.apply(partition, lambda state: (self._core.due(state, now), ()))
        for start in range(0, len(due), AT_ONCE):
            await asyncio.gather(*(self._step(partition, key, entry) for key, entry in due[start : start + AT_ONCE]))

    async def _step(self, partition: int, key: str, entry: RunEntry) -> None:
        write = partial(self._write, partition)
        try:
            if entry.step in (Step.WANTED, Step.ASKED):
                await self._ask(write, key, entry)
            elif entry.step is Step.QUEUED:
                await self._follow_queue(write, key, entry)
            else:
                build = await self._jenkins.build(entry.run.job, entry.build)
                await write(lambda state, now: self._core.built(state, key, build, now))
        except Failure as error:
            failure = error
            outlook = "run.given_up" if isinstance(failure, Invalid) else "run.waits"
            log.warning(outlook, run=key, job=entry.run.job, reason=failure.reason, detail=failure.detail)
            await write(lambda state, now: self._core.failed(state, key, failure, now))

    async def _ask(self, write: Write, key: str, entry: RunEntry) -> None:
        job = entry.run.job
        if entry.step is Step.ASKED:
            if self._clock() < entry.asked_at_ms + SETTLE_MS:
                return
            found = await self._jenkins.find(job, key)
            if found is not None:
                await write(lambda state, now: self._core.queued(state, key, found, now))
                return
        else:
            await self._jenkins.check(job)
        await write(lambda state, now: self._core.asking(state, key, now))
        item = Queued(await self._jenkins.start(job, entry.run.parameters))
        await write(lambda state, now: self._core.queued(state, key, item, now))

    async def _follow_queue(self, write: Write, key: str, entry: RunEntry) -> None:
        item = await self._jenkins.queued(entry.queue_id) if entry.queue_id else None
        found = item or await self._jenkins.find(entry.run.job, key)
        if found is None:
            raise Retryable("jenkins_lost", "neither in the queue nor among the latest builds")
        await write(lambda state, now: self._core.queued(state, key, found, now))

    async def _write(self, partition: int, change: Change) -> None:
        """Raises Retryable when the partition is not ours any more, or the bus is away."""
        now = self._clock()
        await self._ledger.apply(partition, lambda state: (None, change(state, now)))


def register(worker: Worker) -> None:
    """Without triggers there is nothing to do: events are left for a worker that has some."""
    settings = worker.settings
    core = Triggers(settings.triggers, settings.cluster.name or "local")
    worker.stateful(NAME, TOPIC, core)
    if not settings.jenkins.url:
        return

    async def trigger() -> None:
        jenkins = Jenkins(settings.jenkins)
        try:
            await Runner(worker.keyed[NAME], core, jenkins, worker.clock).run()
        finally:
            await jenkins.close()

    worker.task(NAME, trigger)
