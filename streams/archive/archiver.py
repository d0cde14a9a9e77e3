"""Puts batches into the archive: one object a span of offsets, growing until the span is over.

A batch is durable when `write` returns, so that its offset may be committed. What is under way of a span is kept in
memory (compressed); a worker that takes a partition over reads it back from the store and goes on behind it. A worker
that lost its partition and does not know yet can only write an object that says less, under its own, shorter name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import structlog

from streams.archive.format import (
    EMPTY,
    SPAN,
    Manifest,
    Name,
    Part,
    again,
    encode_manifest,
    joined,
    manifest,
    part,
    read_name,
)
from streams.archive.store import Store
from streams.batch import Batch
from streams.errors import Invalid
from streams.metrics import ARCHIVED, ARCHIVED_BYTES

log = structlog.get_logger(__name__)

Left = Callable[[Batch], Batch | None]
"""What of a batch is to be kept."""
TP = tuple[str, int]


class _Open:
    """The object of the span a partition is in."""

    def __init__(self, name: Name, whole: Part) -> None:
        self.name = name
        self.whole = whole


class Archiver:
    """One batch at a time. `left` may drop or change records (as those of the index are); the names stay."""

    def __init__(self, store: Store, left: Left = lambda batch: batch) -> None:
        self._store = store
        self._left = left
        self._open: dict[TP, _Open] = {}

    async def write(self, batch: Batch) -> None:
        """Return when every record of the batch is in the archive. Raises Retryable, Invalid."""
        for piece in by_span(batch):
            await self._add(piece)

    def forget(self, topic: str, partition: int) -> None:
        """The partition went elsewhere: what is known of it may be old when it comes back."""
        self._open.pop((topic, partition), None)

    async def _add(self, piece: Batch) -> None:
        at = (piece.topic, piece.partition)
        last = piece.end_offset - 1
        known = self._open.get(at)
        if known is None or not self._continues(known.name, piece):
            known = await self._found(piece) or _Open(_name(piece, piece.first_offset - 1), EMPTY)
        if last <= known.name.last:
            self._open[at] = known
            return  # it is in there already
        skip = sum(1 for message in piece.messages if message.offset() <= known.name.last)
        new = piece.part(skip, len(piece)) if skip else piece
        added = await asyncio.to_thread(self._made, new)
        grown = _Open(known.name._replace(last=last), joined(known.whole, added))
        await self._put(grown)
        await self._tidy(known.name, grown.name)
        if (last + 1) % SPAN:
            self._open[at] = grown
        else:
            self._open.pop(at, None)
        ARCHIVED.labels(piece.topic).inc(added.records)
        ARCHIVED_BYTES.labels(piece.topic).inc(len(added.frame))

    def _made(self, new: Batch) -> Part:
        kept = self._left(new)
        return part(kept.messages if kept is not None else ())

    def _continues(self, name: Name, piece: Batch) -> bool:
        return (
            name.topic_id == piece.topic_id
            and name.span == piece.first_offset // SPAN
            and name.first <= piece.first_offset <= name.last + 1
        )

    async def _found(self, piece: Batch) -> _Open | None:
        """The object in the store that `piece` continues, the longest of them."""
        folder = _name(piece, piece.first_offset).folder
        start = f"{folder}{piece.first_offset // SPAN * SPAN:020d}"
        found: list[Name] = []
        async for text in self._store.names(folder, start):
            name = read_name(text)
            if name is None:
                continue
            if name.first > piece.first_offset:
                break
            if self._continues(name, piece):
                found.append(name)
        for name in sorted(found, key=lambda each: (each.last, -each.first), reverse=True):
            content = await self._store.get(str(name))
            if content is None:
                continue
            try:
                known = _Open(name, await asyncio.to_thread(again, content, name))
            except Invalid as error:
                log.error("archive.damaged", name=str(name), error=error.detail)
                continue
            await self._finish(known, found)
            return known
        return None

    async def _finish(self, known: _Open, others: list[Name]) -> None:
        """What an interrupted writer may have left undone after its object was there."""
        if await self._store.get(known.name.manifest) is None:
            await self._store.put(known.name.manifest, encode_manifest(manifest(known.name, known.whole)))
        for name in others:
            if known.name.first <= name.first and name.last < known.name.last:
                await self._tidy(name, known.name)

    async def _put(self, grown: _Open) -> None:
        await self._store.put(str(grown.name), grown.whole.frame)
        told: Manifest = manifest(grown.name, grown.whole)
        await self._store.put(grown.name.manifest, encode_manifest(told))

    async def _tidy(self, shorter: Name, longer: Name) -> None:
        """All of the shorter object is in the longer one, which is durable by now."""
        if shorter.last >= shorter.first and shorter != longer:
            await self._store.delete(shorter.manifest)
            await self._store.delete(str(shorter))


def by_span(batch: Batch) -> Iterator[Batch]:
    """The batch cut where spans begin. Pure."""
    start = 0
    for position in range(1, len(batch) + 1):
        at_end = position == len(batch)
        if at_end or batch.messages[position].offset() // SPAN != batch.messages[start].offset() // SPAN:
            yield batch.part(start, position)
            start = position


def _name(piece: Batch, last: int) -> Name:
    return Name(piece.topic, piece.topic_id, piece.partition, piece.first_offset, last)
