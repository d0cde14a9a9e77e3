"""A worker of its own process: reads a topic and appends what it handled to a file, before it finishes the batch.

Arguments: JSON of `Plan`. What `write` gave to the kernel survives `kill -9`, so the file says what was processed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from random import Random
from typing import Any

import msgspec
import uvloop
from pydantic import SecretStr

from streams.app import faust_app
from streams.batch import Batch
from streams.delivery import deliver
from streams.producer import Producer
from streams.settings import Kafka
from streams.source import BatchSource
from streams.watchdog import Watchdog
from tests.batch_source.harness import clock_ms, settings_for


class Plan(msgspec.Struct):
    bootstrap: str
    username: str
    password: str
    topic: str
    group: str
    control: str
    faust_group: str
    name: str
    output: str
    max_batch_records: int
    pause_s: float
    """How long each batch takes."""
    watchdog_s: float


def end_with_parent() -> None:
    """The parent holds the other end of our stdin: it closes when the parent ends, in whatever way."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


async def main(plan: Plan) -> None:
    kafka = Kafka(
        bootstrap_servers=plan.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        username=plan.username,
        password=SecretStr(plan.password),
    )
    settings = settings_for(kafka, name=plan.name, max_batch_records=plan.max_batch_records, watchdog_s=plan.watchdog_s)
    app = faust_app(kafka, plan.faust_group)
    producer = Producer(kafka, plan.group)
    source = BatchSource(app, settings, producer, plan.group, [plan.topic], clock=clock_ms)
    watchdog = Watchdog(settings.worker.watchdog_s)
    watchdog.watch(source)
    output = os.open(plan.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def handle(batch: Batch) -> None:
        await asyncio.sleep(plan.pause_s)
        os.write(output, b"".join(b"%b\n" % (record.value or b"") for record in batch.records()))

    @app.agent(source.channel, name="chaos")
    async def chaos(batches: Any) -> None:
        async for batch in batches:
            await deliver(
                source,
                batch,
                handle,
                settings=settings,
                producer=producer,
                watchdog=watchdog,
                sleep=asyncio.sleep,
                rng=Random(),
            )

    @app.agent(app.topic(plan.control, key_type=bytes, value_type=bytes), name="control")
    async def control(values: Any) -> None:
        async for _ in values:
            pass

    await producer.start()
    await app.start()
    await app.add_runtime_dependency(source)
    watchdog.start()
    await app.wait()


if __name__ == "__main__":
    end_with_parent()
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
