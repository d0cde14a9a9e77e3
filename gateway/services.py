"""Everything a request may need, made once a process: bus, search index, views, accounts, streams."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from gateway import self_watch
from gateway.accounts import Accounts
from gateway.cluster import Cluster
from gateway.context import KAFKA_HEADER, request_id, traceparent
from gateway.files import signing_key
from gateway.ledger import Ledger
from gateway.limits import Limits
from gateway.quotas import Quotas
from gateway.reader import Reader
from gateway.sessions import Sessions
from gateway.tail import Tail
from gateway.usage import Usage
from schemas.alerts import INTERNAL, AlertState, Silence
from schemas.catalogue import catalogue
from streams.envelope import traced
from streams.errors import Retryable
from streams.intake import Intake, of_process
from streams.producer import Producer
from streams.record import Outgoing
from streams.retention.policy import Policy
from streams.settings import Settings
from streams.silences import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.sinks.index.port import Index
    from streams.views import View


log = structlog.get_logger(__name__)
INDEX_RETRY_S = 1.0
ANSWER_S = 10.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class RequestProducer(Producer):
    """The producer, writing the id and the trace of the request being served into the records' headers, and giving up
    before whoever asked does: what is under way then may still be stored."""

    async def send(self, records: Sequence[Outgoing]) -> None:
        if identity := request_id.get():
            records = [_marked(record, identity.encode()) for record in records]
        try:
            async with asyncio.timeout(ANSWER_S):
                await super().send(list(traced(records, traceparent.get())))
        except TimeoutError:
            raise Retryable("bus_away", f"kafka did not take it within {ANSWER_S:.0f} s") from None


def _marked(record: Outgoing, identity: bytes) -> Outgoing:
    topic = catalogue().get(record.topic)
    if topic is not None and not topic.headers:
        return record
    return record._replace(headers=[*(record.headers or []), (KAFKA_HEADER, identity)])


@dataclass(slots=True)
class ViewSet:
    """Complete copies of compacted topics in this process."""

    alerts: View[AlertState]
    silences: View[Silence]

    @property
    def named(self) -> dict[str, View[Any]]:
        return {"alerts.state": self.alerts, "silences": self.silences}

    @property
    def all(self) -> tuple[View[Any], ...]:
        return tuple(self.named.values())


@dataclass(slots=True)
class Services:
    settings: Settings
    producer: Producer
    index: Index
    views: ViewSet
    accounts: Accounts
    sessions: Sessions
    limits: Limits
    cluster: Cluster
    reader: Reader
    ledger: Ledger
    quotas: Quotas
    clock: Callable[[], int] = now_ms
    intake: Intake | None = None
    """Counts what this process took as a source."""
    new_id: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)
    tails: set[Tail] = field(default_factory=set)
    """Live streams that are open."""

    def sign_point(self, data: bytes) -> str:
        """The signature of a live stream's resume point."""
        return self.sessions.sign("resume", data)

    pages: int = 0
    """Live streams of console pages."""
    exports: int = 0
    """Exports that are under way."""
    ending: bool = False

    def took(self, source: str, records: Sequence[Outgoing]) -> None:
        """Kafka acknowledged these records, all of one topic, that came in by `source`."""
        if self.intake is not None and records:
            sizes = [len(record.value or b"") for record in records]
            self.intake.took(source, records[0].topic, len(sizes), sum(sizes))

    def end_streams(self) -> None:
        """Tell every live stream to end, so that a stop need not wait for them."""
        self.ending = True
        for tail in self.tails:
            tail.stop()

    async def cluster_quietly(self) -> None:
        """See the cluster anew when what is known of it is old; when it is away, what was seen last remains."""
        with contextlib.suppress(Retryable):
            await self.cluster.snapshot()


@contextlib.asynccontextmanager
async def running(settings: Settings, clock: Callable[[], int] = now_ms) -> AsyncIterator[Services]:
    """Start everything; nothing here waits for Kafka, so the gateway answers (503, not ready) while the bus is away."""
    from streams.sinks.index.port import open_index
    from streams.views import View

    async with AsyncExitStack() as stack:
        accounts = Accounts(settings, clock)
        await accounts.start()
        stack.push_async_callback(accounts.close)
        producer = RequestProducer(settings.kafka, "eventsphere-gateway")
        await producer.start()
        stack.push_async_callback(producer.close)
        index = open_index(settings, writer=False)
        stack.push_async_callback(index.close)
        views = ViewSet(
            alerts=View(settings.kafka, "alerts.state", _shown_state),
            silences=View(settings.kafka, "silences", Reading()),
        )
        starting = [asyncio.create_task(view.start(), name="view") for view in views.all]
        starting.append(asyncio.create_task(_open(index), name="index"))
        stack.push_async_callback(_settle, starting)
        for view in views.all:
            stack.push_async_callback(view.close)
        cluster = Cluster(settings.kafka)
        stack.callback(cluster.close)
        reader = Reader(settings.kafka)
        stack.push_async_callback(reader.close)
        usage = Usage(settings.kafka)
        starting.append(asyncio.create_task(usage.view.start(), name="usage"))
        starting.append(asyncio.create_task(usage.keep(producer, clock), name="usage-pruning"))
        stack.push_async_callback(usage.view.close)
        intake = of_process(clock)
        starting.append(asyncio.create_task(intake.keep(producer, settings.cluster.name), name="intake"))
        ledger = Ledger(index, reader, cluster, usage, Policy(settings.retention, settings.index.tiers))
        watching = self_watch.keep(ledger, index, Path(settings.data_dir or "."), clock)
        starting.append(asyncio.create_task(watching, name="self-watch"))
        quotas = Quotas(settings.quotas, settings.kafka, clock)
        if settings.quotas:
            starting.append(asyncio.create_task(quotas.view.start(), name="quotas"))
            starting.append(asyncio.create_task(quotas.keep(ledger, producer), name="quotas-kept"))
            stack.push_async_callback(quotas.view.close)
        sessions = Sessions(signing_key(settings), settings.gateway.token_hours)
        limits = Limits(settings.gateway.requests_per_s, settings.gateway.burst, time.monotonic)
        yield Services(
            settings,
            producer,
            index,
            views,
            accounts,
            sessions,
            limits,
            cluster,
            reader,
            ledger,
            quotas,
            clock,
            intake=intake,
        )


_decode_state = msgspec.json.Decoder(AlertState).decode


def _shown_state(value: bytes) -> Any:
    """None for our own canary's: as if it were not there."""
    state = _decode_state(value)
    return None if state.tenant == INTERNAL else state


async def _open(index: Index) -> None:
    """Open the index, however long it is away."""
    while True:
        try:
            return await index.open()
        except Retryable as error:
            log.info("index.away", reason=error.reason)
            await asyncio.sleep(INDEX_RETRY_S)


async def _settle(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
