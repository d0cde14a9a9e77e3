"""One connection of the forward protocol: read, decode, into Kafka, then ack.

What was understood and cannot be a record goes to `logs.dlq` and is acked with the rest: a bad record never holds back
the others or makes its sender send them for ever. A connection whose bytes are no frames is closed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

import structlog

from streams.errors import Invalid
from streams.sources import forward_auth as auth
from streams.sources.durable import Letter
from streams.sources.forward_codec import Refused, Splitter, compressed, parse
from streams.sources.forward_delivery import UNPACKED_RATIO, Batch, Delivery, OverQuota, Shared
from streams.sources.forward_entries import TOPIC, WINDOW_BYTES

log = structlog.get_logger(__name__)

READ_BYTES = 256 << 10
FRAME_SLACK_BYTES = 64 << 10
DISK_S = 1.0
HANDSHAKE_S = 10.0
HANDSHAKE_BYTES = 8 << 10
FRAME_S = 60.0
"""How long the next bytes of an unfinished frame may take."""
ACK_S = 60.0
GONE_S = 5.0
"""How long chunks that ask for an ack are still delivered when nobody is there to be told: their sender sends them
again. Longer, and while Kafka is away the memory would fill with copies of the same."""


class Closed(Exception):
    """The connection ends here, for a reason already told."""


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
        self._deliveries: dict[asyncio.Task[None], list[bytes]] = {}
        """Under way, and of which frames."""
        self._rendered = 0
        name = writer.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if name else "?"
        self._delivery = Delivery(shared, self.peer)

    async def serve(self, nonce: bytes, hostname: str) -> None:
        self._reading = asyncio.create_task(self._read(nonce, hostname))
        await asyncio.wait({self._reading})
        if not self._reading.cancelled() and (error := self._reading.exception()):
            log.error("forward connection failed", peer=self.peer, error=repr(error))
        self._shared.gate.drop(len(self._splitter))
        self._shared.gate.leave(self)
        self._splitter.close()
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=GONE_S)
        for delivery, frames in self._deliveries.items():
            if all(map(_asks, frames)):
                delivery.cancel()
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
            self._delivery.refuse("unauthorized", f"handshake: {error}")
            raise Closed from None
        except TimeoutError:
            self._delivery.refuse("unauthorized", f"no PING within {HANDSHAKE_S:.0f} s")
            raise Closed from None
        await self._write(pong)
        if wrong:
            self._delivery.refuse("unauthorized", wrong)
            raise Closed
        await self._take(b"".join((*frames[1:], splitter.pending)))

    async def _room(self) -> None:
        """Return when the disk has some: until then nothing is read, and so nothing acknowledged."""
        while why := self._shared.disk.full():
            self._delivery.refuse("disk_full", why)
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
                    data = await self._some()
            except TimeoutError:
                data = b""
            if not data:
                if len(self._splitter):
                    self._delivery.refuse("cut_off", f"the connection ended {len(self._splitter)} bytes into a frame")
                return
            await self._take(data)

    async def _some(self) -> bytes:
        """What comes next. In between nothing is taken off the network: it would be in memory, and not counted."""
        transport = cast(asyncio.Transport, self._writer.transport)
        transport.resume_reading()
        try:
            return await self._reader.read(READ_BYTES)
        finally:
            if not transport.is_closing():
                transport.pause_reading()

    async def _take(self, data: bytes) -> None:
        """Start the delivery of the frames that are complete; the rest stays with the splitter."""
        before = len(self._splitter)
        self._shared.gate.add(len(data))
        frames = self._splitter.feed(data)
        error = self._splitter.error
        if frames:
            size = before + len(data) - len(self._splitter)
            self._in_flight += size
            self._shared.gate.complete(self, size)
            task = asyncio.create_task(self._deliver(frames, size))
            self._deliveries[task] = frames
            task.add_done_callback(self._deliveries.pop)
        if error:
            self._delivery.refuse(error.reason, error.detail)
            letter = Letter(self._splitter.pending, error.reason, error.detail, self.peer)
            await self._durable.dead_letter(TOPIC, [letter])
            raise Closed

    async def _deliver(self, frames: list[bytes], size: int) -> None:
        """All frames of one read: their records into Kafka, what is bad into the dead letters, then the acks."""
        acks = bytearray()
        batch = Batch()
        rendered = 0
        try:
            unpacked = size * (UNPACKED_RATIO if any(map(compressed, frames)) else 1)
            rendered = await self._render(min(unpacked, 2 * WINDOW_BYTES))
            for frame in frames:
                try:
                    chunk = parse(frame)
                    batch = await self._delivery.add(chunk, batch)
                    acks += chunk.ack
                except OverQuota as error:
                    self._delivery.refuse("quota", str(error))
                    self.stop_reading()
                except Refused as error:
                    self._delivery.bad(batch, frame, error)
                    acks += error.chunk.ack
                except Invalid as error:
                    self._delivery.bad(batch, frame, error)
                    self.stop_reading()
            await self._delivery.settle(batch)
            if acks:
                await self._write(bytes(acks))
        except (ConnectionError, TimeoutError):
            self._writer.transport.abort()
        except Exception:
            # Nothing was acked: the sender has to notice, or it would wait for ever on a connection that looks well.
            log.exception("forward delivery failed", peer=self.peer)
            self._writer.transport.abort()
        finally:
            self._rendered -= rendered
            self._shared.rendered.give(rendered)
            self._in_flight -= size
            self._shared.gate.remove(size)
            self._settled.set()

    async def _render(self, size: int) -> int:
        """Wait until that much may be made into records."""
        await self._shared.rendered.take(size, first=not self._rendered)
        self._rendered += size
        return size

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(ACK_S):
            await self._writer.drain()


def _asks(frame: bytes) -> bool:
    """Whether its sender asked for an ack."""
    try:
        return bool(parse(frame).ack)
    except Invalid:
        return False
