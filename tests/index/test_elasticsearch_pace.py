"""Which tier a record is of, how large requests are, and reading answers that are not quite JSON. Pure."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.accounts import plain_place
from streams.settings import Index, Tier
from streams.sinks.index.elasticsearch import lenient, pace
from streams.sinks.index.elasticsearch.client import compresses
from streams.sinks.index.elasticsearch.reply import NONE, field_of, judge
from streams.sinks.index.elasticsearch.tiers import Names, Tiers
from streams.sinks.index.port import Kind
from tests.index.conftest import NOON

TIERS = Tiers(
    [
        Tier(name="both", tenants=["blue"], namespaces=["dev-*"]),
        Tier(name="blue", tenants=["blue"]),
        Tier(name="dev", namespaces=["dev-*", "*sand*box"]),
    ]
)


@pytest.mark.parametrize(
    ("value", "tier"),
    [
        (b'{"kubernetes":{"namespace_name":"dev-a"}}', "dev"),
        (b'{"kubernetes":{"namespace_name":"dev-a"},"tenant":"blue"}', "both"),
        (b'{"kubernetes":{"namespace_name":["shop","dev-a"]},"tenant":["red","blue"]}', "both"),
        (b'{"tenant":"blue"}', "blue"),
        (b'{"kubernetes":{"namespace_name":"a sand b box"}}', "dev"),
        (b'{"kubernetes":{"namespace_name":"Dev-a"}}', ""),
        (b'{"log":"\\"kubernetes\\":{\\"namespace_name\\":\\"dev-a\\"}"}', ""),
        (b'{"specversion":"1.0","tenant":"red","data":{"tenant":"blue"}}', "blue"),
        (b'{"kubernetes":{"namespace_name":"dev-%b"}}' % (b"x" * 2000), ""),
        (b'{"kubernetes":7,"tenant":"blue"}', "blue"),
        (b"\xff", ""),
        (b"", ""),
        (b"[1]", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_the_tier_of_a_record(value: bytes, tier: str) -> None:
    assert TIERS.of(value, plain_place(value)) == tier
    assert TIERS.of(value, None) == tier
    assert Names("p", TIERS).of(Kind.LOGS, NOON, value) == "-".join(filter(None, ["p-logs", tier, "2026.11.25"]))
    assert Names("p", TIERS).of(Kind.GAPS, NOON, value) == "p-gaps-2026.11.25"


@given(st.sampled_from(["dev-a", "shop"]), st.sampled_from(["blue", "red", ""]), st.booleans())
def test_a_tier_is_the_same_whichever_way_it_is_read(namespace: str, tenant: str, odd: bool) -> None:
    record = {"kubernetes": {"namespace_name": namespace}, "tenant": tenant}
    plain = _tier(msgspec.json.encode(record))
    assert _tier(msgspec.json.encode(record | {"tenant": [tenant]} if odd else record)) == plain


def _tier(value: bytes) -> str:
    return TIERS.of(value, plain_place(value))


def test_requests_shrink_when_refused_or_slow_and_grow_again() -> None:
    made = pace.Pace()
    made.too_large(1 << 20)
    assert made.request_bytes == 1 << 19
    for _ in range(pace.PROBE_AFTER):
        made.taken(0.01)
    assert made.request_bytes == 1 << 20
    for _ in range(50):
        made.taken(pace.SLOW_S + 1)
    assert made.request_bytes == pace.MIN_REQUEST_BYTES
    for _ in range(pace.GROW_AFTER * 20):
        made.taken(0.01)
    assert made.request_bytes == pace.MAX_REQUEST_BYTES


async def test_fewer_requests_at_once_while_the_server_is_busy() -> None:
    made, most, under_way = pace.Pace(), 0, 0

    async def request() -> None:
        nonlocal most, under_way
        async with made.slot():
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    for _ in range(10):
        made.busy()
    assert made.at_once == 1
    await asyncio.gather(*(request() for _ in range(10)))
    assert most == 1
    for _ in range(20):
        made.taken(0.01)
    await asyncio.gather(*(request() for _ in range(10)))
    assert most == made.at_once == pace.MAX_AT_ONCE


async def test_who_is_cancelled_while_waiting_holds_up_nobody() -> None:
    made = pace.Pace()
    for _ in range(3):
        made.busy()
    async with made.slot():
        waiting = [asyncio.create_task(_hold(made)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    await asyncio.wait_for(asyncio.gather(*waiting[1:]), 5)


async def _hold(made: pace.Pace) -> None:
    async with made.slot():
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("compress", "url", "compressed"),
    [
        ("auto", "http://127.0.0.1:9200", False),
        ("auto", "http://localhost:9200,http://[::1]:9200", False),
        ("auto", "https://logs.example.org", True),
        ("auto", "http://localhost:9200, http://10.0.0.1:9200", True),
        (True, "http://localhost:9200", True),
        (False, "https://logs.example.org", False),
    ],
)
def test_what_leaves_the_machine_is_compressed(compress: bool | str, url: str, compressed: bool) -> None:
    assert compresses(Index.model_validate({"compress": compress, "url": url})) is compressed


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        ({"type": "document_parsing_exception", "reason": "failed to parse field [log] of type [text]"}, True),
        ({"type": "validation_exception", "reason": "this action would add [2] shards, but ..."}, False),
        ({"type": "index_closed_exception", "reason": "closed"}, False),
        ("text", True),
    ],
)
def test_a_400_about_the_server_is_no_documents_fault(error: object, refused: bool) -> None:
    verdict = judge({"errors": True, "items": [{"create": {"status": 400, "error": error}}]}, [7])
    assert (set(verdict.refused), set(verdict.again)) == (({7}, set()) if refused else (set(), {7}))
    assert judge({"errors": False}, [7]) == NONE


@pytest.mark.parametrize(
    ("why", "field"),
    [
        ("400 document_parsing_exception: [1:8] failed to parse field [log] of type [text]", "log"),
        ("object mapping for [kubernetes] tried to parse field [kubernetes] as object", "kubernetes"),
        ("failed to parse", ""),
    ],
)
def test_a_refusal_says_which_field_it_is_about(why: str, field: str) -> None:
    assert field_of(why) == field


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_lenient_reading_is_plain_reading_of_plain_json(value: object) -> None:
    assert lenient.read(msgspec.json.encode(value)) == value
