"""On both adapters: the expired is hidden at once and deleted later; nothing else is."""

from __future__ import annotations

from streams.retention.keeping import Keeper, Why, over
from streams.retention.policy import Policy
from streams.sinks.index.port import Kind, Query, Stored
from tests.index.conftest import batch, log, until
from tests.retention.conftest import DAY_MS, NOW, Kept

AGES = (0, 1, 3, 8, 40)


def record(namespace: str, age: int, n: int) -> object:
    about = {"namespace_name": namespace, "pod_name": "p"}
    return log(f"{namespace} {age}", n, kubernetes=about, time_ms=NOW - age * DAY_MS, key=b"%d" % n)


async def fill(kept: Kept) -> None:
    names = ("brief-1", "shop", "long")
    records = [record(name, age, n * 10 + i) for n, name in enumerate(names) for i, age in enumerate(AGES)]
    await kept.index.write(Kind.LOGS, batch(*records, log("no time", 99, time_ms=0, key=b"99")))  # type: ignore[arg-type]
    await until(lambda: kept.bare.counts(Kind.LOGS), lambda found: found[()] == 16)


async def held(kept: Kept) -> set[str]:
    page = await kept.bare.search(Query(kind=Kind.LOGS))
    return {hit.record["log"] for hit in page.items}


SHOWN = {"brief-1 0", "brief-1 1", "shop 0", "shop 1", "shop 3", "long 0", "long 1", "long 3", "long 8", "no time"}


async def test_what_has_expired_is_not_shown_before_it_is_gone(kept: Kept) -> None:
    await fill(kept)
    everything = Query(kind=Kind.LOGS)
    page = await kept.index.search(everything)
    assert {hit.record["log"] for hit in page.items} == SHOWN
    assert page.total == len(SHOWN)
    assert sum((await kept.index.histogram(everything, DAY_MS)).values()) == len(SHOWN)
    top = await kept.index.top(everything, "namespace", 10)
    assert top.values == [("long", 4), ("shop", 4), ("brief-1", 2)], "the record without a time too"
    assert await kept.index.get(Kind.LOGS, "3") is None
    assert await kept.index.get(Kind.LOGS, "1") is not None
    kept.now += DAY_MS + 60_000
    assert (await kept.index.search(Query(kind=Kind.LOGS, namespace=("brief-1",)))).total == 1


async def test_whole_days_go_when_everything_in_them_has_expired(kept: Kept) -> None:
    await fill(kept)
    keeper = Keeper(kept.index, Policy(kept.settings.retention), kept.clock)
    removed = await keeper.expire()
    assert {each.why for each in removed} == {Why.EXPIRED}
    left = await until(lambda: held(kept), lambda found: "long 40" not in found)
    assert left >= SHOWN
    days = {part.from_ms // DAY_MS for part in await kept.index.stored() if part.dated}
    assert days == {(NOW // DAY_MS) - age for age in (0, 1, 3, 8)}
    assert await keeper.expire() == [], "what is gone is not counted again"
    kept.now += 60 * DAY_MS
    await keeper.expire()
    assert await until(lambda: held(kept), lambda found: len(found) == 1) == {"no time"}


async def test_a_day_comes_back_with_a_late_record(kept: Kept) -> None:
    await fill(kept)
    part = next(part for part in await kept.index.stored() if part.dated)
    await kept.index.remove(part)
    await kept.index.remove(part)
    await kept.index.write(Kind.LOGS, batch(record("long", 40, 7)))  # type: ignore[arg-type]
    assert "long 40" in await until(lambda: held(kept), lambda found: "long 40" in found)


async def test_within_a_day_goes_what_can(kept: Kept) -> None:
    """The build of Elasticsearch tested with has no delete-by-query: there the rest of a day waits for the day."""
    await fill(kept)
    keeper = Keeper(kept.index, Policy(kept.settings.retention), kept.clock)
    wait = {"brief-1 3", "brief-1 8", "shop 8"} if kept.settings.index.url else set()
    assert sum(each.documents for each in await keeper.expire()) == 16 - len(SHOWN | wait)
    assert await until(lambda: held(kept), lambda found: len(found) == len(SHOWN | wait)) == SHOWN | wait


def part(kind: Kind, day: int, nbytes: int) -> Stored:
    return Stored(
        name=f"{kind}-{day}",
        kind=kind,
        dated=day >= 0,
        from_ms=max(day, 0) * DAY_MS,
        to_ms=(day + 1) * DAY_MS,
        documents=1,
        nbytes=nbytes,
    )


def test_over_the_limit_the_oldest_of_the_largest_kind_goes() -> None:
    parts = [part(Kind.AUDIT, 1, 5), *(part(Kind.LOGS, day, 10) for day in (3, 2, 4, -1)), part(Kind.EVENTS, 1, 15)]
    assert over(parts, 60) == []
    assert [each.name for each in over(parts, 40)] == ["logs--1", "logs-2"]
    assert [each.name for each in over(parts, 9)] == ["logs--1", "logs-2", "logs-3", "events-1", "logs-4"]
    assert len(over(parts, 0)) == len(parts)
