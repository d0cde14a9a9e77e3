"""The forward protocol on the wire: bytes -> frames -> chunks of entries. Pure, no I/O.

Source: https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1. A frame is one msgpack array:

- Message `[tag, time, record, option?]`
- Forward `[tag, [[time, record], ...], option?]`
- PackedForward `[tag, bin of concatenated [time, record], option?]`
- CompressedPackedForward: the same with option `compressed` = `gzip` (several members allowed) or `zstd`.

All four become one `Chunk`: a blob of concatenated entries. Lengths that a frame declares are never trusted: a value is
only decoded once its bytes are there.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import msgpack
import msgspec
import zstandard

from streams.errors import Invalid

ACK = b"\x81\xa3ack"
MAX_TAG_BYTES = 1024
MAX_CHUNK_ID_BYTES = 1024
GZIP = 31
GZIP_MEMBERS = 4096
ZSTD_WINDOW = 1 << 24
PIECE = 1 << 20
SIGNAL_LOGS = 0

_parts = msgspec.msgpack.Decoder(list[msgspec.Raw])
_options = msgspec.msgpack.Decoder(dict[str, msgspec.Raw] | None)


class Chunk(NamedTuple):
    """Entries of one frame. `ack` is the reply to send once they are durable (empty: none was asked for)."""

    tag: str
    entries: bytes | memoryview
    compressed: str = ""
    chunk: str = ""
    ack: bytes = b""


READ_BYTES = 64 << 10
"""The unpacker's buffer to begin with. Left to itself it takes a mebibyte, for every connection there is."""


class Splitter:
    """Cuts a byte stream into frames; holds at most `limit` bytes of an unfinished one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._largest = 0
        self._begin()
        self.error: Invalid | None = None
        """Why nothing more can be read, after the frames `feed` returned."""

    @property
    def pending(self) -> bytes:
        """Bytes of the unfinished frame."""
        return bytes(self._buffer)

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes; sets `error` when what follows them is no frame or over the limit."""
        self._buffer += data
        if len(self._buffer) > self._limit:
            self.error = Invalid("frame_too_large", f"a frame of more than {self._limit} bytes")
            return []
        self._largest = max(self._largest, len(self._buffer))
        self._unpacker.feed(data)
        frames: list[bytes] = []
        start = 0
        with memoryview(self._buffer) as view:
            while start < len(view):
                if not (0x90 <= view[start] <= 0x9F or 0xDC <= view[start] <= 0xDD):
                    self.error = Invalid("not_forward", f"a frame is a msgpack array, not byte 0x{view[start]:02x}")
                    break
                try:
                    self._unpacker.skip()
                except msgpack.OutOfData:
                    break
                except (ValueError, msgpack.UnpackException) as error:
                    self.error = Invalid("bad_msgpack", f"{type(error).__name__}: {error}"[:200])
                    break
                end = self._unpacker.tell() - self._base
                frames.append(bytes(view[start:end]))
                start = end
        del self._buffer[:start]
        self._base += start
        if frames and self._largest > READ_BYTES:
            self._begin()
        return frames

    def _begin(self) -> None:
        """With a new unpacker, of the unfinished frame alone: one that had a large frame keeps its buffer for ever."""
        self._unpacker = msgpack.Unpacker(max_buffer_size=self._limit, read_size=min(READ_BYTES, self._limit))
        self._unpacker.feed(self._buffer)
        self._base = 0
        self._largest = 0

    def close(self) -> None:
        """Let go of everything: whoever holds this may live on for a while."""
        self._buffer = bytearray()
        self._begin()


def parse(frame: bytes) -> Chunk:
    """A frame as a chunk. Raises Invalid when it is none of the four modes."""
    try:
        parts = _parts.decode(frame)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid("bad_msgpack", str(error)[:200]) from None
    if not 2 <= len(parts) <= 4:
        raise Invalid("bad_frame", f"a frame has 2 to 4 parts, not {len(parts)}")
    raw_tag = content(parts[0])
    if raw_tag is None or len(raw_tag) > MAX_TAG_BYTES:
        raise Invalid("bad_tag", f"the tag is a string of at most {MAX_TAG_BYTES} bytes")
    tag = str(raw_tag, "utf-8", "replace")
    body = memoryview(parts[1])
    packed = content(parts[1])
    if packed is not None:
        return _with_option(Chunk(tag, packed), parts[2:3])
    if (size := array_header(body)) is not None:
        return _with_option(Chunk(tag, body[size:]), parts[2:3])
    if len(parts) < 3:
        raise Invalid("bad_frame", "after the tag comes an array, binary, or a time and a record")
    return _with_option(Chunk(tag, b"".join((b"\x92", parts[1], parts[2]))), parts[3:4])


def _with_option(chunk: Chunk, option: list[msgspec.Raw]) -> Chunk:
    if not option:
        return chunk
    try:
        given = _options.decode(option[0]) or {}
        signal = msgspec.msgpack.decode(given["fluent_signal"]) if "fluent_signal" in given else SIGNAL_LOGS
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("bad_option", str(error)[:200]) from None
    chunk = _identified(chunk, given.get("chunk"))
    if signal != SIGNAL_LOGS:
        raise Refused("not_logs", "fluent_signal says these are metrics or traces, not logs", chunk)
    compressed = content(given["compressed"]) if "compressed" in given else b"text"
    if compressed in (None, b"text", b""):
        return chunk
    return chunk._replace(compressed=str(compressed, "utf-8", "replace")[:20])


def _identified(chunk: Chunk, raw: msgspec.Raw | None) -> Chunk:
    if raw is None or bytes(raw) == b"\xc0":
        return chunk
    text = content(raw)
    if text is None or not 0 < len(text) <= MAX_CHUNK_ID_BYTES:
        raise Invalid("bad_option", f"option chunk is a string of 1 to {MAX_CHUNK_ID_BYTES} bytes")
    return chunk._replace(chunk=bytes(text).decode("utf-8", "backslashreplace"), ack=ACK + bytes(raw))


def compressed(frame: bytes) -> bool:
    """Whether it seems to say that its entries are: without looking at more than its end, where options stand."""
    return b"compressed" in frame[-2 * MAX_CHUNK_ID_BYTES :]


class Refused(Invalid):
    """A chunk that was understood as far as whom to answer."""

    def __init__(self, reason: str, detail: str, chunk: Chunk) -> None:
        super().__init__(reason, detail)
        self.chunk = chunk


def content(raw: msgspec.Raw) -> memoryview | None:
    """The bytes of a msgpack string or binary, None when it is something else."""
    view = memoryview(raw)
    first = view[0]
    if 0xA0 <= first <= 0xBF:
        return view[1:]
    size = {0xC4: 2, 0xC5: 3, 0xC6: 5, 0xD9: 2, 0xDA: 3, 0xDB: 5}.get(first)
    return None if size is None else view[size:]


def array_header(view: memoryview) -> int | None:
    """Bytes of the header of a msgpack array, None when it is something else."""
    if 0x90 <= view[0] <= 0x9F:
        return 1
    return {0xDC: 3, 0xDD: 5}.get(view[0])


def decompress(data: bytes | memoryview, kind: str, limit: int) -> bytes:
    """Entries of a compressed chunk. Raises Invalid when they are broken, or more than `limit` bytes at any moment."""
    try:
        if kind == "gzip":
            return _gunzip(data, limit)
        if kind == "zstd":
            return _unzstd(data, limit)
    except (zlib.error, zstandard.ZstdError) as error:
        raise Invalid("bad_compression", f"{kind}: {error}"[:200]) from None
    raise Invalid("bad_compression", f"option compressed is gzip, zstd or text, not {kind!r}")


def _gunzip(data: bytes | memoryview, limit: int) -> bytes:
    out = bytearray()
    engine = zlib.decompressobj(GZIP)
    members = 1
    view = memoryview(data)
    for start in range(0, len(view), PIECE):
        rest: bytes | memoryview = view[start : start + PIECE]
        while rest:
            if engine.eof:
                members += 1
                if members > GZIP_MEMBERS:
                    raise Invalid("bad_compression", f"gzip: more than {GZIP_MEMBERS} members")
                engine = zlib.decompressobj(GZIP)
            out += engine.decompress(rest, PIECE)
            _check(len(out), limit)
            rest = engine.unused_data if engine.eof else engine.unconsumed_tail
    while not engine.eof:
        piece = engine.decompress(b"", PIECE)
        if not piece:
            raise Invalid("bad_compression", "gzip: the stream is cut off")
        out += piece
        _check(len(out), limit)
    return bytes(out)


def _unzstd(data: bytes | memoryview, limit: int) -> bytes:
    out = bytearray()
    engine = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    with engine.stream_reader(data, read_across_frames=True) as reader:
        while piece := reader.read(PIECE):
            out += piece
            _check(len(out), limit)
    return bytes(out)


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise Invalid("chunk_too_large", f"a chunk of more than {limit} bytes when decompressed")
