"""Writing a batch in bulk requests: each record until it is stored, or known that it never can be.

An item answered 429, 503 or anything else that is about the server goes again by itself, as long as others get through;
one that is refused is stored in its fallback form; a request that is too large goes in halves. What even that leaves is
Invalid, by position. A whole request that fails is Retryable: the batch comes again, and what was stored of it is
answered 409 then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from streams.batch import Batch
from streams.errors import Invalid, Retryable
from streams.metrics import INDEX_FALLBACKS
from streams.sinks.index.elasticsearch import bulk, reply
from streams.sinks.index.elasticsearch.client import Client
from streams.sinks.index.elasticsearch.pace import Pace
from streams.sinks.index.elasticsearch.templates import SEARCHED
from streams.sinks.index.elasticsearch.tiers import Names
from streams.sinks.index.port import Kind

log = structlog.get_logger(__name__)

ATTEMPTS = 6
"""Times in a row that none of the items sent was taken, before the whole batch is to come again."""
FIRST_PAUSE_S = 0.2
"""Items answered "later" are sent again after 0.2 s; after 0.4, 0.8 ... s while none is taken."""
PATIENCE_S = 20.0
"""How long items are sent again one by one: well within the worker's watchdog (60 s), which sees no progress in it."""


class Sent(NamedTuple):
    """What was not stored: positions rendering (or size) rules out, and those whose document the server refused."""

    bad: dict[int, str]
    refused: dict[int, str]


class Writer:
    def __init__(self, http: Callable[[], Client], names: Names) -> None:
        self._http = http
        self._names = names
        self._pace = Pace()

    async def write(self, kind: Kind, batch: Batch) -> None:
        """Return when every record is stored. Raises Invalid("refused") naming those that cannot be (the others are
        stored), Retryable when some are not taken for now."""
        size = batch.nbytes or sum(len(message.value() or b"") for message in batch.messages)
        step = max(1, len(batch) * self._pace.request_bytes // max(size, 1))
        parts = [range(start, min(start + step, len(batch))) for start in range(0, len(batch), step)]
        bad = await self._store_all(kind, batch, parts)
        if bad:
            raise Invalid("refused", next(iter(bad.values())), bad)

    async def _store_all(self, kind: Kind, batch: Batch, parts: Sequence[range]) -> dict[int, str]:
        """Several parts at once; the first that fails ends the others, since all of them will be sent again."""
        tasks = [asyncio.create_task(self._store(kind, batch, part)) for part in parts]
        try:
            results = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return {position: why for result in results for position, why in result.items()}

    async def _store(self, kind: Kind, batch: Batch, part: Sequence[int]) -> dict[int, str]:
        """Store a part of a batch; returns the positions that can never be, and why."""
        sent = await self._send(bulk.plain, kind, batch, part)
        if not sent.refused:
            return sent.bad
        again = await self._send(bulk.fallback(sent.refused), kind, batch, sorted(sent.refused))
        lost = again.bad | again.refused
        _count(kind, {position: why for position, why in sent.refused.items() if position not in lost})
        return sent.bad | {position: _both(sent.refused[position], why) for position, why in lost.items()}

    async def _send(self, render: bulk.Render, kind: Kind, batch: Batch, part: Sequence[int]) -> Sent:
        """Send records until each is stored, or known not to be. Raises Retryable when some are not taken for now."""
        sent, stuck = Sent({}, {}), 0
        now = asyncio.get_running_loop().time
        end = now() + PATIENCE_S
        while True:
            async with self._pace.slot():
                body, unfit = render(kind, self._names, batch, part)
                sent.bad.update(unfit)
                if not body.positions:
                    return sent
                try:
                    verdict = await self._bulk(body)
                except Invalid as error:
                    whole, positions = error, body.positions
                    break
                del body
            sent.refused.update(verdict.refused)
            if not verdict.again:
                return sent
            stuck = stuck + 1 if len(verdict.again) == len(part) else 0
            part = sorted(verdict.again)
            if stuck == ATTEMPTS or now() > end:
                why = verdict.again[part[0]]
                raise Retryable("index_busy", f"{len(part)} of {len(batch)} records not taken: {why}")
            await asyncio.sleep(FIRST_PAUSE_S * 2 ** max(0, stuck - 1))
        return await self._halve(whole, render, kind, batch, positions, sent)

    async def _halve(
        self, error: Invalid, render: bulk.Render, kind: Kind, batch: Batch, positions: Sequence[int], sent: Sent
    ) -> Sent:
        """A request refused as a whole (413, mostly) goes again in halves, until it is about a single record."""
        if len(positions) == 1:
            target = sent.bad if error.reason == "too_large" else sent.refused
            target[positions[0]] = str(error)
            return sent
        middle = len(positions) // 2
        for half in (positions[:middle], positions[middle:]):
            more = await self._send(render, kind, batch, half)
            sent.bad.update(more.bad)
            sent.refused.update(more.refused)
        return sent

    async def _bulk(self, body: bulk.Body) -> reply.Verdict:
        path = f"/{body.target}/_bulk" if body.target else "/_bulk"
        now = asyncio.get_running_loop().time
        begun = now()
        try:
            answer = await self._http().request("POST", path, body.payload, filter_path=reply.FILTER)
        except Invalid as error:
            if error.reason == "too_large" and len(body.positions) > 1:
                self._pace.too_large(len(body.payload))
            raise
        except Retryable as error:
            if error.reason == "index_busy":
                self._pace.busy()
            raise
        verdict = reply.judge(answer, body.positions)
        if verdict.again:
            self._pace.busy()
        else:
            self._pace.taken(now() - begun)
        return verdict


def _count(kind: Kind, stored: dict[int, str]) -> None:
    """Tell which fields kept records from being stored as they came. What a sender wrote never becomes a label."""
    if not stored:
        return
    fields: dict[str, int] = {}
    for why in stored.values():
        field = reply.field_of(why)
        field = field if field in SEARCHED else "other"
        fields[field] = fields.get(field, 0) + 1
    for field, count in fields.items():
        INDEX_FALLBACKS.labels(kind.value, field).inc(count)
    log.warning("index.fallback", kind=kind.value, fields=fields, example=next(iter(stored.values())))


def _both(first: str, second: str) -> str:
    return second if first == second else f"{second} (as it came: {first})"
