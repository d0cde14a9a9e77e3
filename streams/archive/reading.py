"""Reads the archive: what there is, whether it is whole, and its records back."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import msgspec

from streams.archive.format import Manifest, Name, decode_manifest, lines, read_name, record
from streams.archive.store import Store
from streams.batch import Batch, batch_of
from streams.errors import Invalid
from streams.record import Record
from streams.sinks.index import fields
from streams.sinks.index.port import Kind

AT_ONCE = 2_000
"""Records of one batch given back."""


class Wanted(NamedTuple):
    """[since_ms, until_ms) (0: no bound), and one namespace (empty: all)."""

    since_ms: int = 0
    until_ms: int = 0
    namespace: str = ""

    def may_be_in(self, manifest: Manifest) -> bool:
        in_time = manifest.to_ms >= self.since_ms and not 0 < self.until_ms <= manifest.from_ms
        return in_time and (not self.namespace or any(each.namespace == self.namespace for each in manifest.places))

    def covers(self, found: Record) -> bool:
        if found.timestamp_ms < self.since_ms or 0 < self.until_ms <= found.timestamp_ms:
            return False
        return not self.namespace or self.namespace in _namespaces(found.value or b"")


def _namespaces(value: bytes) -> tuple[str, ...]:
    try:
        return fields.draw(Kind.LOGS, fields.decode(value)).namespace
    except ValueError:
        return ()


def current(names: Iterable[Name]) -> list[Name]:
    """Without those whose records are all in a longer object of the same span. Pure."""
    out = []
    ordered = sorted(set(names), key=lambda name: (name.folder, name.span, name.first, -name.last))
    for _, group in groupby(ordered, key=lambda name: (name.folder, name.span)):
        end = -1
        for name in group:
            if name.last > end:
                out.append(name)
                end = name.last
    return out


async def names(store: Store, topic: str = "") -> list[Name]:
    """The objects there are, in order, each record once but for what an interrupted writer left."""
    found = [name async for text in store.names(f"{topic}/" if topic else "") if (name := read_name(text))]
    return current(found)


async def manifest_of(store: Store, name: Name) -> Manifest | None:
    """None when there is none that can be read: `verify` says so."""
    content = await store.get(name.manifest)
    try:
        return decode_manifest(content) if content is not None else None
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


async def manifests(store: Store, wanted: Wanted) -> AsyncIterator[tuple[Name, Manifest | None]]:
    """Objects that may hold what is wanted; one without a manifest may hold anything."""
    for name in await names(store):
        told = await manifest_of(store, name)
        if told is None or wanted.may_be_in(told):
            yield name, told


async def verify(store: Store, name: Name) -> str:
    """What is wrong with an object, empty when it holds exactly what its manifest says."""
    told, content = await manifest_of(store, name), await store.get(str(name))
    if content is None:
        return "it is gone"
    if told is None:
        return "it has no manifest"
    if hashlib.sha256(content).hexdigest() != told.sha256:
        return "its sha256 is not the manifest's"
    try:
        offsets = [record(text, name).offset for text in lines(content, name)]
    except Invalid as error:
        return error.detail
    if len(offsets) != told.records:
        return f"{len(offsets)} records, the manifest says {told.records}"
    if offsets != sorted(set(offsets)) or (offsets and not name.first <= offsets[0] <= offsets[-1] <= name.last):
        return "its offsets are not those of its name"
    return ""


async def batches(store: Store, name: Name, wanted: Wanted) -> AsyncIterator[Batch]:
    """The wanted records of an object as they were in their topic. Raises Invalid("archive") for a damaged one."""
    content = await store.get(str(name))
    if content is None:
        raise Invalid("archive", f"{name} is gone")
    for records in _chunks(found for text in lines(content, name) if wanted.covers(found := record(text, name))):
        yield batch_of(records, topic_id=name.topic_id)


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    out: list[Record] = []
    for each in records:
        out.append(each)
        if len(out) == AT_ONCE:
            yield out
            out = []
    if out:
        yield out
