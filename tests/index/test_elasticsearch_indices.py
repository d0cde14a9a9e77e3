"""The indices on a real Elasticsearch: which there are, what their mappings stand, what a refused document becomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from streams.errors import Invalid
from streams.metrics import INDEX_FALLBACKS
from streams.record import Record
from streams.settings import Index as IndexSettings
from streams.settings import Tier
from streams.sinks.index.elasticsearch import ElasticsearchIndex
from streams.sinks.index.elasticsearch.templates import VERSION, templates
from streams.sinks.index.port import Kind
from tests.index.conftest import NOON, batch, find, line, lines, log, raw
from tests.index.faults import Answer, Upstream, server_at

DAY = 86_400_000
TIERS = [
    Tier(name="gold", tenants=["gold-*"], replicas=1),
    Tier(name="short", namespaces=["dev-*", "sandbox"], replicas=0),
]


@pytest.fixture
async def server(elasticsearch: str) -> AsyncIterator[Upstream]:
    async with server_at(elasticsearch) as ask:
        yield ask


@pytest.fixture
async def made(elasticsearch: str) -> AsyncIterator[tuple[ElasticsearchIndex, str]]:
    prefix = f"t{uuid4().hex[:10]}"
    index = ElasticsearchIndex(IndexSettings(url=elasticsearch, prefix=prefix, tiers=TIERS))
    yield index, prefix
    await index.close()


async def read(server: Upstream, path: str) -> Any:
    return msgspec.json.decode((await server("GET", path, b"")).body)


async def indices(server: Upstream, prefix: str) -> set[str]:
    return {name.removeprefix(f"{prefix}-") for name in await read(server, f"/{prefix}-*/_settings")}


def at(namespace: Any, n: int, tenant: Any = None, **more: Any) -> Record:
    about = {"namespace_name": namespace, "pod_name": "p"}
    return log(f"n{n}", n, key=b"k%d" % n, kubernetes=about, **({"tenant": tenant} if tenant else {}), **more)


async def test_each_tier_has_indices_of_its_own_and_search_spans_them(
    made: tuple[ElasticsearchIndex, str], server: Upstream
) -> None:
    index, prefix = made
    records = [
        at("shop", 0),
        at("dev-a", 1),
        at("dev-b", 2, tenant="gold-1"),
        at(["shop", "sandbox"], 3),
        at("dev-a", 4, time_ms=NOON - DAY),
        raw(b'{"log":"n5"}', 5, key=b"k5"),
    ]
    for _ in range(2):
        await index.write(Kind.LOGS, batch(*records))
        await index.write(Kind.LOGS, batch(*records[::-1]))
    assert (await find(index, 6)).total == 6
    assert await indices(server, prefix) == {
        "logs-2026.11.25",
        "logs-short-2026.11.25",
        "logs-short-2026.11.24",
        "logs-gold-2026.11.25",
    }
    answer = await read(server, f"/{prefix}-*/_settings")
    copies = {name.removeprefix(f"{prefix}-logs-"): each["settings"]["index"] for name, each in answer.items()}
    assert copies["gold-2026.11.25"]["number_of_replicas"] == "1"
    assert copies["short-2026.11.25"]["number_of_replicas"] == "0"
    assert copies["2026.11.25"]["auto_expand_replicas"] == "0-1"


async def test_times_that_cannot_be_right_make_one_index(
    made: tuple[ElasticsearchIndex, str], server: Upstream
) -> None:
    index, prefix = made
    decades = [n * 3650 * DAY for n in range(-5, 400)]
    times = [time for time in decades if not 1_577_836_800_000 <= time < 2_082_758_400_000]
    await index.write(Kind.LOGS, batch(*(log("x", n, key=b"k%d" % n, time_ms=time) for n, time in enumerate(times))))
    assert (await find(index, len(times))).total == len(times)
    assert await indices(server, prefix) == {"logs-undated"}


async def test_a_newer_template_is_left_alone_and_an_older_one_replaced(elasticsearch: str, server: Upstream) -> None:
    prefix = f"t{uuid4().hex[:10]}"
    name = f"{prefix}-logs"
    for theirs in (VERSION + 1, VERSION - 1):
        body = templates(prefix)[name] | {"version": theirs}
        assert (await server("PUT", f"/_index_template/{name}", msgspec.json.encode(body))).status == 200
        index = ElasticsearchIndex(IndexSettings(url=elasticsearch, prefix=prefix))
        await index.open()
        await index.close()
        found = await read(server, f"/_index_template/{name}")
        assert found["index_templates"][0]["index_template"]["version"] == max(theirs, VERSION)


async def test_a_new_mapping_starts_with_the_next_index_and_search_spans_both(
    elasticsearch: str, server: Upstream
) -> None:
    prefix = f"t{uuid4().hex[:10]}"
    old = templates(prefix)[f"{prefix}-logs"] | {"version": 1}
    old["template"]["mappings"]["properties"].pop("level")
    old["template"]["mappings"]["properties"]["_where"]["properties"].pop("fallback")
    await server("PUT", f"/_index_template/{prefix}-logs", msgspec.json.encode(old))
    await server("PUT", f"/{prefix}-logs-2026.11.24", b"")
    index = ElasticsearchIndex(IndexSettings(url=elasticsearch, prefix=prefix))
    yesterday, today = (log(f"n{n}", n, time_ms=NOON - DAY * (1 - n), level="error") for n in range(2))
    await index.write(Kind.LOGS, batch(yesterday))
    await index.write(Kind.LOGS, batch(today))
    assert lines(await find(index, 2)) == ["n1", "n0"]
    assert lines(await find(index, 1, text="level:error"))[0] == "n1"
    mappings = await read(server, f"/{prefix}-logs-*/_mapping")
    levels = {name[-2:]: "level" in each["mappings"]["properties"] for name, each in mappings.items()}
    assert levels == {"24": False, "25": True}
    await index.close()


async def test_what_senders_write_never_changes_a_mapping(
    made: tuple[ElasticsearchIndex, str], server: Upstream
) -> None:
    index, prefix = made
    await index.write(Kind.LOGS, batch(log("first", 0, key=b"k0")))
    before = await read(server, f"/{prefix}-logs-2026.11.25/_mapping")
    labels = {f"label{n}/x.y": "v" for n in range(500)} | {"app": "pay", "app.kubernetes.io/name": "backend"}
    deep: Any = 1
    for _ in range(300):
        deep = {"x": deep}
    odd = [
        *(log(f"n{n}", n, key=b"k%d" % n, **{f"field{n}x{m}": m for m in range(1000)}) for n in range(1, 11)),
        log("labels", 11, key=b"k11", kubernetes={"namespace_name": "shop", "labels": labels}),
        log("deep", 12, key=b"k12", nested=deep),
        raw(b'{"log":"' + b"long line " * 200_000 + b'"}', 13, key=b"k13"),
        raw(b'{"log":"invalid \xff\xfe utf"}', 14, key=b"k14"),
        raw(b'{"log":"first twin","log":"second twin"}', 15, key=b"k15"),
        raw(b'{"log":"a pair \\ud83d\\ude00"}', 16, key=b"k16"),
        raw(b'{"log":"alone \\ud83d here"}', 17, key=b"k17"),
        raw(b'{"log":"very deep","x":' + b'{"x":' * 5000 + b"1" + b"}" * 5001, 18, key=b"k18"),
        raw(b'{"log":"remark"/* of a person */,"at":"http://x"}', 20, key=b"k20"),
        raw(b'{"log":"unread","unmapped":"\xff\xfe"}', 21, key=b"k21"),
        raw(b'{"log":"abyss","x":' + b'{"x":' * 900 + b"1" + b"}" * 901, 22, key=b"k22"),
        raw(b'{"log":"numbers","level":7,"big":1' + b"0" * 400 + b"}", 19, key=b"k19"),
    ]
    with pytest.raises(Invalid) as caught:
        await index.write(Kind.LOGS, batch(*odd))
    assert caught.value.indexes is not None
    assert {odd[position].key for position in caught.value.indexes} == {b"k18"}, "no decoder takes such depth"
    page = await find(index, len(odd))
    assert page.total == len(odd), "one is dead, and one was there before"
    msgspec.json.encode(page)
    for keyword, key in (("invalid", "k14"), ("twin", "k15"), ("alone", "k17"), ("remark", "k20"), ("unread", "k21")):
        assert [hit.id for hit in (await find(index, 1, text=keyword)).items] == [key], keyword
    for name in ("pay", "backend"):
        assert "k11" in {hit.id for hit in (await find(index, 1, workload=(name,))).items}
    assert [hit.id for hit in (await find(index, 1, text='"long line"')).items] == ["k13"]
    assert await read(server, f"/{prefix}-logs-2026.11.25/_mapping") == before


async def test_a_fallback_is_searchable_counted_and_says_which_field_and_why(
    made: tuple[ElasticsearchIndex, str], server: Upstream
) -> None:
    index, prefix = made
    counted = INDEX_FALLBACKS.labels("logs", "kubernetes.labels")
    before = counted._value.get()
    await index.write(
        Kind.LOGS,
        batch(
            log("plain", 0, key=b"k0"),
            log("odd labels", 1, key=b"k1", kubernetes={"namespace_name": "shop", "labels": "none"}),
            log("mine", 2, key=b"k2", _where="stolen"),
        ),
    )
    page = await find(index, 1, text="odd")
    assert (line(page.items[0]), page.items[0].record["kubernetes"]["labels"]) == ("odd labels", "none")
    assert page.items[0].note.startswith("400 document_parsing_exception:")
    assert "kubernetes.labels" in page.items[0].note
    assert [hit.note for hit in (await find(index, 1, text="plain")).items] == [""]
    assert counted._value.get() == before + 1
    query = msgspec.json.encode({"query": {"term": {"_where.fallback.field": "kubernetes.labels"}}})
    answer: Answer = await server("POST", f"/{prefix}-logs-*/_search", query)
    assert [hit["_id"] for hit in msgspec.json.decode(answer.body)["hits"]["hits"]] == ["k1"]
