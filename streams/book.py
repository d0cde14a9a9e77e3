"""Keeps the accounts of a batch source's partitions (account.py): begins them, and flushes to `platform.accounts`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import structlog

from schemas.accounts import AccountPage
from schemas.base import encode
from schemas.headers import cloud_headers
from streams.account import Account, Note
from streams.census import Census, Places
from streams.errors import Failure
from streams.offsets import Tracker
from streams.producer import Producer
from streams.record import Outgoing

log = structlog.get_logger(__name__)

TP = tuple[str, int]
TOPIC = "platform.accounts"
RETRY_S = 1.0
FOLD_AFTER = 10
"""Flushes that failed one after another before lines that hold up commits are no longer told apart."""
LAST_FLUSH_S = 3.0
"""How long a partition that is given up waits for its last flush; its last batches come again otherwise."""


class Book:
    """One a source. `places`: whose the records are (census.py)."""

    def __init__(self, agent: str, cluster: str, places: Places, producer: Producer, clock: Callable[[], int]) -> None:
        self.census = Census(agent, places, clock)
        self._agent = agent
        self._cluster = cluster
        self._producer = producer
        self._clock = clock
        self._flushes: dict[TP, asyncio.Task[None]] = {}

    def open(self, upto: int, note: Note | None) -> Account:
        """The account of a partition just taken over."""
        return Account(upto, note, self._clock)

    def flush_due(self, trackers: Mapping[TP, Tracker]) -> None:
        """Begin the flushes that are due, beside the reading."""
        for tp, tracker in trackers.items():
            tracker.advance()
            self._begin(tp, tracker)

    async def finish(self, trackers: Mapping[TP, Tracker]) -> None:
        """Flush what these partitions, about to be given up, counted. Bounded: what cannot be flushed is committed in
        the note, or, where it does not fit, comes again."""
        for tp, tracker in trackers.items():
            tracker.advance()
            self._begin(tp, tracker, force=True)
        if running := [task for tp, task in self._flushes.items() if tp in trackers]:
            await asyncio.wait(running, timeout=LAST_FLUSH_S)

    def _begin(self, tp: TP, tracker: Tracker, *, force: bool = False) -> None:
        account = tracker.account
        if tp in self._flushes or account is None or not (account.due or (force and account.may_flush)):
            return
        task = asyncio.get_running_loop().create_task(self._flush(tp, tracker, account), name="flush-accounts")
        self._flushes[tp] = task

        def over(_task: asyncio.Task[None]) -> None:
            self._flushes.pop(tp, None)

        task.add_done_callback(over)

    async def _flush(self, tp: TP, tracker: Tracker, account: Account) -> None:
        upto = tracker.position
        pages = [
            AccountPage(
                agent=self._agent,
                topic=tp[0],
                topic_id=tracker.topic_id,
                partition=tp[1],
                epoch=account.epoch,
                term=account.term,
                hour=hour,
                page=page,
                cluster=self._cluster,
            )
            for hour, page in account.flush(upto).items()
        ]
        try:
            await self._producer.send(outgoing(pages, self._clock()))
        except Failure as error:
            log.warning("accounts.flush_failed", agent=self._agent, partition=tp, error=str(error))
            account.failed()
            account.failures += 1
            if account.failures >= FOLD_AFTER and account.note() is None:
                log.error("accounts.folded", agent=self._agent, partition=tp, failures=account.failures)
                account.fold()  # indexing must not stop because its accounts cannot be told apart
            await asyncio.sleep(RETRY_S)
        except BaseException:
            account.failed()
            raise
        else:
            account.flushed_to(upto)
            account.failures = 0


def outgoing(pages: Iterable[AccountPage], now_ms: int) -> list[Outgoing]:
    """The records that publish pages."""
    out = []
    for page in pages:
        headers = cloud_headers(
            topic=TOPIC,
            id=f"{page.key}/{page.page.upto}",
            type="io.eventsphere.account",
            source=f"/agents/{page.agent}",
            time_ms=now_ms,
            subject=page.key,
        )
        out.append(Outgoing(TOPIC, encode(page), page.key.encode(), headers, now_ms))
    return out
