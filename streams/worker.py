"""A worker: one process that runs agents. What an agent gets in `register(worker)` is this object.

Agents declare here what they read and keep; streams/lifecycle.py starts and stops it.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import faust
import msgspec
import structlog

from schemas.base import UNREADABLE
from schemas.platform import Control
from streams.app import faust_app
from streams.batch import Batch
from streams.book import Book
from streams.census import Places
from streams.delivery import deliver
from streams.envelope import content
from streams.errors import Fatal
from streams.keyed import Keyed
from streams.metrics import CONTROL_SKIPPED
from streams.producer import Producer
from streams.settings import Settings
from streams.sinks.index.port import Index, open_index
from streams.source import BatchSource
from streams.state import Core
from streams.state_log import StateLog
from streams.views import View
from streams.watchdog import Watchdog

log = structlog.get_logger(__name__)
T = TypeVar("T")
E = TypeVar("E", bound=msgspec.Struct)
Handle = Callable[[Batch], Awaitable[None]]
OnControl = Callable[[Control], Awaitable[None]]

CONTROL = "platform.control"
STATE_PREFIX = "state."
GROUP_PREFIX = "eventsphere."
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Worker:
    """Make it on the running event loop. `clock` gives ms since the epoch."""

    def __init__(self, settings: Settings, *, clock: Callable[[], int] = now_ms) -> None:
        self.settings = settings
        self.clock = clock
        self.name = settings.worker.name
        self.app: faust.App = faust_app(settings.kafka, f"eventsphere.worker.{self.name}.{uuid.uuid4().hex[:8]}")
        self.producer = Producer(settings.kafka, f"eventsphere.worker.{self.name}")
        self.watchdog = Watchdog(settings.worker.watchdog_s)
        self.sources: dict[str, BatchSource] = {}
        self.keyed: dict[str, Keyed[Any]] = {}
        self.views: dict[str, View[Any]] = {}
        self.tasks: dict[str, Callable[[], Awaitable[None]]] = {}
        self.search_index: Index | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done with the error that ends this worker."""
        self._on_control: list[OnControl] = []
        self._rng = random.Random()  # noqa: S311 - spreads back-offs
        self._listen()

    def source(self, name: str, topics: Sequence[str], places: Places | None = None) -> BatchSource:
        """Batches of `topics`, read by consumer group `eventsphere.<name>`; its `.channel` is what an agent takes.
        With `places` (whose a batch's records are) accounts are kept of what becomes of them (streams/accounts.py)."""
        source = BatchSource(self.app, self.settings, self.producer, name, list(topics), clock=self.clock)
        if places is not None:
            source.book = Book(name, self.settings.cluster.name, places, self.producer, self.clock)
        if self.sources.setdefault(name, source) is not source:
            raise Fatal("agent_twice", f"there already is a source called {name}")
        self.watchdog.watch(source)
        return source

    async def deliver(self, source: BatchSource, batch: Batch, handle: Handle) -> None:
        """Claim the batch, run `handle` under the error policy (streams/delivery.py) and finish it."""
        try:
            await deliver(
                source,
                batch,
                handle,
                settings=self.settings,
                producer=self.producer,
                watchdog=self.watchdog,
                sleep=asyncio.sleep,
                rng=self._rng,
                census=None if source.book is None else source.book.census,
            )
        except Fatal as error:
            self.fail(error)
            raise

    def stateful(self, name: str, topic: str, core: Core[E]) -> None:
        """Run `core` over `topic` as agent `name` with keyed state in `state.<name>` (streams/keyed.py)."""
        source = self.source(name, [topic])
        state_topic = STATE_PREFIX + name
        keyed = Keyed(
            core,
            self.producer,
            StateLog(self.settings.kafka, state_topic, topic, GROUP_PREFIX + name),
            name=name,
            state_topic=state_topic,
            clock=self.clock,
            fail=self.fail,
            alive=lambda: self.watchdog.tried(name),
        )
        self.keyed[name] = keyed
        source.on_assigned.append(keyed.assigned)
        source.on_revoked.append(keyed.revoked)

        @self.app.agent(source.channel, name=name)
        async def stateful(batches: faust.StreamT[Batch]) -> None:
            async for batch in batches:
                await self.deliver(source, batch, keyed.handle)

    def view(self, topic: str, decode: Callable[[bytes], T]) -> View[T]:
        """The complete table of compacted `topic`; one a topic and process, whoever asks first says how to decode."""
        if topic not in self.views:
            self.views[topic] = View(self.settings.kafka, topic, decode)
        return self.views[topic]

    def index(self) -> Index:
        """The search index, opened as the writer; while it is not open, writing to it is Retryable."""
        if self.search_index is None:
            self.search_index = open_index(self.settings, writer=True)
        return self.search_index

    def task(self, name: str, coroutine_function: Callable[[], Awaitable[None]]) -> None:
        """Run it beside the agents from when the worker is up; started again when it fails, over when it returns."""
        self.tasks[name] = coroutine_function

    def on_control(self, callback: OnControl) -> None:
        """Await `callback` for every message on `platform.control`, and once when the worker is up."""
        self._on_control.append(callback)

    def fail(self, error: BaseException) -> None:
        """End this worker: its supervisor starts another."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def supervise(self, name: str, coroutine_function: Callable[[], Awaitable[None]]) -> None:
        """Run a background task until it returns; Fatal ends the worker, any other error starts it again."""
        attempt = 0
        while True:
            try:
                return await coroutine_function()
            except Fatal as error:
                return self.fail(error)
            except Exception:
                log.exception("worker.task_failed", task=name)
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1

    async def control(self, message: Control) -> None:
        """Hand a control message to everybody who asked; one's failure is not the others'."""
        for callback in self._on_control:
            try:
                await callback(message)
            except Exception:
                log.exception("worker.control_failed", type=message.type)

    def _listen(self) -> None:
        """The one topic read by Faust's own consumer: low volume, every worker hears everything."""
        decode = msgspec.json.Decoder(Control).decode
        topic = self.app.topic(CONTROL, key_serializer="raw", value_serializer="raw", key_type=bytes, value_type=bytes)

        @self.app.agent(topic, name="control")
        async def control(values: faust.StreamT[bytes]) -> None:
            async for value in values:
                try:
                    message = decode(content(value))
                except UNREADABLE:
                    CONTROL_SKIPPED.inc()
                    continue
                await self.control(message)
