"""What only the embedded index has: one writing process, readers elsewhere, commits that survive kill -9."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import tantivy

from streams.errors import Fatal, Retryable
from streams.settings import Index as IndexSettings
from streams.settings import Settings
from streams.sinks.index.embedded import EmbeddedIndex
from streams.sinks.index.embedded.commits import Commits
from streams.sinks.index.port import Kind, Query
from tests.index.conftest import batch, find, lines, log

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import asyncio, sys
sys.path.insert(0, {root!r})
from streams.settings import Settings
from streams.sinks.index.embedded import EmbeddedIndex
from streams.sinks.index.port import Kind
from tests.index.conftest import batch, log

async def main():
    index = EmbeddedIndex(Settings(data_dir={folder!r}), writer=True)
    await index.open()
    for start in range(0, 1_000_000, 500):
        await index.write(Kind.LOGS, batch(*(log(f"n{{n}}", n, key=b"k%d" % n) for n in range(start, start + 500))))
        print(start + 500, flush=True)

asyncio.run(main())
"""


def settings(folder: Path, interval_s: float = 0.05) -> Settings:
    return Settings(data_dir=str(folder), index=IndexSettings(commit_interval_s=interval_s))


async def test_one_process_writes_and_a_second_is_told_which(tmp_path: Path) -> None:
    first = EmbeddedIndex(settings(tmp_path), writer=True)
    await first.open()
    second = EmbeddedIndex(settings(tmp_path), writer=True, lock_wait_s=0.2)
    with pytest.raises(Fatal) as caught:
        await second.open()
    assert caught.value.reason == "index_locked"
    assert str(os.getpid()) in caught.value.detail
    await first.close()
    await second.open()
    await second.write(Kind.LOGS, batch(log("a")))
    await second.close()


async def test_a_reader_sees_commits_of_another_as_they_come(tmp_path: Path) -> None:
    reader = EmbeddedIndex(settings(tmp_path), writer=False)
    await reader.open()
    assert (await reader.search(Query(kind=Kind.LOGS))).total == 0
    writer = EmbeddedIndex(settings(tmp_path), writer=True)
    await writer.open()
    for n in range(3):
        await writer.write(Kind.LOGS, batch(log(f"n{n}", n)))
        assert (await reader.search(Query(kind=Kind.LOGS))).total == n + 1
    with pytest.raises(Fatal):
        await reader.write(Kind.LOGS, batch(log("x", 9)))
    await writer.close()
    assert lines(await reader.search(Query(kind=Kind.LOGS))) == ["n2", "n1", "n0"]
    await reader.close()


def killed_at(script: str, goal: int) -> int:
    """Run a writer until it has written `goal` records, kill -9; returns how many it said were written."""
    told = 0
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            told = int(line)
            if told >= goal:
                writer.send_signal(signal.SIGKILL)
                break
    return told


async def test_what_was_written_survives_kill_9_and_is_there_once(tmp_path: Path) -> None:
    script = textwrap.dedent(WRITER).format(root=str(ROOT), folder=str(tmp_path))
    written = max([await asyncio.to_thread(killed_at, script, goal) for goal in (1000, 2500, 4000)])
    index = EmbeddedIndex(settings(tmp_path), writer=True)
    await index.open()
    total = (await index.search(Query(kind=Kind.LOGS))).total
    assert written <= total <= written + 500
    await index.write(Kind.LOGS, batch(*(log(f"n{n}", n, key=b"k%d" % n) for n in range(written + 500))))
    assert (await index.search(Query(kind=Kind.LOGS))).total == written + 500
    await index.close()


async def test_a_folder_that_vanishes_is_retryable_and_then_made_again(tmp_path: Path) -> None:
    index = EmbeddedIndex(settings(tmp_path), writer=True)
    await index.open()
    await index.write(Kind.LOGS, batch(log("a", 0)))
    shutil.rmtree(tmp_path / "index" / "logs")
    with pytest.raises(Retryable):
        await index.write(Kind.LOGS, batch(log("b", 1)))
    await index.write(Kind.LOGS, batch(log("b", 1)))
    assert lines(await find(index, 1)) == ["b"]
    await index.close()


async def test_an_index_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "index" / "logs"
    path.mkdir(parents=True)
    tantivy.Index(tantivy.SchemaBuilder().add_text_field("other").build(), str(path))
    index = EmbeddedIndex(settings(tmp_path), writer=True)
    with pytest.raises(Fatal) as caught:
        await index.write(Kind.LOGS, batch(log("a")))
    assert caught.value.reason == "index_version"
    await index.close()


async def test_batches_waiting_together_share_a_commit() -> None:
    commits, now, pending = 0, 0.0, 1

    async def commit() -> None:
        nonlocal commits
        commits += 1

    group = Commits(commit, lambda: pending, 30.0, lambda: now)
    await group.done()
    assert commits == 1, "the first after a quiet interval does not wait"
    waiting = [asyncio.create_task(group.done()) for _ in range(5)]
    await asyncio.sleep(0.05)
    assert commits == 1
    pending = 1_000_000
    await group.done()
    await asyncio.gather(*waiting)
    assert commits == 2, "much that waits is not kept waiting"


async def test_a_failed_commit_is_every_waiting_batchs() -> None:
    async def commit() -> None:
        raise Retryable("index_commit", "disk full")

    group = Commits(commit, lambda: 1, 0.01, asyncio.get_running_loop().time)
    results = await asyncio.gather(*(group.done() for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [Retryable] * 3
