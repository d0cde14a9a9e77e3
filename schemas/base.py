"""What every record family shares: the frozen struct base, times and deterministic ids.

Times are RFC 3339 UTC strings at the edge (JSON) and integer milliseconds since the epoch inside (suffix `_ms`).
Ids are functions of the thing itself, so that redelivery, replay and restart give the same id again.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all record structs: immutable, unknown fields ignored on reading, defaults left out on writing."""


FIRST_MS = -62_135_596_800_000
LAST_MS = 253_402_300_799_999
"""The first and the last millisecond of the years 1 to 9999, which RFC 3339 can write."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - written without an offset


def digest(*parts: str) -> str:
    """A 32 hex digit id of `parts`: 128 bits of SHA-256 over length-prefixed UTF-8 ("a", "bc" is not "ab", "c")."""
    sha = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        sha.update(len(raw).to_bytes(4, "big"))
        sha.update(raw)
    return sha.hexdigest()[:32]


def rfc3339(ms: int) -> str:
    """`ms` since the epoch as RFC 3339 UTC with milliseconds: 1700000000123 -> 2023-11-14T22:13:20.123Z.

    A time outside the years 1 to 9999 is shown as the first or last of them: records of others may hold any number.
    """
    seconds, rest = divmod(min(max(ms, FIRST_MS), LAST_MS), 1000)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}.{rest:03d}Z"


def parse_time(text: str) -> int:
    """RFC 3339 text -> ms since the epoch. Raises ValueError with the text when it is not one."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"not an RFC 3339 time: {text[:64]!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


encode = msgspec.json.Encoder().encode

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they should be: not as expected, not UTF-8, nested too deeply."""
