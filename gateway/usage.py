"""Accounts as the gateway reads them: the lines of every partition, as of what its agent has committed (account.py).

Pages come from a complete copy of `platform.accounts`, what they do not hold yet from the commits' metadata. Pages
older than `KEPT_HOURS` are taken out by the gateway.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import NamedTuple

import msgspec
import structlog

from gateway.cluster import OURS, Snapshot
from schemas.accounts import AccountPage, Page
from streams.account import rows_of, summed
from streams.accounts import HOUR_MS, Tally
from streams.book import TOPIC
from streams.errors import Failure, Retryable
from streams.latency import Minutes
from streams.producer import Producer
from streams.record import Outgoing
from streams.settings import Kafka
from streams.sinks.index.port import Index, Kind, Query
from streams.views import View

log = structlog.get_logger(__name__)

KEPT_HOURS = 32 * 24
PRUNE_S = 3600.0


class Subject(NamedTuple):
    """Whose lines: of an agent, or of a source, and which topic's records. `topic_id`: Kafka's id of the topic, or the
    source's instance."""

    agent: str
    topic: str
    topic_id: str
    source: bool = False


class Usage:
    """Starts empty; `view` is to be started and closed with the process."""

    def __init__(self, kafka: Kafka) -> None:
        self.view: View[AccountPage] = View(kafka, TOPIC, msgspec.json.Decoder(AccountPage).decode)
        self._seen: Snapshot | None = None
        self._lines: dict[Subject, Tally] = {}
        self._counting = asyncio.Lock()

    async def lines(self, seen: Snapshot) -> dict[Subject, Tally]:
        """All lines as of `seen`, counted beside the event loop: months of many namespaces take a while."""
        async with self._counting:
            if seen is not self._seen:
                pages = list(self.view.values())
                self._lines = await asyncio.to_thread(lines, pages, seen)
                self._seen = seen
            return self._lines

    async def complete(self, seen: Snapshot) -> dict[Subject, Tally]:
        """The same. Raises Retryable while pages of before this process's start are still being read."""
        if not self.view.ready:
            raise Retryable("views", "accounts are still being read")
        return await self.lines(seen)

    async def keep(self, producer: Producer, clock: Callable[[], int]) -> None:
        """Take old pages out, now and then, for ever."""
        while True:
            await asyncio.sleep(PRUNE_S)
            try:
                await producer.send(outdated(self.view.values(), clock()))
            except Failure as error:
                log.warning("usage.prune_failed", error=str(error))


def outdated(pages: Iterable[AccountPage], now_ms: int) -> list[Outgoing]:
    """Tombstones of pages too old to be kept."""
    oldest = now_ms // HOUR_MS - KEPT_HOURS
    return [Outgoing(TOPIC, None, page.key.encode()) for page in pages if page.hour < oldest]


def lines(pages: Iterable[AccountPage], seen: Snapshot) -> dict[Subject, Tally]:
    """Lines by subject. Pure. Of a topic that is there now, the account its agent's commits name; of a former one (made
    anew since), what was last written of it."""
    found: dict[Subject, dict[int, dict[int, dict[int, dict[int, Page]]]]] = defaultdict(dict)
    for each in pages:
        subject = Subject(each.agent, each.topic, each.topic_id, each.source)
        epochs = found[subject].setdefault(each.partition, {})
        epochs.setdefault(each.epoch, {}).setdefault(each.term, {})[each.hour] = each.page
    for group, topics in seen.notes.items():
        for topic, notes in topics.items():
            for partition in notes:
                found[Subject(group.removeprefix(OURS), topic, seen.ids.get(topic, ""))].setdefault(partition, {})
    return {subject: _lines(subject, partitions, seen) for subject, partitions in found.items()}


def _lines(
    subject: Subject, partitions: Mapping[int, Mapping[int, Mapping[int, Mapping[int, Page]]]], seen: Snapshot
) -> Tally:
    current = not subject.source and seen.ids.get(subject.topic) == subject.topic_id
    notes = seen.notes.get(OURS + subject.agent, {}).get(subject.topic, {}) if current else {}
    found = []
    for partition, epochs in partitions.items():
        note = notes.get(partition)
        if note is not None:
            found.append(rows_of(epochs.get(note.e, {}), note))
        elif epochs and not current:
            found.append(rows_of(epochs[max(epochs)], None))
    return summed(chain.from_iterable(found))


def minutes_of(seen: Snapshot, agent: str) -> list[Minutes]:
    """How late records were lately, of each partition of an agent."""
    return [note.m for notes in seen.notes.get(OURS + agent, {}).values() for note in notes.values()]


WORKSPACE = "kubesphere.io/workspace"
"""The label by which KubeSphere puts a namespace into a workspace."""
MAX_NAMESPACES = 1000


async def workspaces(index: Index) -> dict[tuple[str, str], str]:
    """(cluster, namespace) -> workspace, of the namespaces last seen in `kube.objects`. Raises Retryable."""
    found = await index.search(Query(kind=Kind.OBJECTS, names=("Namespace",), limit=MAX_NAMESPACES))
    out: dict[tuple[str, str], str] = {}
    for hit in found.items:  # newest first
        labels = hit.record.get("object", {}).get("metadata", {}).get("labels") or {}
        if hit.record.get("kind") == "Namespace":
            where = str(hit.record.get("cluster", "")), str(hit.record.get("name", ""))
            out.setdefault(where, str(labels.get(WORKSPACE, "")))
    return out
