"""Bodies that come compressed (gzip, zstd), inflated piece by piece under a limit on what comes out. Pure."""

from __future__ import annotations

import zlib

import zstandard

from gateway.problems import Problem
from streams.errors import Invalid

PIECE = 1 << 20
ZSTD_PIECE = 512
"""Bytes put in at a time: at most 128 blocks of 128 KiB come out of them before the limit is looked at."""
WINDOW = 8 << 20
"""The largest window of zstd we keep memory for (its own recommendation for decoders)."""
GZIP = 31
MEMBERS = 1000


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The body behind `Content-Encoding`. Raises 415 for one we do not know, Invalid for a broken or too big one."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _gzip(body, limit)
        case "zstd":
            return _zstd(body, limit)
        case other:
            raise Problem(415, "Unsupported media type", f"Content-Encoding {other[:32]!r}: expected gzip or zstd")


def _gzip(body: bytes, limit: int) -> bytes:
    out = bytearray()
    rest, members = body, 0
    while rest:
        members += 1
        stream = zlib.decompressobj(GZIP)
        try:
            while rest and not stream.eof:
                out += stream.decompress(rest, PIECE)
                rest = stream.unconsumed_tail
                _check(len(out), limit)
        except zlib.error as error:
            raise Invalid("compression", f"not gzip: {error}") from None
        if not stream.eof or members > MEMBERS:
            raise Invalid("compression", "the gzip stream ends early" if not stream.eof else "too many gzip members")
        rest = stream.unused_data
    return bytes(out)


def _zstd(body: bytes, limit: int) -> bytes:
    out = bytearray()
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
    stream = decompressor.decompressobj()
    try:
        for start in range(0, len(body), ZSTD_PIECE):
            rest = body[start : start + ZSTD_PIECE]
            while rest:
                stream = decompressor.decompressobj() if stream.eof else stream
                out += stream.decompress(rest)
                rest = stream.unused_data
                _check(len(out), limit)
    except zstandard.ZstdError as error:
        raise Invalid("compression", f"not zstd: {error}") from None
    if not stream.eof:
        raise Invalid("compression", "the zstd stream ends early")
    return bytes(out)


def _check(length: int, limit: int) -> None:
    if length > limit:
        raise Invalid("too_large", f"the decompressed body is over {limit} bytes")
