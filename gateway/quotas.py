"""Quotas as the gateway keeps them: who used how much today, told as metrics, and to workers who is beyond a hard one.

Any number of gateways may do so: they say the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import structlog

from gateway.ledger import Ledger
from gateway.problems import Problem
from gateway.usage import Subject
from schemas.accounts import QuotaExceeded
from schemas.base import encode
from schemas.headers import cloud_headers
from streams.accounts import Line, Sum
from streams.errors import Failure
from streams.metrics import QUOTA_OVER, QUOTA_RATIO, QUOTA_WARNED
from streams.producer import Producer
from streams.quotas import TOPIC, Limits, Used, exceeded, used
from streams.record import Bulk, Outgoing
from streams.settings import Kafka, Quota
from streams.views import View

log = structlog.get_logger(__name__)

LOOK_S = 10.0
LOGS = ("index-logs", "logs")


class Quotas:
    """`view` is to be started and closed with the process, where there are quotas."""

    def __init__(self, quotas: Sequence[Quota], kafka: Kafka, clock: Callable[[], int]) -> None:
        self.quotas = quotas
        self.used: list[Used] = []
        """As last looked at."""
        self.view: View[QuotaExceeded] = View(kafka, TOPIC, msgspec.json.Decoder(QuotaExceeded).decode)
        self._clock = clock
        self._limits = Limits([quota for quota in quotas if quota.hard], self.view.values, clock)

    def refused(self, tenant: str) -> QuotaExceeded | None:
        """The hard quota of a tenant as a whole (or of everybody) that is used up."""
        now_ms, each = self._clock(), {quota.name: quota.each for quota in self.quotas if quota.hard}
        for one in self.view.values():
            whole = each.get(one.quota) == "all" or (each.get(one.quota) == "tenant" and one.tenant == tenant)
            if whole and one.until_ms > now_ms:
                return one
        return None

    def within(self, made: Sequence[Bulk]) -> None:
        """Raises 429 when all records of a request are beyond a hard quota: until the next day. Costs nothing while
        nobody is."""
        first: QuotaExceeded | None = None
        for bulk in made:
            beyond = self._limits.refusal(bulk.values)
            if beyond is None:
                return
            first = first or beyond
        if first is not None:
            raise used_up(first, self._clock())

    def look(self, lines: Mapping[Subject, Mapping[Line, Sum]]) -> list[Outgoing]:
        """Count anew, set the metrics, and return what workers are to be told."""
        logs = [tally for subject, tally in lines.items() if (subject.agent, subject.topic) == LOGS]
        self.used = used(self.quotas, logs, self._clock())
        for quota in self.quotas:
            of = [each for each in self.used if each.quota is quota]
            QUOTA_RATIO.labels(quota.name).set(max((each.ratio for each in of), default=0.0))
            QUOTA_WARNED.labels(quota.name).set(sum(each.ratio >= quota.warn_ratio for each in of))
            QUOTA_OVER.labels(quota.name).set(sum(each.exceeded for each in of))
        wanted = exceeded(self.used)
        known = dict(self.view.items())
        now_ms = self._clock()
        new = [one for key, one in wanted.items() if key not in known or known[key].until_ms != one.until_ms]
        gone = [key for key in known if key not in wanted]
        return [*(_record(one, now_ms) for one in new), *(Outgoing(TOPIC, None, key.encode()) for key in gone)]

    async def keep(self, ledger: Ledger, producer: Producer) -> None:
        """Look now and then, for ever."""
        while True:
            try:
                if self.view.ready and ledger.usage.view.ready:
                    await producer.send(self.look(await ledger.lines()))
            except Failure as error:
                log.warning("quotas.not_looked_at", error=str(error))
            await asyncio.sleep(LOOK_S)


def used_up(one: QuotaExceeded, now_ms: int) -> Problem:
    """429: which quota of whom is used up, and how long until it is not."""
    wait_s = max(1, (one.until_ms - now_ms) // 1000)
    whose = {name: getattr(one, name) for name in ("cluster", "namespace", "tenant") if getattr(one, name)}
    who = " of " + ", ".join(f"{name} {value}" for name, value in whose.items()) if whose else ""
    return Problem(
        429,
        "Quota used up",
        f"quota {one.quota}{who}: {one.used_bytes} of {one.limit_bytes} bytes a day",
        headers={"Retry-After": str(wait_s)},
        reason="quota",
        quota=one.quota,
        limit_bytes=one.limit_bytes,
        used_bytes=one.used_bytes,
        retry_after_s=wait_s,
        **whose,
    )


def _record(one: QuotaExceeded, now_ms: int) -> Outgoing:
    headers = cloud_headers(
        topic=TOPIC,
        id=f"{one.key}/{one.until_ms}",
        type="io.eventsphere.quota.exceeded",
        source="/quotas",
        time_ms=now_ms,
        subject=one.key,
    )
    return Outgoing(TOPIC, encode(one), one.key.encode(), headers, now_ms)


def shown(all_used: Iterable[Used]) -> list[dict[str, object]]:
    return [
        {
            "quota": each.quota.name,
            "each": each.quota.each,
            "hard": each.quota.hard,
            "cluster": each.place[0],
            "namespace": each.place[1],
            "tenant": each.place[2],
            "used_bytes": each.bytes,
            "limit_bytes": each.quota.bytes_per_day,
            "ratio": round(each.ratio, 4),
            "exceeded": each.exceeded,
        }
        for each in all_used
    ]
