"""Start and stop of a worker.

Start: probes, wait for the bus and the topics, producer, views, Faust with its agents, batch sources, background tasks.
Stop: sources (no new batches), Faust, tasks, views, index, producer. What takes longer than `STOP_S` is cut off, which
costs nothing but a repeat of what was in flight.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import structlog
import uvloop
from confluent_kafka import KafkaException

from schemas.platform import Control
from streams.errors import Failure, Fatal, Retryable
from streams.probes import Probes
from streams.settings import Settings
from streams.sinks.index.port import Index
from streams.topics import leaderless
from streams.worker import CONTROL, Worker

log = structlog.get_logger(__name__)

STOP_S = 8.0
RETRY_S = 0.5
GC_THRESHOLD = 50_000
"""Objects between collections: with Python's 700, looking through batches of records for cycles (there are none) costs
a fifth of all CPU."""
SAY_EVERY = 20
"""Every how many tries the log says again what is waited for."""


def run(settings: Settings, register: Callable[[Worker], None], ready: Callable[[Worker], None]) -> int:
    """Run a worker until SIGTERM or SIGINT (returns 0) or until it cannot go on (returns 1).

    The loop is not closed: that would wait for threads that still ask a broker which is away. The process ends next.
    """
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(_main(settings, register, ready))


async def _main(settings: Settings, register: Callable[[Worker], None], ready: Callable[[Worker], None]) -> int:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    worker = Worker(settings)
    life = Life(worker)
    asked = asyncio.create_task(stopping.wait(), name="stopping")
    running = asyncio.create_task(life.run(register, ready), name="worker")
    ends: set[asyncio.Future[Any]] = {asked, running, worker.failed}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    hard = threading.Timer(STOP_S, os._exit, (0 if stopping.is_set() else 1,))
    hard.daemon = True
    hard.start()
    failure = None if stopping.is_set() else _failure(running, worker.failed)
    if failure is not None:
        log.error("worker.failed", reason=str(failure), exc_info=None if isinstance(failure, Failure) else failure)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    try:
        await life.close()
    except Exception:
        log.exception("worker.stop_failed")
    log.info("worker.stopped", worker=worker.name)
    return 1 if failure is not None else 0


def _failure(*futures: asyncio.Future[None]) -> BaseException | None:
    return next((f.exception() for f in futures if f.done() and not f.cancelled() and f.exception()), None)


class Life:
    """What was started of a worker, so that it can be stopped in the opposite order."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._stack = AsyncExitStack()
        self._bus = False
        self._index_open = False
        self._up = False

    def waiting(self) -> list[str]:
        """What `/readyz` waits for; empty when every agent works."""
        worker = self._worker
        out = [] if self._bus else ["bus"]
        out += [f"view {view.topic}" for view in worker.views.values() if not view.ready]
        out += [f"source {source.name}" for source in worker.sources.values() if not source.joined]
        out += [f"state {keyed.name}" for keyed in worker.keyed.values() if not keyed.ready]
        if worker.search_index is not None and not self._index_open:
            out.append("index")
        return out if self._up else [*out, "agents"]

    async def run(self, register: Callable[[Worker], None], ready: Callable[[Worker], None]) -> None:
        worker, stack = self._worker, self._stack
        register(worker)
        probes = Probes(worker.settings.worker.metrics_host, worker.settings.worker.metrics_port, self.waiting)
        await probes.start()
        stack.push_async_callback(probes.close)
        await self._wait_for_bus()
        worker.watchdog.start()
        stack.callback(worker.watchdog.close)
        await worker.producer.start()
        stack.push_async_callback(worker.producer.close)
        if worker.search_index is not None:
            stack.push_async_callback(worker.search_index.close)
            self._background("index", self._open(worker.search_index))
        for view in worker.views.values():
            stack.push_async_callback(view.close)
        await asyncio.gather(*(view.start() for view in worker.views.values()))
        for keyed in worker.keyed.values():
            await keyed.start()
            stack.push_async_callback(keyed.close)
        await self._start_app()
        for name, function in worker.tasks.items():
            self._background(name, worker.supervise(name, function))
        self._up = True
        await worker.control(Control(type="rules.changed", by="start", time_ms=worker.clock()))
        await worker.control(Control(type="alerting.changed", by="start", time_ms=worker.clock()))
        while self.waiting():  # noqa: ASYNC110 - what it waits for are states of many threads
            await asyncio.sleep(0.05)
        ready(worker)
        await worker.app.wait()
        raise worker.app.crash_reason or Fatal("faust_stopped")

    async def close(self) -> None:
        await self._stack.aclose()

    async def _start_app(self) -> None:
        """Faust first, so that its agents listen when the sources bring batches."""
        worker, stack = self._worker, self._stack
        stack.push_async_callback(worker.app.stop)
        await worker.app.start()
        for source in worker.sources.values():
            await worker.app.add_runtime_dependency(source)
        stack.push_async_callback(self._stop_sources)

    async def _stop_sources(self) -> None:
        for keyed in self._worker.keyed.values():
            keyed.stop()
        await asyncio.gather(*(source.stop() for source in self._worker.sources.values()))

    async def _wait_for_bus(self) -> None:
        """Topics are made by `eventsphere topics apply`; until Kafka answers and all are there, say so and wait."""
        worker = self._worker
        names = {CONTROL, *worker.views, *(k.state_topic for k in worker.keyed.values())}
        names.update(topic for source in worker.sources.values() for topic in source.topics)
        tries = 0
        while True:
            try:
                missing = await asyncio.to_thread(leaderless, worker.settings.kafka, names)
                if not missing:
                    self._bus = True
                    return
                reason = f"no leader or not made yet (`eventsphere topics apply`): {', '.join(missing)}"
            except KafkaException as error:
                reason = f"Kafka at {worker.settings.kafka.bootstrap_servers} does not answer: {error.args[0].str()}"
            if tries % SAY_EVERY == 0:
                log.warning("worker.waiting_for_bus", reason=reason)
            tries += 1
            await asyncio.sleep(RETRY_S)

    async def _open(self, index: Index) -> None:
        """The agents start meanwhile: writing to an index that is not open is Retryable."""
        tries = 0
        while not self._index_open:
            try:
                await index.open()
                self._index_open = True
            except Retryable as error:
                if tries % SAY_EVERY == 0:
                    log.warning("worker.waiting_for_index", reason=str(error))
                tries += 1
                await asyncio.sleep(RETRY_S)
            except Exception as error:
                self._worker.fail(error)
                return

    def _background(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._stack.push_async_callback(_ended, asyncio.create_task(coroutine, name=name))


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
