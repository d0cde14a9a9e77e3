"""Both adapters, each test with an index of its own; what both must do alike is in test_contract.py. Elasticsearch 8
stands for itself in the long tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from streams.batch import Batch, batch_of
from streams.errors import Retryable
from streams.record import Record
from streams.settings import Index as IndexSettings
from streams.settings import Settings
from streams.sinks.index.port import Hit, Index, Kind, Page, Query, open_index

PATIENCE_S = 60.0
NOON = 1_795_608_000_000
"""2026-11-25T12:00:00Z."""
TOPIC_ID = "lNJY9cRdQfuzLpO7QJmzkA"


@pytest.fixture(params=["tantivy", "elasticsearch", pytest.param("elasticsearch8", marks=pytest.mark.long)])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Index]:
    own = IndexSettings(commit_interval_s=0.05)
    if request.param != "tantivy":
        own = IndexSettings(url=request.getfixturevalue(request.param), prefix=f"t{uuid4().hex[:10]}")
    adapter = open_index(Settings(data_dir=str(tmp_path), index=own), writer=True)
    await adapter.open()
    yield adapter
    await adapter.close()


def log(line: Any, n: int = 0, *, key: bytes | None = None, time_ms: int = NOON, **more: Any) -> Record:
    """A record of topic `logs` as Fluent Bit writes it."""
    pod = {"namespace_name": "shop", "pod_name": "pay-7d9c-x2k4p", "container_name": "pay", "labels": {"app": "pay"}}
    value = {"log": line, "cluster": "prod", "kubernetes": pod} | more
    return raw(msgspec.json.encode(value), n, key=key, time_ms=time_ms)


def raw(
    value: bytes | None, n: int = 0, *, key: bytes | None = None, time_ms: int = NOON, partition: int = 0
) -> Record:
    return Record("logs", partition, n, key, value, time_ms)


def batch(*records: Record) -> Batch:
    return batch_of(records, topic_id=TOPIC_ID)


async def find(index: Index, count: int, **query: Any) -> Page:
    """The page of a query once `count` documents match (Elasticsearch shows them within a second)."""
    wanted = Query(**{"kind": Kind.LOGS} | query)
    found: Page = await until(lambda: index.search(wanted), lambda page: page.total >= count)
    return found


async def until(ask: Callable[[], Awaitable[Any]], good: Callable[[Any], bool]) -> Any:
    """The first good answer. An index that is just being made may say that it cannot answer yet."""
    deadline = time.monotonic() + PATIENCE_S
    answer: Any = None
    while time.monotonic() < deadline:
        with suppress(Retryable):
            if good(answer := await ask()):
                return answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {answer!r}")


def lines(page: Page) -> list[Any]:
    return [line(hit) for hit in page.items]


def line(hit: Hit) -> Any:
    return hit.record.get("log")
