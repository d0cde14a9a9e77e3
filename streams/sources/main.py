"""The process of the sources: the forward server and the Kubernetes watches. `python -m streams.sources.main`."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from contextlib import AsyncExitStack

import structlog
import uvloop

from streams import logs
from streams.bulk import BulkProducer
from streams.disk import DiskWatch
from streams.errors import Fatal
from streams.intake import of_process
from streams.probes import Probes
from streams.process.held import Documents
from streams.producer import Producer
from streams.settings import CONFIG, Settings, WrongSettings, load
from streams.sources import forward
from streams.sources.durable import BulkDurable
from streams.sources.kube import KubeSource

log = structlog.get_logger(__name__)

GC_OBJECTS = 50_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Until `stop` is set. Raises WrongSettings or Fatal when a source cannot start as it is set."""
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
        disk = DiskWatch(settings.data_dir, settings.full_disk_percent)
        server = forward.ForwardServer(
            settings.forward, durable, lambda: kube.local_name, now_ms, documents=documents, disk=disk
        )
        probes = Probes(
            settings.worker.metrics_host,
            settings.worker.metrics_port,
            lambda: [] if server.listening else ["forward"],
            lambda: kube.problems.current | ({"disk": why} if (why := disk.full()) else {}),
        )
        await probes.start()
        stack.push_async_callback(probes.close)
        stack.push_async_callback(_close, server, kube)
        await kube.start()
        await server.start()
        sys.stdout.write(f"sources ready: forward {server.address}\n")
        sys.stdout.flush()
        await stop.wait()
        log.info("sources stop")


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _close(server: forward.ForwardServer, kube: KubeSource) -> None:
    """Side by side: with Kafka away each takes all the time it may, and all of it has to end within 8 s."""
    await asyncio.gather(server.close(), kube.close())


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop)


def main() -> int:
    """The exit code: 2 for settings it cannot start with, 1 when it cannot go on."""
    try:
        settings = load(os.environ.get(CONFIG))
        logs.configure(settings, "sources")
        # Records live for a moment and hold no cycles: looking for them at every 700th object costs a tenth of all CPU.
        gc.freeze()
        gc.set_threshold(GC_OBJECTS)
        uvloop.run(_main(settings))
    except WrongSettings as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except Fatal as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
