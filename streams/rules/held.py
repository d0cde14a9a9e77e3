"""The rules of one worker: files read at its start and again when told to, and what the API stored, as it changes.
Shared by the agents that need them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec
import structlog

from schemas.platform import Control
from schemas.rules import Match, RuleDocument, document_key
from streams.metrics import RULES_REFUSED
from streams.rules.ruleset import Loader, RuleSet
from streams.rules.stored import TOPIC, Stored

if TYPE_CHECKING:
    from streams.views import View
    from streams.worker import Worker

log = structlog.get_logger(__name__)

CHANGED = "rules.changed"
WAIT_MS = 60_000
"""How long windows wait for a version of a rule that a matcher knows already. After that it is not on its way."""


class Rules:
    """`current` is replaced as a whole; a rule set that did not change stays the same object. While `documents` are not
    read yet, it is not complete, and nothing may be decided by what is missing in it."""

    def __init__(
        self,
        folder: str,
        documents: View[RuleDocument] | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._loader = Loader(folder)
        self._documents = documents
        self._stored = Stored()
        self._clock = clock
        self._lock = asyncio.Lock()
        self._loaded = asyncio.Event()
        self._stale = False
        self._following: asyncio.Task[None] | None = None
        self._waited: dict[tuple[str, int], int] = {}
        self._versions: dict[str, int] = {}
        self.current: RuleSet = self._load({}, complete=documents is None)
        if documents is None:
            self._loaded.set()
        else:
            documents.on_change(lambda _key, _document: self._changed())

    @property
    def ready(self) -> bool:
        """Whether files and stored rules are known."""
        return self._loaded.is_set()

    async def wait(self) -> None:
        """Until they are: a record may not pass while some rules are not known."""
        if not self.ready and self._documents is not None and self._documents.ready:
            await self.load()
        await self._loaded.wait()

    def waits_for(self, match: Match) -> bool:
        """Whether `match` is of a newer version of a stored rule than is known here: it comes in a moment."""
        key = document_key(match.rule)
        if match.version <= self._versions.get(key, 0):
            return False
        now_ms = self._clock()
        since_ms = self._waited.setdefault((key, match.version), now_ms)
        if len(self._waited) > 1000:
            self._waited = {asked: at_ms for asked, at_ms in self._waited.items() if at_ms + WAIT_MS > now_ms}
        return now_ms - since_ms < WAIT_MS

    def _load(self, documents: Mapping[str, RuleDocument], *, complete: bool) -> RuleSet:
        stored = self._stored.read(documents.values())
        rules = self._loader.load(stored.rules, complete=complete)
        for line in stored.errors:
            log.error("rules.refused", error=line)
        errors = len(self._loader.errors) + len(stored.errors)
        RULES_REFUSED.set(errors)
        log.info("rules.loaded", rules=len(rules.rules), stored=len(stored.rules), errors=errors)
        return rules

    async def load(self) -> None:
        """Read everything again."""
        async with self._lock:
            documents = self._documents
            ready = documents is None or documents.ready
            known = dict(documents.items()) if documents is not None else {}
            rules = await asyncio.to_thread(self._load, known, complete=ready)
            if rules.rules != self.current.rules or rules.complete != self.current.complete:
                self.current = rules
            self._versions = {key: document.version for key, document in known.items()}
            if ready:
                self._loaded.set()

    def _changed(self) -> None:
        """Some documents changed: read them, once for all that change meanwhile."""
        self._stale = True
        if self._following is None or self._following.done():
            self._following = asyncio.get_running_loop().create_task(self._follow(), name="rules")

    async def _follow(self) -> None:
        while self._stale:
            self._stale = False
            try:
                await self.load()
            except Exception:  # whatever it was, the next change is read
                log.exception("rules.load_failed")

    async def control(self, message: Control) -> None:
        if message.type == CHANGED:
            await self.load()


_held: WeakKeyDictionary[Worker, Rules] = WeakKeyDictionary()
decode_document = msgspec.json.Decoder(RuleDocument).decode


def rules_of(worker: Worker) -> Rules:
    if worker not in _held:
        view = worker.view(TOPIC, decode_document)
        rules = _held[worker] = Rules(worker.settings.rules.dir, view, worker.clock)
        worker.on_control(rules.control)
    return _held[worker]
