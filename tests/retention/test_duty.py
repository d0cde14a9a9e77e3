"""The duty beside the indexing agents: the limit of size is told before it takes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.platform import Gap
from streams.errors import Retryable
from streams.record import Outgoing
from streams.retention.duty import keep, limit_bytes, size_gap
from streams.settings import Index as IndexSettings
from streams.settings import Retention, Settings
from streams.sinks.index.embedded.store import BLOCK_BYTES
from streams.sinks.index.port import Index, Kind, open_index
from tests.index.conftest import NOON, batch, log, until
from tests.retention.conftest import DAY_MS


class Worker:
    """What the duty asks of a worker; `sent` while the bus is there."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tasks: dict[str, Callable[[], Awaitable[None]]] = {}
        self.producer = self
        self.sent: list[Outgoing] = []
        self.away = 0
        self._index = open_index(settings, writer=True)

    def index(self) -> Index:
        return self._index

    def clock(self) -> int:
        return NOON

    def task(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        self.tasks[name] = function

    async def send(self, records: Sequence[Outgoing]) -> None:
        if self.away:
            self.away -= 1
            raise Retryable("bus_away")
        self.sent += records


async def test_the_oldest_day_goes_when_the_limit_is_passed_and_gaps_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = IndexSettings(commit_interval_s=0.01, max_gib=1)
    worker: Any = Worker(Settings(data_dir=str(tmp_path), index=own, retention=Retention(every_s=0.05)))
    index = worker.index()
    await index.open()
    for day in range(3):
        records = [log(f"{day} {n}", n, key=b"%d" % (day * 100 + n), time_ms=NOON - day * DAY_MS) for n in range(50)]
        await index.write(Kind.LOGS, batch(*records))
    parts = await index.stored()
    monkeypatch.setattr("streams.retention.duty.limit_bytes", lambda _: sum(part.nbytes for part in parts[1:]))
    worker.away = 2
    keep(worker)
    keep(worker)
    duty = asyncio.create_task(worker.tasks["retention"]())
    await until(index.stored, lambda found: [part.name for part in found] == [part.name for part in parts[1:]])
    await asyncio.sleep(0.2)
    duty.cancel()
    assert len(await index.stored()) == 2
    (gap,) = [msgspec.json.decode(each.value, type=Gap) for each in worker.sent]
    assert (gap.topic, gap.from_ms, gap.to_ms) == ("logs", parts[0].from_ms, parts[0].to_ms)
    assert "50 documents" in gap.reason
    assert gap == size_gap(parts[0], "", NOON), "told again it is the same gap"
    meta = msgspec.json.decode((tmp_path / "index" / parts[1].name / "meta.json").read_bytes())
    assert meta["index_settings"]["docstore_blocksize"] == BLOCK_BYTES
    await index.close()


def test_the_limit_is_a_setting_or_a_part_of_the_disk(tmp_path: Path) -> None:
    assert limit_bytes(Settings(data_dir=str(tmp_path), index=IndexSettings(max_gib=2))) == 2 << 30
    assert limit_bytes(Settings(data_dir=str(tmp_path / "not" / "there"))) > 1 << 30
    assert limit_bytes(Settings(index=IndexSettings(url="http://x:9200", max_gib=2))) == 0
