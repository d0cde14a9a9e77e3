"""The log of one partition of keyed state (`state.<agent>`, compacted): what is written, and how it is read. Pure.

A *step* is what one batch or tick changed: entries, the outputs they caused, and how far the input was applied.

| key | value | |
|---|---|---|
| `owner` | JSON `{epoch, owner}` | who writes from here on; of two claims of one epoch the first holds |
| `journal/<i>` | msgpack `[epoch, seq, i, count, bytes]` | chunk i of the step; the step counts once all are there |
| `entry/<key>` | JSON `[epoch, seq, version, entry]`, or nothing with header `stamp` | the entry, kept by compaction |
| `meta` | JSON `{epoch, seq, sent, topic_id, offset}` | applied input; last step whose outputs are known to be sent |
| `mark/<key>` | bytes, or nothing | a note beside the steps: durable at once, whoever loads the partition finds it |

Written in this order, each acknowledged before the next: (1) the journal; (2) the outputs, the entries and `meta`
(sent: the step before); some time later `meta` (sent: this step). So a reader finds the last step in the journal whole
or not at all; if it is whole and not known to be sent, (2) is done again, by whoever owns the partition then. `seq`
counts steps over all owners; a record of an epoch or step that is over (a former owner's, a late repeat) is ignored
and, where compaction may let it hide an entry, reported as `stale`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from streams.errors import Fatal
from streams.record import Headers, Outgoing

E = TypeVar("E")

CHUNK_BYTES = 4 << 20
OWNER = b"owner"
META = b"meta"
JOURNAL = b"journal/"
ENTRY = b"entry/"
MARK = b"mark/"
STAMP = "stamp"


class Applied(NamedTuple):
    """How far the input partition was applied: `offset` is the next one, in the topic of that id."""

    topic_id: str = ""
    offset: int = 0


class Step(msgspec.Struct, frozen=True, array_like=True):
    seq: int
    version: int
    applied: Applied
    entries: dict[str, bytes | None]
    """JSON by key; None: deleted."""
    outputs: list[Outgoing]


class _Claim(msgspec.Struct, frozen=True):
    epoch: int
    owner: str


class _Chunk(msgspec.Struct, frozen=True, array_like=True):
    epoch: int
    seq: int
    index: int
    count: int
    data: bytes


class _Meta(msgspec.Struct, frozen=True):
    epoch: int
    seq: int
    sent: int
    topic_id: str
    offset: int


class Stored(msgspec.Struct, frozen=True, array_like=True):
    epoch: int
    seq: int
    version: int
    entry: msgspec.Raw


class Writer(NamedTuple):
    """Records of owner `epoch` for one partition of `topic`."""

    topic: str
    partition: int
    epoch: int

    def claim(self, owner: str) -> list[Outgoing]:
        return [self._record(OWNER, msgspec.json.encode(_Claim(self.epoch, owner)))]

    def journal(self, step: Step) -> list[Outgoing]:
        data = msgspec.msgpack.encode(step)
        parts = [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)]
        return [
            self._record(JOURNAL + b"%d" % i, msgspec.msgpack.encode(_Chunk(self.epoch, step.seq, i, len(parts), part)))
            for i, part in enumerate(parts)
        ]

    def entries(self, step: Step) -> list[Outgoing]:
        head = b"[%d,%d,%d," % (self.epoch, step.seq, step.version)
        stamp: Headers = [(STAMP, b"%d.%d" % (self.epoch, step.seq))]
        return [
            self._record(ENTRY + key.encode(), head + entry + b"]")
            if entry is not None
            else self._record(ENTRY + key.encode(), None, stamp)
            for key, entry in step.entries.items()
        ]

    def meta(self, step: Step, sent: int) -> list[Outgoing]:
        meta = _Meta(self.epoch, step.seq, sent, step.applied.topic_id, step.applied.offset)
        return [self._record(META, msgspec.json.encode(meta))]

    def mark(self, key: str, value: bytes | None) -> Outgoing:
        return self._record(MARK + key.encode(), value)

    def _record(self, key: bytes, value: bytes | None, headers: Headers | None = None) -> Outgoing:
        return Outgoing(self.topic, value, key, headers, partition=self.partition)


_claim = msgspec.json.Decoder(_Claim).decode
_meta = msgspec.json.Decoder(_Meta).decode
_chunk = msgspec.msgpack.Decoder(_Chunk).decode
_step = msgspec.msgpack.Decoder(Step).decode
_stored = msgspec.json.Decoder(Stored).decode


class Reader(Generic[E]):
    """Reads the log of one partition in order, as owner-to-be `owner`: first everything, then, once it has seen its own
    claim hold, only who writes (`epoch`), what is confirmed (`confirmed`) and what hides entries (`stale`).

    Raises Fatal for a record it cannot read: going on would lose state.
    """

    def __init__(self, owner: str, decode: Callable[[str, int, bytes], E]) -> None:
        self.owner = owner
        self.mine = 0
        """The epoch of our claim that held, 0 before."""
        self.refused = 0
        """The epoch of our last claim that did not hold."""
        self.epoch = 0
        self.seq = 0
        """The last step of which any chunk was seen."""
        self.confirmed = 0
        """The last step of ours seen whole in the journal."""
        self.entries: dict[str, E] = {}
        self.applied = Applied()
        self.redo: Step | None = None
        """The last step, when its outputs may not have left."""
        self.stale: deque[str] = deque()
        """Keys of entries to write again. Filled by the reading thread, emptied by the owner."""
        self.marks: dict[str, bytes] = {}
        """Notes by key. Filled by the reading thread: look keys up, do not iterate."""
        self._decode = decode
        self._chunks: dict[int, bytes] = {}

    def add(self, key: bytes | None, value: bytes | None, headers: Callable[[], Any]) -> None:
        key = key or b""
        try:
            if key.startswith(ENTRY):
                self._entry(key[len(ENTRY) :].decode(), value, headers)
            elif key.startswith(JOURNAL) and value is not None:
                self._journal(_chunk(value))
            elif key == META and value is not None:
                self._meta(_meta(value))
            elif key == OWNER and value is not None:
                self._owner(_claim(value))
            elif key.startswith(MARK):
                self._mark(key[len(MARK) :].decode(), value)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            raise Fatal("state_unreadable", f"record {key[:80]!r}: {error}") from error

    def take(self) -> tuple[dict[str, E], Applied]:
        """What the owner starts with, the last step included. Call once our claim held."""
        entries, self.entries = self.entries, {}
        if self.redo is None:
            return entries, self.applied
        for key, raw in self.redo.entries.items():
            if raw is None:
                entries.pop(key, None)
            else:
                entries[key] = self._decode(key, self.redo.version, raw)
        return entries, self.redo.applied

    def _mark(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.marks.pop(key, None)
        else:
            self.marks[key] = value

    def _owner(self, claim: _Claim) -> None:
        ours = claim.owner == self.owner
        if claim.epoch > self.epoch:
            self.epoch = claim.epoch
            self._chunks = {}
            if ours:
                self.mine = claim.epoch
        elif ours and claim.epoch != self.mine:
            self.refused = claim.epoch

    def _journal(self, chunk: _Chunk) -> None:
        if self._over(chunk.epoch, chunk.seq):
            return
        if chunk.seq > self.seq or chunk.epoch > self.epoch:
            self.epoch, self.seq, self._chunks = chunk.epoch, chunk.seq, {}
            self.redo = None  # a step is begun only when all of the one before has left
        self._chunks[chunk.index] = b"" if self.mine else chunk.data
        if len(self._chunks) == chunk.count:
            if self.mine == chunk.epoch:
                self.confirmed = chunk.seq
            elif not self.mine:
                self.redo = _step(b"".join(self._chunks[i] for i in range(chunk.count)))

    def _entry(self, key: str, value: bytes | None, headers: Callable[[], Any]) -> None:
        if value is None:
            epoch, _, seq = dict(headers() or ()).get(STAMP, b"0.0").partition(b".")
            stored = None
            over = self._over(int(epoch), int(seq))
        else:
            stored = _stored(value)
            over = self._over(stored.epoch, stored.seq)
        if over:
            self.stale.append(key)
        elif self.mine:
            return
        elif stored is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = self._decode(key, stored.version, bytes(stored.entry))

    def _meta(self, meta: _Meta) -> None:
        if self.mine or self._over(meta.epoch, meta.seq):
            return
        self.applied = Applied(meta.topic_id, meta.offset)
        self.epoch = max(self.epoch, meta.epoch)
        self.seq = max(self.seq, meta.seq)
        if self.redo is not None and meta.sent >= self.redo.seq:
            self.redo = None

    def _over(self, epoch: int, seq: int) -> bool:
        return epoch < self.epoch or seq < self.seq
