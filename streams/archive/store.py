"""Where objects are kept: the port, and a folder as one. An object appears whole or not at all, replacing another."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from streams.errors import Fatal, Retryable
from streams.settings import Archive

T = TypeVar("T")


class Store(Protocol):
    """Names are relative, with `/` between their parts. Raises Retryable when the store cannot be used now."""

    async def put(self, name: str, content: bytes) -> None:
        """Return when it is durable."""

    async def get(self, name: str) -> bytes | None:
        """None when there is none."""

    async def delete(self, name: str) -> None:
        """That there is none is no error."""

    def names(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        """Names that begin with `prefix`, in order of their bytes, those beyond `after`."""

    async def close(self) -> None: ...


def open_store(settings: Archive) -> Store:
    """The store `archive.url` names. Raises Fatal for a URL that is none."""
    parts = urlsplit(settings.url)
    if parts.scheme == "file" and parts.path and not parts.netloc:
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from streams.archive.s3 import S3Store

        return S3Store(settings, bucket=parts.netloc, prefix=parts.path.strip("/"))
    raise Fatal("archive_settings", f"archive.url: {settings.url!r} is neither file:///folder nor s3://bucket/prefix")


class FolderStore:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: str, content: bytes) -> None:
        await self._run(self._put, name, content)

    async def get(self, name: str) -> bytes | None:
        return await self._run(self._get, name)

    async def delete(self, name: str) -> None:
        await self._run(lambda: (self._folder / name).unlink(missing_ok=True))

    async def names(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        for name in await self._run(self._names, prefix):
            if name > after:
                yield name

    async def close(self) -> None:
        return

    def _put(self, name: str, content: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync(path.parent)

    def _get(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def _names(self, prefix: str) -> list[str]:
        start = self._folder / prefix.rpartition("/")[0]
        found = (path.relative_to(self._folder).as_posix() for path in start.rglob("*") if path.is_file())
        return sorted(name for name in found if name.startswith(prefix) and "/." not in f"/{name}")

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            raise Retryable("archive_away", f"{self._folder}: {error.strerror}") from None


def _sync(folder: Path) -> None:
    """Make the new name durable too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
