"""Names, lines and manifests of the archive. Pure.

A line is `{"offset":17,"time":1795608000000,"key":"...","record":{...}}`. A value that is no JSON object is kept as
`"base64"` instead of `"record"`; a key that is no text as `"key_base64"`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec
import zstandard

from streams.batch import Message
from streams.errors import Invalid
from streams.record import Record
from streams.sinks.index import fields
from streams.sinks.index.port import Kind

SPAN = 100_000
"""Offsets of one object."""
LEVEL = 6
ENDING = ".ndjson.zst"
MANIFEST = ".json"
MAX_LINE = 64 << 20
STEP = 64 << 10
"""Compressed bytes read at a time."""
_NAME = re.compile(r"([^/]+)/([^/]+)/(\d+)/(\d{20})-(\d{20})" + re.escape(ENDING))
_encode = msgspec.json.Encoder().encode


class _About(msgspec.Struct, frozen=True):
    namespace_name: str = ""


class _Placed(msgspec.Struct, frozen=True):
    """As much of a log record as says where it is from; decoding it checks all of the text."""

    cluster: str = ""
    kubernetes: _About = _About()
    specversion: str = ""


_decode_placed = msgspec.json.Decoder(_Placed).decode
_decode_any = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Name(NamedTuple):
    """Which records are in an object: those of a partition from offset `first` to `last`, both included."""

    topic: str
    topic_id: str
    partition: int
    first: int
    last: int

    @property
    def span(self) -> int:
        return self.first // SPAN

    @property
    def folder(self) -> str:
        return f"{self.topic}/{quote(self.topic_id, safe='')}/{self.partition}/"

    def __str__(self) -> str:
        return f"{self.folder}{self.first:020d}-{self.last:020d}{ENDING}"

    @property
    def manifest(self) -> str:
        return str(self).removesuffix(ENDING) + MANIFEST


def read_name(text: str) -> Name | None:
    match = _NAME.fullmatch(text)
    return Name(match[1], unquote(match[2]), int(match[3]), int(match[4]), int(match[5])) if match else None


class Place(msgspec.Struct, frozen=True):
    cluster: str
    namespace: str
    records: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in an object. Times are ms, both included; `nbytes` its size, `text_bytes` before compression."""

    name: str
    records: int
    from_ms: int
    to_ms: int
    nbytes: int
    text_bytes: int
    sha256: str
    places: list[Place]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    offset: int
    time: int
    key: str | None = None
    key_base64: str | None = None
    record: msgspec.Raw = msgspec.Raw()
    base64: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode


def line(message: Message) -> bytes:
    """One record as a line, its JSON text as it came (line breaks between its tokens become spaces)."""
    key, value = message.key(), message.value()
    out = b'{"offset":%d,"time":%d' % (message.offset(), message.timestamp()[1])
    if key is not None:
        try:
            out += b',"key":' + _encode(key.decode())
        except UnicodeDecodeError:
            out += b',"key_base64":' + _encode(base64.b64encode(key).decode())
    if value is None:
        return out + b"}\n"
    try:
        _decode_any(value)
        value.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return out + b',"base64":' + _encode(base64.b64encode(value).decode()) + b"}\n"
    return out + b',"record":' + value.strip().replace(b"\n", b" ").replace(b"\r", b" ") + b"}\n"


def record(text: bytes, name: Name) -> Record:
    """The record of a line. Raises Invalid("archive")."""
    try:
        read = _decode_line(text)
        key = base64.b64decode(read.key_base64) if read.key_base64 is not None else None
        if read.key is not None:
            key = read.key.encode()
        value = base64.b64decode(read.base64) if read.base64 is not None else None
        if found := bytes(read.record):
            value = found
    except (msgspec.DecodeError, ValueError) as error:
        raise Invalid("archive", f"{name}: {error}") from None
    return Record(name.topic, name.partition, read.offset, key, value, read.time)


class Part(NamedTuple):
    """Records made ready: compressed as one frame (frames one after another are one object), and what is in them."""

    frame: bytes
    records: int
    from_ms: int
    to_ms: int
    text_bytes: int
    places: Counter[tuple[str, str]]


EMPTY = Part(b"", 0, 1 << 62, -1, 0, Counter())


def part(messages: Iterable[Message]) -> Part:
    lines, times, places = [], [], Counter[tuple[str, str]]()
    for message in messages:
        lines.append(line(message))
        times.append(message.timestamp()[1])
        places[_place(message.value() or b"")] += 1
    if not lines:
        return EMPTY
    text = b"".join(lines)
    return Part(
        zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(text),
        len(lines),
        min(times),
        max(times),
        len(text),
        places,
    )


def _place(value: bytes) -> tuple[str, str]:
    try:
        placed = _decode_placed(value)
        if not placed.specversion:
            return placed.cluster, placed.kubernetes.namespace_name
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # of other types, or not JSON at all: the careful way
    try:
        drawn = fields.draw(Kind.LOGS, fields.decode(value))
    except ValueError:
        return "", ""
    return next(iter(drawn.cluster), ""), next(iter(drawn.namespace), "")


def joined(one: Part, other: Part) -> Part:
    return Part(
        one.frame + other.frame,
        one.records + other.records,
        min(one.from_ms, other.from_ms),
        max(one.to_ms, other.to_ms),
        one.text_bytes + other.text_bytes,
        one.places + other.places,
    )


def manifest(name: Name, whole: Part) -> Manifest:
    return Manifest(
        name=str(name),
        records=whole.records,
        from_ms=whole.from_ms if whole.records else 0,
        to_ms=whole.to_ms if whole.records else 0,
        nbytes=len(whole.frame),
        text_bytes=whole.text_bytes,
        sha256=hashlib.sha256(whole.frame).hexdigest(),
        places=[Place(cluster, namespace, count) for (cluster, namespace), count in sorted(whole.places.items())],
    )


def lines(content: bytes, name: Name) -> Iterator[bytes]:
    """The lines of an object, one after another. Raises Invalid("archive") for one that is damaged."""
    kept = b""
    for block in _blocks(content, name):
        *whole, kept = (kept + block).split(b"\n")
        if len(kept) > MAX_LINE:
            raise Invalid("archive", f"{name}: a line of over {MAX_LINE} bytes")
        yield from whole
    if kept:
        raise Invalid("archive", f"{name}: it ends within a line")


def _blocks(content: bytes, name: Name) -> Iterator[bytes]:
    """The text of an object, a bit at a time. Raises Invalid when a frame is damaged or cut."""
    engine = zstandard.ZstdDecompressor()
    frame, at = None, 0
    while at < len(content):
        frame = frame or engine.decompressobj()
        try:
            yield frame.decompress(content[at : at + STEP])
        except zstandard.ZstdError as error:
            raise Invalid("archive", f"{name}: {error}") from None
        at = min(at + STEP, len(content)) - len(frame.unused_data)
        frame = None if frame.eof else frame
    if frame is not None:
        raise Invalid("archive", f"{name}: it ends within a frame")


def again(content: bytes, name: Name) -> Part:
    """An object as the part it was made of, so that it can go on. Raises Invalid("archive")."""
    times, text_bytes, places = [], 0, Counter[tuple[str, str]]()
    for text in lines(content, name):
        read = record(text, name)
        times.append(read.timestamp_ms)
        text_bytes += len(text) + 1
        places[_place(read.value or b"")] += 1
    if not times:
        return EMPTY
    return Part(content, len(times), min(times), max(times), text_bytes, places)


encode_manifest = _encode
decode_manifest = msgspec.json.Decoder(Manifest).decode
