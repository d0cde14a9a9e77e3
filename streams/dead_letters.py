"""Dead letters: the original bytes on `<topic>.dlq`, and in headers (Kafka Connect's names) where from and why.

A letter of stage `source` holds bytes that never reached a topic: cut at a limit, with the SHA-256 of all of them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import msgspec

from schemas.catalogue import DLQ_SUFFIX, dlq_name
from streams.errors import Fatal
from streams.record import Headers, Outgoing, Record

PREFIX = "__connect.errors."
ATTEMPT = "eventsphere.attempt"
VERSION = "eventsphere.version"
TIME = "eventsphere.timestamp"
PEER = "eventsphere.peer"
SHA256 = "eventsphere.sha256"
SIZE = "eventsphere.size"
STAGE_SOURCE = "source"
SOURCE_LIMIT = 64 << 10
"""Bytes of a source-stage letter that are kept."""
MESSAGE_LIMIT = 1024
MINUTE_MS = 60_000

try:
    OWN_VERSION = version("eventsphere")
except PackageNotFoundError:  # run from a tree that is not installed
    OWN_VERSION = "0"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as read back from its topic."""

    topic: str
    """Where it was bound for: replaying it produces it there again."""
    partition: int = -1
    offset: int = -1
    """Where the original stands in `topic`; -1: it never got there."""
    stage: str = ""
    reason: str = ""
    detail: str = ""
    attempt: int = 0
    version: str = ""
    peer: str = ""
    sha256: str = ""
    size: int = 0
    """Bytes of the original; more than `value` when it was cut, and then it cannot be replayed."""
    value: bytes | None = None
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = []
    """The original's own."""
    time_ms: int = 0
    """The original's Kafka timestamp; the letter's own says when it was written, so that it is kept as long as others
    however old the original is."""

    @property
    def complete(self) -> bool:
        return self.size == len(self.value or b"")


def letter(record: Record, *, agent: str, reason: str, detail: str, attempt: int) -> Outgoing:
    """The dead letter of a consumed record that `agent` could not take."""
    about = _about(record.topic, record.partition, record.offset, agent, reason, detail)
    about += [(ATTEMPT, str(attempt).encode()), (VERSION, OWN_VERSION.encode())]
    about.append((TIME, str(max(record.timestamp_ms, 0)).encode()))
    return Outgoing(dlq_name(record.topic), record.value, record.key, [*(record.headers or []), *about])


def source_letter(
    topic: str, data: bytes, *, peer: str, reason: str, detail: str, now_ms: int, limit: int = SOURCE_LIMIT
) -> Outgoing:
    """The dead letter of bytes a source received for `topic` and could not take."""
    about = _about(topic, -1, -1, STAGE_SOURCE, reason, detail)
    about += [
        (ATTEMPT, b"1"),
        (VERSION, OWN_VERSION.encode()),
        (PEER, _text(peer, MESSAGE_LIMIT)),
        (SHA256, hashlib.sha256(data).hexdigest().encode()),
        (SIZE, str(len(data)).encode()),
    ]
    return Outgoing(dlq_name(topic), data[:limit], None, about, now_ms)


def cut(dead: Outgoing, limit: int = SOURCE_LIMIT) -> Outgoing:
    """A letter that is over its topic's limit, with the first bytes only, and without the original's headers."""
    value = dead.value or b""
    about = [(n, v) for n, v in dead.headers or [] if n.startswith(PREFIX) or n in (ATTEMPT, VERSION, TIME)]
    about += [(SHA256, hashlib.sha256(value).hexdigest().encode()), (SIZE, str(len(value)).encode())]
    return dead._replace(value=value[:limit], headers=about)


def parse(record: Record) -> DeadLetter:
    """A record of a dead-letter topic, read back. What is not there is left at its default: anyone may write there."""
    ours: dict[str, str] = {}
    theirs: Headers = []
    for name, value in record.headers or []:
        if name.startswith(PREFIX) or name in (ATTEMPT, VERSION, TIME, PEER, SHA256, SIZE):
            ours[name] = (value or b"").decode("utf-8", "replace")
        else:
            theirs.append((name, value))
    return DeadLetter(
        topic=ours.get(PREFIX + "topic", record.topic.removesuffix(DLQ_SUFFIX)),
        partition=_number(ours.get(PREFIX + "partition"), -1),
        offset=_number(ours.get(PREFIX + "offset"), -1),
        stage=ours.get(PREFIX + "stage", ""),
        reason=ours.get(PREFIX + "exception.class.name", ""),
        detail=ours.get(PREFIX + "exception.message", ""),
        attempt=_number(ours.get(ATTEMPT), 0),
        version=ours.get(VERSION, ""),
        peer=ours.get(PEER, ""),
        sha256=ours.get(SHA256, ""),
        size=_number(ours.get(SIZE), len(record.value or b"")),
        value=record.value,
        key=record.key,
        headers=theirs,
        time_ms=_number(ours.get(TIME), record.timestamp_ms),
    )


class DeadLetterLimit:
    """Stops a worker that would dead-letter everything: so many letters of unknown cause within a minute."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._times: deque[int] = deque()

    def count(self, limit: int) -> None:
        """One more is about to be written. Raises Fatal when it would be one more than `limit`."""
        now = self._clock()
        while self._times and self._times[0] <= now - MINUTE_MS:
            self._times.popleft()
        if len(self._times) >= limit:
            raise Fatal("dead_letter_limit", f"more than {limit} dead letters of unknown cause within a minute")
        self._times.append(now)


def _about(topic: str, partition: int, offset: int, stage: str, reason: str, detail: str) -> Headers:
    return [
        (PREFIX + "topic", topic.encode()),
        (PREFIX + "partition", str(partition).encode()),
        (PREFIX + "offset", str(offset).encode()),
        (PREFIX + "stage", stage.encode()),
        (PREFIX + "exception.class.name", reason.encode()),
        (PREFIX + "exception.message", _text(detail, MESSAGE_LIMIT)),
    ]


def _text(text: str, limit: int) -> bytes:
    return text[:limit].encode("utf-8", "replace")


def _number(text: str | None, default: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        return default
