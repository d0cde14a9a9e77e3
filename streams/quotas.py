"""Quotas: how many bytes of logs somebody may send a day (UTC, of record time), and what happens beyond. Pure, but for
the copy of `platform.quotas` that `Exceeded` reads.

A soft quota is told about. Beyond a hard one a request, or a chunk whose sender asks for an ack, is refused when all of
its records are beyond one. Of a mixed one all are taken, as are those whose sender cannot be told, and what is beyond
is left out before it is indexed, counted as dropped by `quota:<name>`: refused as a whole it would be sent again until
the next day, and those that are within their quotas would wait with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, Protocol

from schemas.accounts import QuotaExceeded
from streams.accounts import HOUR_MS, Fate, Line, Place, Report, Sum, log_places, value_place
from streams.batch import Batch
from streams.errors import Invalid
from streams.settings import Quota

TOPIC = "platform.quotas"
DAY_MS = 86_400_000
PREFIX = "quota:"

Handle = Callable[[Batch], Awaitable[None]]


class Used(NamedTuple):
    """What one of those a quota is for used of it today. `place`: only what the quota tells apart."""

    quota: Quota
    place: Place
    bytes: int
    until_ms: int

    @property
    def ratio(self) -> float:
        return self.bytes / self.quota.bytes_per_day

    @property
    def exceeded(self) -> bool:
        return self.bytes >= self.quota.bytes_per_day


def used(quotas: Iterable[Quota], lines: Iterable[Mapping[Line, Sum]], now_ms: int) -> list[Used]:
    """What was received today, but for what quotas themselves dropped."""
    day = now_ms - now_ms % DAY_MS
    since = day // HOUR_MS
    wanted = tuple(quotas)
    found: dict[tuple[int, Place], int] = {}
    for tally in lines:
        for line, sum_ in tally.items():
            if line.hour < since or (line.fate == Fate.DROPPED and line.by.startswith(PREFIX)):
                continue
            for number, quota in enumerate(wanted):
                if _is_for(quota, line):
                    key = number, _place(quota, line)
                    found[key] = found.get(key, 0) + sum_.bytes
    return [Used(wanted[number], place, nbytes, day + DAY_MS) for (number, place), nbytes in sorted(found.items())]


def exceeded(all_used: Iterable[Used]) -> dict[str, QuotaExceeded]:
    """Those beyond a hard quota, by key."""
    out = {}
    for each in all_used:
        if each.exceeded and each.quota.hard:
            cluster, namespace, tenant = each.place
            one = QuotaExceeded(
                quota=each.quota.name,
                cluster=cluster,
                namespace=namespace,
                tenant=tenant,
                used_bytes=each.bytes,
                limit_bytes=each.quota.bytes_per_day,
                until_ms=each.until_ms,
            )
            out[one.key] = one
    return out


def _is_for(quota: Quota, line: Line) -> bool:
    return (
        fnmatchcase(line.namespace, quota.namespace)
        and fnmatchcase(line.tenant, quota.tenant)
        and fnmatchcase(line.cluster, quota.cluster)
    )


def _place(quota: Quota, line: Line) -> Place:
    if quota.each == "namespace":
        return line.cluster, line.namespace, line.tenant
    return ("", "", line.tenant) if quota.each == "tenant" else ("", "", "")


class Limits:
    """Whose records are left out. `held`: who is beyond a hard quota; `quotas`: those of the settings."""

    def __init__(
        self, quotas: Iterable[Quota], held: Callable[[], Iterable[QuotaExceeded]], clock: Callable[[], int]
    ) -> None:
        self._quotas = {quota.name: quota for quota in quotas}
        self._held = held
        self._clock = clock

    def over(self, batch: Batch) -> dict[int, str]:
        """Positions of records beyond a quota, and its name. Costs nothing while nobody is."""
        held = self._now()
        if not held:
            return {}
        known: dict[Place, QuotaExceeded | None] = {}
        out = {}
        for position, place in enumerate(log_places(batch)):
            if (beyond := self._of(held, place, known)) is not None:
                out[position] = PREFIX + beyond.quota
        return out

    def refusal(self, values: Sequence[bytes]) -> QuotaExceeded | None:
        """The quota that log records are beyond, the first one's, when all of them are beyond one: so they can be
        refused together, and nobody else's with them. Costs nothing while nobody is beyond any."""
        held = self._now()
        if not held or not values:
            return None
        known: dict[Place, QuotaExceeded | None] = {}
        first = None
        for value in values:
            beyond = self._of(held, value_place(value), known)
            if beyond is None:
                return None
            first = first or beyond
        return first

    def _now(self) -> list[QuotaExceeded]:
        now_ms = self._clock()
        return [each for each in self._held() if each.until_ms > now_ms and each.quota in self._quotas]

    def _of(
        self, held: Iterable[QuotaExceeded], place: Place, known: dict[Place, QuotaExceeded | None]
    ) -> QuotaExceeded | None:
        if place not in known:
            known[place] = next((each for each in held if self._is_beyond(each, place)), None)
        return known[place]

    def _is_beyond(self, each: QuotaExceeded, place: Place) -> bool:
        quota, line = self._quotas[each.quota], Line(0, *place, "", "")
        return _is_for(quota, line) and _place(quota, line) == (each.cluster, each.namespace, each.tenant)


class Over(Protocol):
    """Which records of a batch are left out: their positions, and what by."""

    def over(self, batch: Batch) -> dict[int, str]: ...


def limited(handle: Handle, limits: Over) -> Handle:
    """`handle` without the records that `limits` leaves out, which are reported as dropped by it."""

    async def within(batch: Batch) -> None:
        over = limits.over(batch)
        if not over:
            await handle(batch)
            return
        report = Report()
        for position, name in over.items():
            report.dropped(name, [position])
        if len(over) < len(batch):
            kept = batch.without(over)
            where = [position for position in range(len(batch)) if position not in over]
            try:
                await handle(kept)
            except Invalid as error:
                at = {where[position]: why for position, why in (error.indexes or {}).items()}
                raise Invalid(error.reason, error.detail, at) from error
            for position, fate in kept.report.fates.items() if kept.report is not None else ():
                report.fates[where[position]] = fate
        batch.report = report

    return within
