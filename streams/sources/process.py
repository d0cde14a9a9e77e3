"""One process of the sources: the forward server, and in the first of them the Kubernetes watches."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from typing import NamedTuple

import msgspec
import structlog

from schemas.accounts import QuotaExceeded
from streams.bulk import BulkProducer
from streams.disk import DiskWatch
from streams.intake import of_process
from streams.probes import Probes
from streams.process.held import Documents
from streams.producer import Producer
from streams.quotas import TOPIC as QUOTAS
from streams.quotas import Limits
from streams.settings import Settings
from streams.sources import forward, told
from streams.sources.durable import BulkDurable
from streams.sources.kube import LOCAL, KubeSource
from streams.views import View

log = structlog.get_logger(__name__)


class Member(NamedTuple):
    """Which of several it is (from 1), and the pipe it tells how it is through."""

    number: int
    pipe: int


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def run(settings: Settings, stop: asyncio.Event, member: Member | None = None) -> None:
    """Until `stop` is set. Raises WrongSettings or Fatal when a source cannot start as it is set."""
    if member is not None and member.number > 1:
        settings = settings.model_copy(update={"kubeconfigs": []})
    async with AsyncExitStack() as stack:
        producer = Producer(settings.kafka, "eventsphere.sources")
        await producer.start()
        stack.push_async_callback(producer.close)
        bulk = BulkProducer(settings.kafka, "eventsphere.sources")
        stack.push_async_callback(bulk.close)
        kube = KubeSource(settings, producer, now_ms)
        durable = BulkDurable(forward.SOURCE, producer, bulk)
        durable.intake = kube.durable.intake = intake = of_process(now_ms)
        telling = asyncio.create_task(intake.keep(producer, settings.cluster.name), name="intake")
        stack.push_async_callback(_cancelled, telling)
        documents = Documents(settings.process.dir)
        documents.refresh()
        looking = asyncio.create_task(documents.keep(), name="process-documents")
        stack.push_async_callback(_cancelled, looking)
        limits = _limits(settings, stack)
        disk = DiskWatch(settings.data_dir, settings.full_disk_percent)

        def cluster() -> str:
            """Several processes have to mean the same one: what only the first may learn later is no name."""
            return kube.local_name if member is None else settings.cluster.name or LOCAL

        server = forward.ForwardServer(
            settings.forward, durable, cluster, now_ms, documents=documents, disk=disk, limits=limits
        )

        def waiting() -> list[str]:
            return [] if server.listening else ["forward"]

        def problems() -> dict[str, str]:
            return kube.problems.current | ({"disk": why} if (why := disk.full()) else {})

        probes = Probes(settings.worker.metrics_host, settings.worker.metrics_port, waiting, problems)
        await probes.start()
        stack.push_async_callback(probes.close)
        stack.push_async_callback(_close, server, kube)
        await kube.start()
        await server.start()
        if member is None:
            sys.stdout.write(f"sources ready: forward {server.address}\n")
            sys.stdout.flush()
        else:
            saying = told.tell(member.pipe, lambda: told.Told(waiting(), problems(), told.own_metrics()))
            stack.push_async_callback(_cancelled, asyncio.create_task(saying, name="tell"))
        await stop.wait()
        log.info("sources stop")


def _limits(settings: Settings, stack: AsyncExitStack) -> Limits:
    """Whose records are refused, followed where there is a hard quota. While Kafka is away it is nobody's."""
    hard = [quota for quota in settings.quotas if quota.hard]
    view: View[QuotaExceeded] = View(settings.kafka, QUOTAS, msgspec.json.Decoder(QuotaExceeded).decode)
    if hard:
        starting = asyncio.create_task(view.start(), name="quotas")
        stack.push_async_callback(_cancelled, starting)
        stack.push_async_callback(view.close)
    return Limits(hard, view.values, now_ms)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _close(server: forward.ForwardServer, kube: KubeSource) -> None:
    """Side by side: with Kafka away each takes all the time it may, and all of it has to end within 8 s."""
    await asyncio.gather(server.close(), kube.close())
