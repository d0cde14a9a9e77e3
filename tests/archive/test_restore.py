"""Archived records back in the index: each once, under the id it had; and the commands for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from streams.archive.archiver import Archiver
from streams.archive.reading import Wanted
from streams.archive.restoring import restore
from streams.archive.store import FolderStore
from streams.settings import Index as IndexSettings
from streams.settings import Settings
from streams.sinks.index.embedded import EmbeddedIndex
from streams.sinks.index.port import Index, Kind, open_index
from tests.index.conftest import NOON, batch, find, log, raw, until

RECORDS = [log(f"line {n}", n, key=b"k%d" % n if n % 2 else None, time_ms=NOON + n * 1000) for n in range(40)]


@pytest.fixture(params=["tantivy", "elasticsearch"])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Index]:
    own = IndexSettings(commit_interval_s=0.05)
    if request.param == "elasticsearch":
        own = IndexSettings(url=request.getfixturevalue("elasticsearch"), prefix=f"t{uuid4().hex[:10]}")
    out = open_index(Settings(data_dir=str(tmp_path), index=own), writer=True)
    await out.open()
    yield out
    await out.close()


async def test_nothing_doubles_and_ids_are_the_same(index: Index, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "archive")
    await index.write(Kind.LOGS, batch(*RECORDS[:25]))
    before = {hit.id for hit in (await find(index, 25)).items}
    await Archiver(store).write(batch(*RECORDS, raw(b"no json", 40)))
    told: list[int] = []
    assert await restore(store, index, Wanted(), told.append) == (40, {})
    assert sum(told) == 41
    after = await find(index, 40)
    assert after.total == 40
    assert before < {hit.id for hit in after.items}
    assert await restore(store, index, Wanted(since_ms=NOON + 30_000), told.append) == (10, {})
    assert (await until(lambda: index.counts(Kind.LOGS), lambda found: found[()] == 40)) == {(): 40}


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> Result:
    monkeypatch.setenv("EVENTSPHERE_ARCHIVE__URL", (folder / "archive").as_uri())
    return CliRunner().invoke(app, [*arguments])


def test_the_commands_list_verify_and_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(Archiver(FolderStore(tmp_path / "archive")).write(batch(*RECORDS)))
    listed = run(monkeypatch, tmp_path, "archive", "list", "--namespace", "shop")
    assert "1 objects, 40 records" in listed.output
    assert "0 objects" in run(monkeypatch, tmp_path, "archive", "list", "--namespace", "other").output
    assert run(monkeypatch, tmp_path, "archive", "verify").exit_code == 0
    restored = run(
        monkeypatch, tmp_path, "archive", "restore", "--since", str(NOON + 20_000), "--until", str(NOON + 30_000),
        "--data-dir", str(tmp_path / "data"),
    )  # fmt: skip
    assert "restored 10 records" in restored.output
    size = run(monkeypatch, tmp_path, "index", "size", "--data-dir", str(tmp_path / "data"))
    assert "logs/2026.11.25" in size.output
    assert " 10 " in size.output
    (victim,) = (tmp_path / "archive").rglob("*.zst")
    victim.write_bytes(victim.read_bytes()[:-1])
    damaged = run(monkeypatch, tmp_path, "archive", "verify")
    assert damaged.exit_code == 1
    assert "sha256" in damaged.output


def test_restoring_under_a_worker_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(Archiver(FolderStore(tmp_path / "archive")).write(batch(*RECORDS)))
    worker = EmbeddedIndex(Settings(data_dir=str(tmp_path / "data")), writer=True)
    asyncio.run(worker.open())
    defaults = EmbeddedIndex.__init__.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "lock_wait_s", 0.2)
    done = run(monkeypatch, tmp_path, "archive", "restore", "--since", "-1d", "--data-dir", str(tmp_path / "data"))
    assert done.exit_code == 1
    assert "stop the instance" in done.output
    asyncio.run(worker.close())


def test_without_an_archive_it_is_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["archive", "list"])
    assert done.exit_code == 1
    assert "EVENTSPHERE_ARCHIVE__URL" in done.output
