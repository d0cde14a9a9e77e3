"""A day most of which was deleted is written anew: the rest is as it was, and the disk of the others is free."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streams.errors import Retryable
from streams.settings import Index as IndexSettings
from streams.settings import Settings
from streams.sinks.index.embedded import EmbeddedIndex
from streams.sinks.index.language import Is
from streams.sinks.index.port import Kind, Query
from tests.index.conftest import NOON, batch, log

COUNT = 3_000


async def test_a_day_shrinks_and_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = EmbeddedIndex(Settings(data_dir=str(tmp_path), index=IndexSettings(commit_interval_s=0.01)), writer=True)
    await index.open()
    names = ["brief"] * 9 + ["shop"]
    about = [{"namespace_name": names[n % 10], "pod_name": f"p-{n}"} for n in range(COUNT)]
    records = [log(f"line {n}", n, key=b"%d" % n, kubernetes=about[n], time_ms=NOON + n // 2000) for n in range(COUNT)]
    await index.write(Kind.LOGS, batch(*records))
    (before,) = await index.stored()
    seen = await index.search(Query(kind=Kind.LOGS, namespace=("shop",), limit=1000))
    deleted = asyncio.create_task(index.remove_part(before, Is("namespace", ("brief",))))
    while not index._writers[Kind.LOGS]._writer.closed_days:  # noqa: ASYNC110 - it is a thread's
        await asyncio.sleep(0.01)
    with pytest.raises(Retryable) as caught:
        await index.write(Kind.LOGS, batch(log("meanwhile", COUNT, key=b"m")))
    assert caught.value.reason == "index_rewriting"
    assert await deleted == COUNT * 9 // 10
    (after,) = await index.stored()
    assert after.documents == COUNT // 10
    assert after.nbytes < before.nbytes / 2
    assert await index.search(Query(kind=Kind.LOGS, namespace=("shop",), limit=1000)) == seen
    await index.write(Kind.LOGS, batch(log("meanwhile", COUNT, key=b"m"), records[9]))
    assert (await index.search(Query(kind=Kind.LOGS))).total == COUNT // 10 + 1
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(Retryable):
        await index.remove_part(after, Is("pod", tuple(f"p-{n}" for n in range(2000))))
    await index.write(Kind.LOGS, batch(log("it goes on", COUNT + 1, key=b"o")))
    await index.close()
    assert [path.name for path in (tmp_path / "index" / "logs").iterdir()] == ["2026.11.25"]
