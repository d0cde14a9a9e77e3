"""What frames of the forward protocol become: their records into Kafka, what cannot be any into the dead letters.

Memory is bounded on the way: compressed chunks are unpacked, and records made of entries, only when budgets allow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import chain

from schemas.catalogue import declared
from streams.disk import DiskWatch
from streams.errors import Invalid
from streams.logs import TAG
from streams.memory import give_back
from streams.metrics import OWN_ERRORS, RECEIVED
from streams.process import joining
from streams.process.held import Documents
from streams.process.joining import Joiner
from streams.quotas import Limits
from streams.record import Bulk
from streams.settings import Forward
from streams.sources import forward_auth as auth
from streams.sources.budget import Budget, ReadGate
from streams.sources.durable import BulkDurable, Letter
from streams.sources.forward_codec import Chunk, Refused, decompress
from streams.sources.forward_entries import TOPIC, WINDOW_BYTES, WINDOW_RECORDS, Bad, Context, Window, windows
from streams.sources.forward_render import Renderer

IN_FLIGHT_BYTES = 16 << 20
"""Of one connection: received and not yet in Kafka; beyond it, or a quarter of all, nothing more is read from it."""
LETTERS = 100
"""Bad entries of one batch that get a dead letter each."""
THREAD_BYTES = 64 << 10
"""Compressed chunks from this size on are unpacked beside the event loop."""
UNPACKED_RATIO = 16
"""How much larger a chunk is taken to be than it came, until it turns out to be even larger."""
UNPACKED_LEAST = 256 << 10


class OverQuota(Exception):
    """All records of a chunk are beyond a hard quota, and its sender asked for an ack: it gets none."""


class Shared:
    """What the connections of a server have in common."""

    def __init__(
        self,
        settings: Forward,
        durable: BulkDurable,
        cluster: Callable[[], str],
        clock: Callable[[], int],
        documents: Documents | None = None,
        disk: DiskWatch | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.settings = settings
        self.secrets = auth.Secrets(
            settings.shared_key.get_secret_value(), settings.username, settings.password.get_secret_value()
        )
        self.limits = limits or Limits((), tuple, clock)
        self.disk = disk or DiskWatch("", 100)
        self.share = min(IN_FLIGHT_BYTES, settings.max_in_flight_bytes // 4)
        self.durable = durable
        self.cluster = cluster
        self.clock = clock
        self.gate = ReadGate(settings.max_in_flight_bytes, give_back)
        # Most of what is received waits as it came: unpacked, and made into records, it takes many times the memory.
        self.unpacked = Budget(settings.max_in_flight_bytes // 2)
        self.rendered = Budget(settings.max_in_flight_bytes // 4)
        self.renderer = Renderer()
        self.documents = documents or Documents("")
        self.max_record_bytes = declared()[TOPIC].max_message_mib << 20


class Batch:
    """What several chunks gave: records, and what cannot be any. A chunk's records stay together and in order."""

    def __init__(self) -> None:
        self.bulks: list[Bulk] = []
        self.bad: list[Bad] = []
        self.nbytes = 0
        self.count = 0

    @property
    def full(self) -> bool:
        return self.count >= WINDOW_RECORDS or self.nbytes >= WINDOW_BYTES

    def add(self, window: Window, chunk: str) -> None:
        self.nbytes += window.nbytes
        self.count += len(window.values) + len(window.bad)
        self.bad += window.bad
        if not window.values:
            return
        if not self.bulks or self.bulks[-1].spread != chunk:
            self.bulks.append(Bulk(TOPIC, window.values, window.keys, window.times_ms, chunk))
            return
        last = self.bulks[-1]
        last.values.extend(window.values)
        last.keys.extend(window.keys)
        last.times_ms.extend(window.times_ms)


class Delivery:
    """Of one connection, whose other end is `peer`."""

    def __init__(self, shared: Shared, peer: str) -> None:
        self._shared = shared
        self._durable = shared.durable
        self._peer = peer

    def bad(self, batch: Batch, frame: bytes, error: Invalid) -> None:
        self.refuse(error.reason, error.detail)
        batch.bad.append(Bad(frame, error.reason, error.detail))

    async def add(self, chunk: Chunk, batch: Batch) -> Batch:
        """Add its records to `batch`, settling that whenever it is full; the one that is not settled yet."""
        if not chunk.compressed:
            return await self._add_entries(chunk, chunk.entries, batch)
        budget, most = self._shared.unpacked, self._shared.settings.max_chunk_bytes
        held = 0
        try:
            for limit in (min(most, max(UNPACKED_LEAST, UNPACKED_RATIO * len(chunk.entries))), most):
                budget.give(held)
                held = 0
                await budget.take(limit)
                held = limit
                if (entries := await _unpack(chunk, limit, most)) is not None:
                    budget.give(held - len(entries))
                    held = len(entries)
                    return await self._add_entries(chunk, entries, batch)
            raise AssertionError("beyond the last limit it is refused")
        finally:
            budget.give(held)

    async def _add_entries(self, chunk: Chunk, entries: bytes | memoryview, batch: Batch) -> Batch:
        shared = self._shared
        own = chunk.tag == TAG or chunk.tag.startswith(TAG + ".")
        context = Context(
            chunk.tag, chunk.chunk, shared.cluster(), shared.clock(), shared.max_record_bytes, shared.renderer
        )
        made = windows(entries, context)
        first = next(made, None)
        if first is not None and chunk.ack:
            await self._within_quota(first, entries, context)
        for window in chain((first,), made) if first is not None else ():
            if (joiner := shared.documents.joiner) is not None:
                _join(window, joiner)
            for bad in window.bad:
                self.refuse(bad.reason, bad.detail, own=own)
            batch.add(window, chunk.chunk)
            if batch.full:
                await self.settle(batch)
                batch = Batch()
        return batch

    async def _within_quota(self, first: Window, entries: bytes | memoryview, context: Context) -> None:
        """Raises OverQuota before anything of the chunk is taken; `first`: its first records. Only where those are
        beyond one the others are looked at too."""
        beyond = self._shared.limits.refusal(first.values)
        if beyond is None:
            return
        for window in windows(entries, context):
            if window.values and self._shared.limits.refusal(window.values) is None:
                return
            await asyncio.sleep(0)
        raise OverQuota(
            f"quota {beyond.quota} of namespace {beyond.namespace or '*'}: {beyond.limit_bytes} bytes a day"
        )

    async def settle(self, batch: Batch) -> None:
        """Return when Kafka has every record, or its dead letter."""
        received = 0
        letters = [Letter(bad.raw, bad.reason, bad.detail, self._peer, bad.key) for bad in _merged(batch.bad)]
        for bulk, refused in zip(batch.bulks, await self._durable.send_bulks(batch.bulks), strict=True):
            received += len(bulk.values) - len(refused)
            for index, why in refused.items():
                self.refuse("too_large", why)
                letters.append(Letter(bulk.values[index], "too_large", why, self._peer, bulk.keys[index]))
        await self._durable.dead_letter(TOPIC, letters)
        RECEIVED.labels(self._durable.source).inc(received)

    def refuse(self, reason: str, detail: str, *, own: bool = False) -> None:
        if own:
            OWN_ERRORS.labels(reason).inc()
        self._durable.refused(reason, quiet=own, peer=self._peer, detail=detail)


def _join(window: Window, joiner: Joiner) -> None:
    """Lines of a window that belong together become one record, under the key of the first."""
    found = joiner.join(window.values)
    if found is not None:
        window.values = found.values
        window.keys = [window.keys[place] for place in found.places]
        window.times_ms = [window.times_ms[place] for place in found.places]
        joining.count(found)


async def _unpack(chunk: Chunk, limit: int, most: int) -> bytes | None:
    """None when they are more than `limit` bytes and that is less than `most`. Raises Refused: the sender can be
    told."""
    try:
        if len(chunk.entries) < THREAD_BYTES:
            return decompress(chunk.entries, chunk.compressed, limit)
        return await asyncio.to_thread(decompress, chunk.entries, chunk.compressed, limit)
    except Invalid as error:
        if limit < most and error.reason == "chunk_too_large":
            return None
        raise Refused(error.reason, error.detail, chunk) from None


def _merged(bad: list[Bad]) -> list[Bad]:
    """Many bad entries as one dead letter a reason: a chunk of rubbish must not become a million of them."""
    if len(bad) <= LETTERS:
        return bad
    by_reason: dict[str, list[Bad]] = {}
    for each in bad:
        by_reason.setdefault(each.reason, []).append(each)
    return [
        Bad(b"".join(each.raw for each in group), reason, f"{len(group)} entries; the first: {group[0].detail}")
        for reason, group in by_reason.items()
    ]
