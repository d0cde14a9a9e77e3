"""One connection of the forward protocol: read, decode, into Kafka, then ack.

What was understood and cannot be a record goes to `logs.dlq` and is acked with the rest: a bad record never holds back
the others or makes its sender send them for ever. A connection whose bytes are no frames is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from schemas.catalogue import declared
from streams.disk import DiskWatch
from streams.errors import Invalid
from streams.logs import TAG
from streams.metrics import OWN_ERRORS, RECEIVED
from streams.process import joining
from streams.process.held import Documents
from streams.process.joining import Joiner
from streams.record import Bulk
from streams.settings import Forward
from streams.sources import forward_auth as auth
from streams.sources.budget import Budget, ReadGate
from streams.sources.durable import BulkDurable, Letter
from streams.sources.forward_codec import Chunk, Refused, Splitter, decompress, parse
from streams.sources.forward_entries import TOPIC, WINDOW_BYTES, WINDOW_RECORDS, Bad, Context, Window, windows
from streams.sources.forward_render import Renderer

log = structlog.get_logger(__name__)

READ_BYTES = 256 << 10
FRAME_SLACK_BYTES = 64 << 10
IN_FLIGHT_BYTES = 16 << 20
"""Of one connection: received and not yet in Kafka; beyond it, or a quarter of all, nothing more is read from it."""
DISK_S = 1.0
HANDSHAKE_S = 10.0
HANDSHAKE_BYTES = 8 << 10
FRAME_S = 60.0
"""How long the next bytes of an unfinished frame may take."""
ACK_S = 60.0
LETTERS = 100
"""Bad entries of one batch that get a dead letter each."""
THREAD_BYTES = 64 << 10
"""Compressed chunks from this size on are unpacked beside the event loop."""


class Closed(Exception):
    """The connection ends here, for a reason already told."""


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
    ) -> None:
        self.settings = settings
        self.secrets = auth.Secrets(
            settings.shared_key.get_secret_value(), settings.username, settings.password.get_secret_value()
        )
        self.disk = disk or DiskWatch("", 100)
        self.share = min(IN_FLIGHT_BYTES, settings.max_in_flight_bytes // 4)
        self.durable = durable
        self.cluster = cluster
        self.clock = clock
        self.gate = ReadGate(settings.max_in_flight_bytes)
        self.unpacked = Budget(max(settings.max_in_flight_bytes, settings.max_chunk_bytes))
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


class Connection:
    """`serve` returns when the connection is over, with everything read from it delivered or given up."""

    def __init__(self, shared: Shared, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._shared = shared
        self._durable = shared.durable
        self._reader = reader
        self._writer = writer
        self._splitter = Splitter(shared.settings.max_chunk_bytes + FRAME_SLACK_BYTES)
        self._in_flight = 0
        self._settled = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._deliveries: set[asyncio.Task[None]] = set()
        name = writer.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if name else "?"

    async def serve(self, nonce: bytes, hostname: str) -> None:
        self._reading = asyncio.create_task(self._read(nonce, hostname))
        await asyncio.wait({self._reading})
        if not self._reading.cancelled() and (error := self._reading.exception()):
            log.error("forward connection failed", peer=self.peer, error=repr(error))
        self._shared.gate.remove(len(self._splitter))
        self._shared.gate.leave(self)
        if self._deliveries:
            await asyncio.wait(self._deliveries)

    def stop_reading(self) -> None:
        """Make `serve` end once what was read is delivered."""
        if self._reading:
            self._reading.cancel()

    def abandon(self) -> None:
        """Give up what is not in Kafka yet: it was not acked."""
        self.stop_reading()
        for task in self._deliveries:
            task.cancel()

    async def _read(self, nonce: bytes, hostname: str) -> None:
        with suppress(Closed, ConnectionError, TimeoutError):
            if self._shared.secrets.shared_key:
                await self._handshake(nonce, hostname)
            await self._receive()

    async def _handshake(self, nonce: bytes, hostname: str) -> None:
        secrets = self._shared.secrets
        greeting = auth.Greeting(nonce[: len(nonce) // 2], nonce[len(nonce) // 2 :])
        splitter = Splitter(HANDSHAKE_BYTES)
        self._writer.write(auth.helo(greeting, secrets))
        frames: list[bytes] = []
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                while not frames:
                    data = await self._reader.read(HANDSHAKE_BYTES)
                    if not data:
                        raise Closed
                    frames = splitter.feed(data)
                    if splitter.error and not frames:
                        raise splitter.error
            pong, wrong = auth.answer(frames[0], greeting, secrets, hostname)
        except Invalid as error:
            self._refuse("unauthorized", f"handshake: {error}")
            raise Closed from None
        except TimeoutError:
            self._refuse("unauthorized", f"no PING within {HANDSHAKE_S:.0f} s")
            raise Closed from None
        await self._write(pong)
        if wrong:
            self._refuse("unauthorized", wrong)
            raise Closed
        await self._take(b"".join((*frames[1:], splitter.pending)))

    async def _room(self) -> None:
        """Return when the disk has some: until then nothing is read, and so nothing acknowledged."""
        while why := self._shared.disk.full():
            self._refuse("disk_full", why)
            await asyncio.sleep(DISK_S)

    async def _receive(self) -> None:
        while True:
            await self._room()
            unfinished = len(self._splitter) > 0
            await self._shared.gate.enter(self, unfinished=unfinished, holds=self._in_flight)
            while self._in_flight >= self._shared.share:
                self._settled.clear()
                await self._settled.wait()
            patience = FRAME_S if len(self._splitter) else self._shared.settings.idle_timeout_s
            try:
                async with asyncio.timeout(patience):
                    data = await self._reader.read(READ_BYTES)
            except TimeoutError:
                data = b""
            if not data:
                if len(self._splitter):
                    self._refuse("cut_off", f"the connection ended {len(self._splitter)} bytes into a frame")
                return
            await self._take(data)

    async def _take(self, data: bytes) -> None:
        """Start the delivery of the frames that are complete; the rest stays with the splitter."""
        before = len(self._splitter)
        self._shared.gate.add(len(data))
        frames = self._splitter.feed(data)
        error = self._splitter.error
        if frames:
            size = before + len(data) - len(self._splitter)
            self._in_flight += size
            task = asyncio.create_task(self._deliver(frames, size))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)
        if error:
            self._refuse(error.reason, error.detail)
            letter = Letter(self._splitter.pending, error.reason, error.detail, self.peer)
            await self._durable.dead_letter(TOPIC, [letter])
            raise Closed
        if not len(self._splitter):
            self._shared.gate.leave(self)

    async def _deliver(self, frames: list[bytes], size: int) -> None:
        """All frames of one read: their records into Kafka, what is bad into the dead letters, then the acks."""
        acks = bytearray()
        batch = Batch()
        try:
            for frame in frames:
                try:
                    chunk = parse(frame)
                    batch = await self._deliver_chunk(chunk, batch)
                    acks += chunk.ack
                except Refused as error:
                    self._bad(batch, frame, error)
                    acks += error.chunk.ack
                except Invalid as error:
                    self._bad(batch, frame, error)
                    self.stop_reading()
            await self._settle(batch)
            if acks:
                await self._write(bytes(acks))
        except (ConnectionError, TimeoutError):
            self._writer.transport.abort()
        except Exception:
            # Nothing was acked: the sender has to notice, or it would wait for ever on a connection that looks well.
            log.exception("forward delivery failed", peer=self.peer)
            self._writer.transport.abort()
        finally:
            self._in_flight -= size
            self._shared.gate.remove(size)
            self._settled.set()

    def _bad(self, batch: Batch, frame: bytes, error: Invalid) -> None:
        self._refuse(error.reason, error.detail)
        batch.bad.append(Bad(frame, error.reason, error.detail))

    async def _deliver_chunk(self, chunk: Chunk, batch: Batch) -> Batch:
        """Add its records to `batch`, settling that whenever it is full; the one that is not settled yet."""
        if not chunk.compressed:
            return await self._deliver_entries(chunk, chunk.entries, batch)
        budget, held = self._shared.unpacked, self._shared.settings.max_chunk_bytes
        await budget.take(held)
        try:
            entries = await _unpack(chunk, held)
            budget.give(held - len(entries))
            held = len(entries)
            return await self._deliver_entries(chunk, entries, batch)
        finally:
            budget.give(held)

    async def _deliver_entries(self, chunk: Chunk, entries: bytes | memoryview, batch: Batch) -> Batch:
        shared = self._shared
        own = chunk.tag == TAG or chunk.tag.startswith(TAG + ".")
        context = Context(
            chunk.tag, chunk.chunk, shared.cluster(), shared.clock(), shared.max_record_bytes, shared.renderer
        )
        for window in windows(entries, context):
            if (joiner := shared.documents.joiner) is not None:
                _join(window, joiner)
            for bad in window.bad:
                self._refuse(bad.reason, bad.detail, own=own)
            batch.add(window, chunk.chunk)
            if batch.full:
                await self._settle(batch)
                batch = Batch()
        return batch

    async def _settle(self, batch: Batch) -> None:
        """Return when Kafka has every record, or its dead letter."""
        received = 0
        letters = [Letter(bad.raw, bad.reason, bad.detail, self.peer, bad.key) for bad in _merged(batch.bad)]
        for bulk, refused in zip(batch.bulks, await self._durable.send_bulks(batch.bulks), strict=True):
            received += len(bulk.values) - len(refused)
            for index, why in refused.items():
                self._refuse("too_large", why)
                letters.append(Letter(bulk.values[index], "too_large", why, self.peer, bulk.keys[index]))
        await self._durable.dead_letter(TOPIC, letters)
        RECEIVED.labels(self._durable.source).inc(received)

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(ACK_S):
            await self._writer.drain()

    def _refuse(self, reason: str, detail: str, *, own: bool = False) -> None:
        if own:
            OWN_ERRORS.labels(reason).inc()
        self._durable.refused(reason, quiet=own, peer=self.peer, detail=detail)


def _join(window: Window, joiner: Joiner) -> None:
    """Lines of a window that belong together become one record, under the key of the first."""
    found = joiner.join(window.values)
    if found is not None:
        window.values = found.values
        window.keys = [window.keys[place] for place in found.places]
        window.times_ms = [window.times_ms[place] for place in found.places]
        joining.count(found)


async def _unpack(chunk: Chunk, limit: int) -> bytes:
    """Raises Refused: the sender can be told."""
    try:
        if len(chunk.entries) < THREAD_BYTES:
            return decompress(chunk.entries, chunk.compressed, limit)
        return await asyncio.to_thread(decompress, chunk.entries, chunk.compressed, limit)
    except Invalid as error:
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
