"""The rules of one worker: read at its start and again when told to, shared by the agents that need them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import structlog

from schemas.platform import Control
from streams.metrics import RULES_REFUSED
from streams.rules.ruleset import Loader, RuleSet

if TYPE_CHECKING:
    from streams.worker import Worker

log = structlog.get_logger(__name__)

CHANGED = "rules.changed"


class Rules:
    """`current` is replaced as a whole; a rule set that did not change stays the same object."""

    def __init__(self, folder: str) -> None:
        self._loader = Loader(folder)
        self.current: RuleSet = self._load()

    def _load(self) -> RuleSet:
        rules = self._loader.load()
        RULES_REFUSED.set(len(self._loader.errors))
        log.info("rules.loaded", rules=len(rules.rules), errors=len(self._loader.errors))
        return rules

    async def control(self, message: Control) -> None:
        if message.type == CHANGED:
            rules = await asyncio.to_thread(self._load)
            if rules.rules != self.current.rules or rules.complete != self.current.complete:
                self.current = rules


_held: WeakKeyDictionary[Worker, Rules] = WeakKeyDictionary()


def rules_of(worker: Worker) -> Rules:
    if worker not in _held:
        rules = _held[worker] = Rules(worker.settings.rules.dir)
        worker.on_control(rules.control)
    return _held[worker]
