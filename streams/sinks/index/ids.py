"""Ids, days and places of documents: functions of the record alone, so that writing it again changes nothing. Pure."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from streams.batch import Message
from streams.sinks.index.port import Kind

MAX_ID_BYTES = 400
"""Longer record keys are hashed (Elasticsearch takes 512 bytes)."""
DAY_MS = 86_400_000
OLDEST_MS = 1_577_836_800_000
NEWEST_MS = 2_082_758_400_000
"""Times outside 2020 to 2036 are taken for mistakes: their documents go into one index, not each into its own. Clocks
that were never set (1970, 2000, NTP's 2036) or overflow (2038) must not make an index a day."""
MAX_TIME_MS = (1 << 43) - 1
UNDATED = "undated"


def document_id(kind: Kind, topic_id: str, partition: int, message: Message, record: dict[str, Any] | None) -> str:
    """The document id of a record of `topic_id` (Kafka's id of the topic, so that a recreated topic's are others).

    Logs: the record's key. Other kinds: the field `id` of `record`. Without one: where it stands.
    """
    if kind is Kind.LOGS:
        return key_id(message.key()) or place_id(topic_id, partition, message.offset())
    own = (record or {}).get("id")
    given = own.encode("utf-8", "surrogatepass") if isinstance(own, str) else None
    return key_id(given) or place_id(topic_id, partition, message.offset())


def key_id(key: bytes | None) -> str:
    """A record key as an id: itself when it is short UTF-8 text, else its hash; empty for no key."""
    if not key:
        return ""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = ""
    if not text or len(key) > MAX_ID_BYTES:
        return "sha256-" + hashlib.sha256(key).hexdigest()
    return text


def place_id(topic_id: str, partition: int, offset: int) -> str:
    return f"{topic_id}-{partition}-{offset}"


def day_of(time_ms: int) -> int:
    """Days since the epoch (UTC), -1 for a time that cannot be right."""
    return time_ms // DAY_MS if OLDEST_MS <= time_ms < NEWEST_MS else -1


@lru_cache(maxsize=1024)
def index_name(prefix: str, kind: Kind, day: int, tier: str = "") -> str:
    """`<prefix>-logs-2026.11.24`, `<prefix>-logs-undated` for day -1, `<prefix>-logs-<tier>-2026.11.24`."""
    date = UNDATED if day < 0 else datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y.%m.%d")
    return "-".join(part for part in (prefix, kind.value, tier, date) if part)


def sort_time(time_ms: int) -> int:
    """The time a document is sorted by: Kafka's, kept within what an index can hold."""
    return min(max(time_ms, 0), MAX_TIME_MS)
