"""An index beside the one in use, and its parts put in the place of the others."""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from streams.errors import Fatal
from streams.settings import Settings
from streams.sinks.index.elasticsearch import ElasticsearchIndex
from streams.sinks.index.elasticsearch.storage import take_place
from streams.sinks.index.embedded import EmbeddedIndex
from streams.sinks.index.embedded.adapter import folder
from streams.sinks.index.embedded.folders import META, swap
from streams.sinks.index.port import Index, Kind, Stored

STAGE = "rebuild"


class Fate(StrEnum):
    NEW = "new"
    REPLACED = "replaced"
    KEPT = "kept"
    """The one in use holds more than what it would be replaced by."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    part: str
    documents: int
    before: int
    """Documents of the one in use; -1: it could not be read."""
    fate: Fate


class Staging(Protocol):
    """`index` is written to; `finish` decides about its parts and puts them in place. Opened first, closed last."""

    @property
    def index(self) -> Index: ...

    @property
    def used(self) -> Index: ...

    async def open(self) -> None: ...

    async def finish(self, kind: Kind, *, force: bool) -> list[Outcome]: ...

    async def close(self) -> None: ...


def staging(settings: Settings) -> Staging:
    return _Beside(settings) if settings.index.url else _Aside(settings)


def decided(new: Stored, before: int | None, *, force: bool) -> Outcome:
    """What becomes of a new part, the one in use holding `before` documents (None: there is none). Pure."""
    fate = Fate.NEW if before is None else Fate.REPLACED if force or new.documents >= before else Fate.KEPT
    known = 0 if before is None else before
    return Outcome(part=new.name, documents=new.documents, before=known, fate=fate)


class _Aside:
    """Embedded: folders of the data directory. Nothing else may write meanwhile: the writer's lock is held."""

    def __init__(self, settings: Settings) -> None:
        self._home = folder(settings)
        self._stage = self._home.with_name(f"{self._home.name}.{STAGE}")
        self.used: Index = EmbeddedIndex(settings, writer=True, lock_wait_s=0.0)
        self.index: Index = EmbeddedIndex(settings.model_copy(update={"data_dir": str(self._stage)}), writer=True)

    async def open(self) -> None:
        try:
            await self.used.open()
        except Fatal as error:
            raise Fatal(
                error.reason,
                f"{error.detail}. Stop the instance that runs there, rebuild, and start it again",
            ) from None
        shutil.rmtree(self._stage, ignore_errors=True)
        await self.index.open()

    async def finish(self, kind: Kind, *, force: bool) -> list[Outcome]:
        new = [part for part in await self.index.stored() if part.kind is kind]
        await self.index.close()  # commits, and lets go of the files
        unreadable = (self._home / kind.value / META).exists()
        if unreadable:
            (self._home / kind.value).rename(self._home / f"{kind.value}.old-version")
        used = {} if unreadable else {part.name: part.documents for part in await self.used.stored()}
        out = [decided(part, used.get(part.name), force=force) for part in new]
        for outcome in out:
            if outcome.fate is not Fate.KEPT:
                _move(self._stage / "index" / outcome.part, self._home / outcome.part)
        return out

    async def close(self) -> None:
        await self.index.close()
        shutil.rmtree(self._stage, ignore_errors=True)
        await self.used.close()


def _move(new: Path, path: Path) -> None:
    if path.exists():
        swap(path, new)
    else:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new.rename(path)


class _Beside:
    """Elasticsearch: indices of another prefix, cloned under the names of those in use. The pipeline goes on; what it
    writes between a deletion and its clone is written again from the topic (see rebuilding.py)."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.index.prefix
        self._stage = f"{settings.index.prefix}{STAGE}"
        self.used: Index = ElasticsearchIndex(settings.index)
        self._staged = ElasticsearchIndex(settings.index.model_copy(update={"prefix": self._stage}))
        self.index: Index = self._staged

    async def open(self) -> None:
        await self.used.open()
        await self._clear()
        await self.index.open()

    async def finish(self, kind: Kind, *, force: bool) -> list[Outcome]:
        await self._staged.refresh()
        new = [part for part in await self.index.stored() if part.kind is kind]
        used = {part.name: part.documents for part in await self.used.stored()}
        out = []
        for part in new:
            name = self._prefix + part.name.removeprefix(self._stage)
            outcome = decided(msgspec.structs.replace(part, name=name), used.get(name), force=force)
            if outcome.fate is not Fate.KEPT:
                await take_place(self._staged.client, part.name, name)
            out.append(outcome)
        return out

    async def close(self) -> None:
        await self._clear()
        await self._staged.close()
        await self.used.close()

    async def _clear(self) -> None:
        for part in await self._staged.stored():
            await self._staged.remove(part)
        await self._staged.drop_templates()
