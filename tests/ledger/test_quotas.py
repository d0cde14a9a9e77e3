"""Quotas: who is beyond one, and what is left out because of it."""

from __future__ import annotations

import asyncio

import pytest

from schemas.accounts import QuotaExceeded
from streams.accounts import HOUR_MS, Line, Sum
from streams.batch import Batch, batch_of
from streams.errors import Invalid
from streams.quotas import DAY_MS, Handle, Limits, exceeded, limited, used
from streams.record import Record
from streams.settings import Quota, WrongSettings, load

NOW = 20_000 * DAY_MS + 5 * HOUR_MS
HOUR = NOW // HOUR_MS
PER_NAMESPACE = Quota(name="per-namespace", namespace="team-*", bytes_per_day=100, hard=True)


def line(namespace: str, *, hour: int = HOUR, tenant: str = "", fate: str = "indexed", by: str = "") -> Line:
    return Line(hour, "c", namespace, tenant, fate, by)


def test_only_today_counts_and_not_what_quotas_dropped_themselves() -> None:
    lines = {
        line("team-a"): Sum(3, 60),
        line("team-a", fate="dropped", by="noise"): Sum(1, 39),
        line("team-a", fate="dropped", by="quota:per-namespace"): Sum(9, 900),
        line("team-a", hour=HOUR - 6): Sum(9, 900),
        line("team-b"): Sum(1, 100),
        line("other"): Sum(1, 1000),
    }
    found = used([PER_NAMESPACE], [lines], NOW)
    assert {each.place[1]: (each.bytes, each.exceeded) for each in found} == {
        "team-a": (99, False),
        "team-b": (100, True),
    }
    over = exceeded(found)
    assert [(one.namespace, one.until_ms) for one in over.values()] == [("team-b", 20_001 * DAY_MS)]
    assert over.keys() == {"per-namespace/c/team-b/"}


def test_a_soft_quota_leaves_nothing_out_and_tenants_are_counted_together() -> None:
    lines = {line("a", tenant="t"): Sum(1, 60), line("b", tenant="t"): Sum(1, 60)}
    soft = Quota(name="soft", tenant="t", each="tenant", bytes_per_day=100)
    found = used([soft], [lines], NOW)
    assert [(each.place, each.ratio) for each in found] == [(("", "", "t"), 1.2)]
    assert exceeded(found) == {}


def batch(*namespaces: str) -> Batch:
    values = [b'{"cluster":"c","kubernetes":{"namespace_name":"%b"}}' % name.encode() for name in namespaces]
    return batch_of([Record("logs", 0, n, None, value, NOW, None) for n, value in enumerate(values)])


def limits(now_ms: int = NOW) -> Limits:
    held = [
        QuotaExceeded(
            quota="per-namespace", cluster="c", namespace="team-b", used_bytes=1, limit_bytes=1, until_ms=NOW + 1
        ),
        QuotaExceeded(quota="gone", cluster="c", namespace="team-a", used_bytes=1, limit_bytes=1, until_ms=NOW + 1),
    ]
    return Limits([PER_NAMESPACE], lambda: held, lambda: now_ms)


def run(handle: Handle, batch: Batch) -> None:
    async def once() -> None:
        await handle(batch)

    asyncio.run(once())


def test_records_beyond_a_quota_are_left_out_and_positions_stay_those_of_the_batch() -> None:
    seen: list[int] = []

    async def handle(kept: Batch) -> None:
        seen.extend(message.offset() for message in kept.messages)
        if len(kept) > 2:
            raise Invalid("refused", "bad", {2: "bad"})

    whole = batch("team-b", "team-a", "team-b", "x", "team-a")
    with pytest.raises(Invalid) as caught:
        run(limited(handle, limits()), whole)
    assert caught.value.indexes == {4: "bad"}
    assert seen == [1, 3, 4]
    rest = whole.without({4})
    run(limited(handle, limits()), rest)
    assert rest.report is not None
    assert {at: by for at, (_fate, by) in rest.report.fates.items()} == dict.fromkeys((0, 2), "quota:per-namespace")


def test_a_batch_of_nothing_else_is_not_handled_and_the_next_day_it_is() -> None:
    seen: list[int] = []

    async def handle(kept: Batch) -> None:
        seen.append(len(kept))

    run(limited(handle, limits()), batch("team-b", "team-b"))
    assert seen == []
    run(limited(handle, limits(NOW + 1)), batch("team-b", "team-b"))
    assert seen == [2]


def test_quotas_have_names_of_their_own() -> None:
    twice = '[{"name":"a","bytes_per_day":1},{"name":"a","bytes_per_day":2}]'
    with pytest.raises(WrongSettings, match=r"EVENTSPHERE_QUOTAS.*name of its own"):
        load(None, {"EVENTSPHERE_QUOTAS": twice})
    assert load(None, {"EVENTSPHERE_QUOTAS": '[{"name":"a","bytes_per_day":1}]'}).quotas[0].each == "namespace"
