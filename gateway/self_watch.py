"""The gateway looks at the platform itself now and then, whoever asks or not, and says what it saw as metrics."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import structlog

from gateway.ledger import Ledger
from streams.errors import Failure
from streams.metrics import BUS_UP, DISK_FREE, INDEX_UP, LEDGER_ADDS_UP
from streams.sinks.index.port import Index

log = structlog.get_logger(__name__)

LOOK_S = 30.0


async def keep(ledger: Ledger, index: Index, folder: Path, clock: Callable[[], int]) -> None:
    """Look, for ever."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await look(ledger, index, folder, clock())
        except Exception:  # whatever it was, the next look may tell more
            log.exception("self_watch.failed")


async def look(ledger: Ledger, index: Index, folder: Path, now_ms: int) -> None:
    """Set the metrics. The ledger's stand as they were while Kafka or the index is away."""
    with contextlib.suppress(OSError):  # without an embedded part nothing may be kept there
        usage = await asyncio.to_thread(shutil.disk_usage, folder)
        DISK_FREE.set(usage.free / usage.total)
    up = await _answers(index)
    INDEX_UP.set(up)
    try:
        await ledger.lines()
    except Failure:
        BUS_UP.set(0)
        return
    BUS_UP.set(1)
    if not up:
        return
    try:
        entries = await ledger.entries(now_ms)
    except Failure as error:
        log.info("self_watch.no_ledger", error=str(error))
        return
    for entry in entries:
        LEDGER_ADDS_UP.labels(entry.topic).set(entry.adds_up)
        if not entry.adds_up:
            log.warning("ledger.does_not_add_up", topic=entry.topic, problems=entry.problems)


async def _answers(index: Index) -> bool:
    try:
        await index.ping()
    except Failure:
        return False
    return True
