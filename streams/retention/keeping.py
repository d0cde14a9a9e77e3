"""What is to be deleted of the parts an index is kept in, and deleting it: what expired, then what is over the limit.

A part goes as a whole when everything in it has expired, whosever it is; of a younger one goes what has expired of it,
where the index can do that. Whoever does this twice, or two at once, deletes the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

import msgspec
import structlog

from streams.metrics import INDEX_BYTES, INDEX_DOCUMENTS, INDEX_REMOVED
from streams.retention.policy import Policy
from streams.sinks.index.ids import DAY_MS
from streams.sinks.index.port import Index, Kind, Stored

log = structlog.get_logger(__name__)


class Why(StrEnum):
    EXPIRED = "expired"
    SIZE = "size"


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What went of a part."""

    part: Stored
    documents: int
    why: Why


def may_have_expired(parts: Iterable[Stored], policy: Policy, now_ms: int) -> list[Stored]:
    """Parts with times from before somebody's limit. Pure."""
    return [each for each in parts if each.dated and each.from_ms < policy.newest_expired_ms(each.kind, now_ms)]


def expired_whole(part: Stored, places: set[tuple[str, str]] | None, policy: Policy, now_ms: int) -> bool:
    """Whether everything in a part has expired. `places`: whose records are in it, None when that is unknown. Pure."""
    if places is None:
        limits = [rule.days for rule in policy.rules(part.kind)]
    else:
        limits = [policy.days(part.kind, _named(cluster), _named(namespace)) for cluster, namespace in places]
    return all(part.to_ms <= now_ms - days * DAY_MS for days in limits)


def _named(value: str) -> tuple[str, ...]:
    return (value,) if value else ()


def over(parts: Sequence[Stored], max_bytes: int) -> list[Stored]:
    """What has to go so that the rest is within `max_bytes`: of the kind that takes most, its oldest part, and again.
    Undated parts count as old. Pure."""
    left: dict[Kind, list[Stored]] = defaultdict(list)
    for part in sorted(parts, key=lambda each: (each.dated, each.from_ms)):
        left[part.kind].append(part)
    sizes = {kind: sum(part.nbytes for part in of_kind) for kind, of_kind in left.items()}
    out = []
    while sum(sizes.values()) > max_bytes:
        largest = max(sizes, key=lambda kind: sizes[kind])
        part = left[largest].pop(0)
        sizes[largest] -= part.nbytes
        out.append(part)
    return out


class Keeper:
    """Applies a policy and a limit to an index. `clock` gives ms since the epoch."""

    def __init__(self, index: Index, policy: Policy, clock: Callable[[], int]) -> None:
        self._index = index
        self._policy = policy
        self._clock = clock
        self._done: dict[str, tuple[int, int]] = {}
        """Of each part, the documents and the limit with which there was nothing more to delete in it."""

    async def expire(self) -> list[Removed]:
        """Delete what has expired. Raises Retryable."""
        now_ms = self._clock()
        out = []
        for part in may_have_expired(await self._index.stored(), self._policy, now_ms):
            removed = await self._expire(part, now_ms)
            if removed is not None and removed.documents:
                out.append(removed)
                self._tell(removed)
        return out

    async def _expire(self, part: Stored, now_ms: int) -> Removed | None:
        if expired_whole(part, await self._index.places(part), self._policy, now_ms):
            await self._index.remove(part)
            self._done.pop(part.name, None)
            return Removed(part=part, documents=part.documents, why=Why.EXPIRED)
        gone = self._policy.gone(part.kind, now_ms)
        until = min(part.to_ms, self._policy.newest_expired_ms(part.kind, now_ms))
        # A whole hour at a time: deleting in small steps makes an engine rewrite the same again and again.
        state = (part.documents, until // 3_600_000)
        if gone is None or self._done.get(part.name) == state:
            return None
        deleted = await self._index.remove_part(part, gone)
        self._done[part.name] = (part.documents - deleted, state[1])
        return Removed(part=part, documents=deleted, why=Why.EXPIRED)

    async def surplus(self, max_bytes: int) -> list[Stored]:
        """What has to go for the limit, of the parts there are now."""
        parts = await self._index.stored()
        self._measure(parts)
        return over(parts, max_bytes) if max_bytes > 0 else []

    async def remove(self, part: Stored) -> Removed:
        await self._index.remove(part)
        removed = Removed(part=part, documents=part.documents, why=Why.SIZE)
        self._tell(removed)
        return removed

    def _measure(self, parts: Sequence[Stored]) -> None:
        for kind in Kind:
            of_kind = [part for part in parts if part.kind is kind]
            INDEX_BYTES.labels(kind.value).set(sum(part.nbytes for part in of_kind))
            INDEX_DOCUMENTS.labels(kind.value).set(sum(part.documents for part in of_kind))

    def _tell(self, removed: Removed) -> None:
        INDEX_REMOVED.labels(removed.part.kind.value, removed.why.value).inc(removed.documents)
        log.info("retention.removed", part=removed.part.name, documents=removed.documents, reason=removed.why.value)
