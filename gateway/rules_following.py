"""Keeps `rules.documents` and the database in step, whatever was killed between the one and the other.

A change is committed first and then written to the topic; what did not get there is found by comparing versions, every
few seconds, in every gateway. The higher version wins: the database's, but for one restored from an older copy, which
takes back from the topic what it forgot. So nothing has to be remembered about what was sent, and two gateways that
send the same say the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

import msgspec
import structlog
from sqlmodel import Session

from gateway import rules
from gateway.services import Services
from schemas.base import digest, encode
from schemas.headers import cloud_headers
from schemas.rules import RuleDocument
from schemas.tables import StoredRule
from streams.errors import Failure
from streams.record import Outgoing
from streams.rules.stored import TOPIC
from streams.views import View

log = structlog.get_logger(__name__)

EVERY_S = 2.0


def outgoing(document: RuleDocument) -> Outgoing:
    headers = cloud_headers(
        topic=TOPIC,
        id=digest(document.key, str(document.version)),
        type="rule.stored",
        source="eventsphere/gateway",
        time_ms=document.updated_ms,
        subject=document.key,
    )
    return Outgoing(TOPIC, encode(document), document.key.encode(), headers)


def differing(known: Mapping[str, int], told: Mapping[str, RuleDocument]) -> tuple[list[str], list[RuleDocument]]:
    """Keys of documents whose topic is behind, and documents the database is behind of."""
    behind = [key for key, version in known.items() if key not in told or told[key].version < version]
    return behind, [document for key, document in told.items() if document.version > known.get(key, 0)]


def _row(session: Session, at: tuple[str, str]) -> StoredRule | None:
    return session.get(StoredRule, at)


class Following:
    """`documents`: what the topic says."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._cluster = services.settings.cluster.name or "local"
        self.documents = View(services.settings.kafka, TOPIC, msgspec.json.Decoder(RuleDocument).decode)

    async def run(self) -> None:
        await self.documents.start()
        while True:
            try:
                await self.look()
            except Failure as error:
                log.info("rules.not_in_step", reason=str(error))
            except Exception:  # whatever it was, the next look may do
                log.exception("rules.look_failed")
            await asyncio.sleep(EVERY_S)

    async def close(self) -> None:
        await self.documents.close()

    async def look(self) -> None:
        """Bring both to the same. Raises Retryable when one of them is away."""
        accounts = self._services.accounts
        told = dict(self.documents.items())  # first: what is committed after it is newer
        behind, newer = differing(await accounts.work(rules.versions_known), told)
        for key in behind:
            tenant, _, name = key.rpartition("/")
            row = await accounts.work(partial(_row, at=(tenant, name)))
            if row is not None:
                await self._services.producer.send([outgoing(rules.document(row, self._cluster))])
        for document in newer:
            log.warning("rules.restored", rule=document.key, version=document.version)
            await accounts.work(partial(rules.adopt, found=document))

    async def tell(self, row: StoredRule) -> bool:
        """Write a change that was just committed. False: it goes out later."""
        try:
            await self._services.producer.send([outgoing(rules.document(row, self._cluster))])
        except Failure as error:
            log.warning("rules.told_later", rule=row.name, reason=str(error))
            return False
        return True
