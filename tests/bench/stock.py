"""The comparison: a stock Faust agent that does the same for each record, as Faust's guide shows agents.

`python -m tests.bench.stock` with the worker's settings. Same ids, same bulk bodies, 1 000 records a request; offsets
are acked by Faust as it goes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import faust

from streams.app import credentials
from streams.settings import load
from tests.bench.records import TOPIC

A_REQUEST = 1000


def app() -> faust.App:
    settings = load()
    made = faust.App(
        os.environ.get("BENCH_GROUP", "eventsphere.bench.stock"),
        datadir=tempfile.gettempdir(),
        broker=f"kafka://{settings.kafka.bootstrap_servers}",
        broker_credentials=credentials(settings.kafka),
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        store="memory://",
    )
    topic = made.topic(TOPIC, key_serializer="raw", value_serializer="raw", key_type=bytes, value_type=bytes)

    @made.agent(topic)  # type: ignore[untyped-decorator, unused-ignore]
    async def index(stream: Any) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as session:
            lines: list[bytes] = []
            async for event in stream.events():
                lines.append(line(event))
                if len(lines) == A_REQUEST:
                    await post(session, f"{settings.index.url}/bench/_bulk", b"".join(lines))
                    lines.clear()
                yield

    return made


def line(event: Any) -> bytes:
    """Action and document of one record, where it stands spliced in."""
    message = event.message
    where = b',"_where":{"topic":"%s","partition":%d,"offset":%d,"time":%d}}\n' % (
        message.topic.encode(),
        message.partition,
        message.offset,
        int(message.timestamp * 1000),
    )
    return b'{"create":{"_id":"%s"}}\n%s%s' % (event.key, event.value[:-1], where)


async def post(session: aiohttp.ClientSession, url: str, body: bytes) -> None:
    headers = {"content-type": "application/x-ndjson"}
    async with session.post(url, data=body, headers=headers) as answer:
        answer.raise_for_status()
        await answer.read()


if __name__ == "__main__":
    faust.Worker(app(), loglevel="WARNING").execute_from_commandline()
