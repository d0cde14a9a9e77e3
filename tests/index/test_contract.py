"""What every search index does, run on both adapters."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from schemas.kube import KubeEvent, KubeObject, ObjectRef
from streams.errors import Invalid
from streams.record import Record
from streams.sinks.index.port import Index, Kind, Query
from tests.index.conftest import NOON, TOPIC_ID, batch, find, line, lines, log, raw, until

DAY = 86_400_000


async def test_a_record_comes_back_as_it_was_with_where_it_stands(index: Index) -> None:
    record = log("payment failed: connection refused", 41, key=b"chunk-1", level="error", nested={"a": [1, None, "x"]})
    await index.write(Kind.LOGS, batch(record))
    (hit,) = (await find(index, 1)).items
    assert hit.record == msgspec.json.decode(record.value or b"")
    assert (hit.id, hit.time_ms, hit.topic, hit.partition, hit.offset) == ("chunk-1", NOON, "logs", 0, 41)


async def test_written_again_nothing_changes(index: Index) -> None:
    records = [log(f"line {n}", n, key=b"k%d" % n) for n in range(20)]
    for _ in range(3):
        await index.write(Kind.LOGS, batch(*records))
    await index.write(Kind.LOGS, batch(*(log(f"line {n}", n + 100, key=b"k%d" % n) for n in range(21))))
    page = await find(index, 21)
    assert page.total == 21


async def test_the_same_key_twice_in_a_batch_is_one_document(index: Index) -> None:
    await index.write(Kind.LOGS, batch(log("a", 1, key=b"same"), log("a", 2, key=b"same"), log("b", 3, key=b"other")))
    assert (await find(index, 2)).total == 2


async def test_without_a_key_the_id_is_where_it_stands(index: Index) -> None:
    await index.write(Kind.LOGS, batch(log("a", 7), log("b", 8)))
    page = await find(index, 2)
    assert [hit.id for hit in page.items] == [f"{TOPIC_ID}-0-8", f"{TOPIC_ID}-0-7"]
    found = await index.get(Kind.LOGS, f"{TOPIC_ID}-0-7")
    assert found is not None
    assert line(found) == "a"
    assert await index.get(Kind.LOGS, "none") is None


async def test_any_key_makes_an_id(index: Index) -> None:
    keys = [b'a"b\\c', "späť".encode(), b"\xff\xfe", b"x" * 1000, b"with space", b"new\nline", b"\x00\x01", b"plain"]
    for first in (0, 100):
        await index.write(Kind.LOGS, batch(*(log("a", first + n, key=key) for n, key in enumerate(keys))))
    page = await find(index, len(keys))
    assert page.total == len(keys)
    for hit in page.items:
        assert await index.get(Kind.LOGS, hit.id) == hit


async def test_pages_follow_each_other_newest_first_and_oldest_first(index: Index) -> None:
    """Many records of one millisecond, several partitions: no record twice, none missing, in a stable order."""
    for partition in range(3):
        records = [
            raw(b'{"log":"%d-%d"}' % (partition, n), n, time_ms=NOON + n // 10, partition=partition) for n in range(40)
        ]
        await index.write(Kind.LOGS, batch(*records))
    await find(index, 120)
    expected = [f"{p}-{n}" for n in range(40) for p in range(3)]
    for oldest_first in (False, True):
        seen, cursor = [], ""
        while True:
            query = Query(kind=Kind.LOGS, limit=7, cursor=cursor, oldest_first=oldest_first)
            page = await index.search(query)
            assert page.total == 120
            seen += lines(page)
            cursor = page.next
            if not cursor:
                break
        assert seen == (expected if oldest_first else expected[::-1])


async def test_the_last_page_has_no_next(index: Index) -> None:
    await index.write(Kind.LOGS, batch(*(log(f"n{n}", n) for n in range(4))))
    await find(index, 4)
    first = await index.search(Query(kind=Kind.LOGS, limit=2))
    second = await index.search(Query(kind=Kind.LOGS, limit=2, cursor=first.next))
    assert (len(first.items), bool(first.next), len(second.items), second.next) == (2, True, 2, "")
    nothing = await index.search(Query(kind=Kind.LOGS, limit=0))
    assert (nothing.items, nothing.total, nothing.next) == ([], 4, "")


async def test_times_are_a_half_open_range(index: Index) -> None:
    await index.write(Kind.LOGS, batch(*(log(f"n{n}", n, time_ms=NOON + n) for n in range(5))))
    await find(index, 5)
    page = await index.search(Query(kind=Kind.LOGS, start_ms=NOON + 1, end_ms=NOON + 3))
    assert lines(page) == ["n2", "n1"]


async def test_records_of_many_days_and_of_impossible_times(index: Index) -> None:
    times = [NOON, NOON - DAY, NOON - 400 * DAY, -1, 0, 5, 1_700_000_000, 1 << 60]
    await index.write(Kind.LOGS, batch(*(log(f"n{n}", n, time_ms=time) for n, time in enumerate(times))))
    page = await find(index, len(times))
    assert page.total == len(times)
    assert lines(page)[:4] == ["n7", "n0", "n1", "n2"]


FILTERS: list[tuple[dict[str, tuple[str, ...]], str]] = [
    ({"cluster": ("prod",)}, "abcd"),
    ({"cluster": ("prod", "test")}, "abcde"),
    ({"namespace": ("shop",)}, "abe"),
    ({"pod": ("pay-7d9c-x2k4p",)}, "ae"),
    ({"container": ("side",)}, "b"),
    ({"workload": ("pay",)}, "abe"),
    ({"workload": ("db",)}, "c"),
    ({"workload": ("kube-proxy",)}, "d"),
    ({"workload": ("kube",)}, ""),
    ({"workload": ("pa.",)}, ""),
    ({"workload": ("backend",)}, "b"),
    ({"namespace": ("shop",), "cluster": ("test",)}, "e"),
    ({"namespace": ("Shop",)}, ""),
    ({"tenants": ("blue",)}, "c"),
    ({"names": ("x",)}, ""),
]


async def test_filters_are_exact_and_all_must_hold(index: Index) -> None:
    await index.write(Kind.LOGS, batch(*_places()))
    await find(index, 5)
    for where, expected in FILTERS:
        page = await index.search(Query(kind=Kind.LOGS, oldest_first=True, **where))  # type: ignore[arg-type]
        assert "".join(lines(page)) == expected, where


def _places() -> list[Record]:
    def at(namespace: str, pod: str, container: str, **labels: str) -> dict[str, object]:
        return {"namespace_name": namespace, "pod_name": pod, "container_name": container, "labels": labels}

    both = {"app": "pay", "app.kubernetes.io/name": "backend"}
    return [
        log("a", 0),
        log("b", 1, kubernetes=at("shop", "pay-7d9c8f6b5-zzzzz", "side", **both)),
        log("c", 2, kubernetes=at("data", "db-0", "db"), tenant="blue"),
        log("d", 3, kubernetes=at("kube-system", "kube-proxy-x7k2p", "kube-proxy")),
        log("e", 4, cluster="test"),
    ]


KEYWORDS = [
    ("refused", "ac"),
    ("REFUSED", "ac"),
    ("refused connection", "ac"),
    ('"connection refused"', "ac"),
    ('"refused connection"', ""),
    ("connection-refused", "ac"),
    ("ConnectException", "b"),
    ("java.net.ConnectException", "b"),
    ("net", "b"),
    ("timeout", "bd"),
    ("10.0.0.7", "b"),
    ("10.0.0.7:5432", "b"),
    ("order_17", "d"),
    ("order_1", ""),
    ("status=500", "d"),
    ("500 timeout", "d"),
    ("platba", "e"),
    ("späť", "e"),
    ("日本", "e"),
    ('"says: connection"', "c"),
    ("refuse", ""),
    ("nothing", ""),
]


async def test_keywords_must_all_occur_in_the_line_or_message(index: Index) -> None:
    records = [
        log("payment failed: connection refused", 0),
        log("java.net.ConnectException: timeout:10.0.0.7:5432", 1, kubernetes={"namespace_name": "refused"}),
        raw(b'{"message":"client says: Connection-Refused!"}', 2),
        log("order_17 status=500 (timeout)", 3, message="more"),
        log("platba späť 日本語", 4),
    ]
    await index.write(Kind.LOGS, batch(*records))
    await find(index, 5)
    for text, expected in KEYWORDS:
        page = await index.search(Query(kind=Kind.LOGS, text=text, oldest_first=True))
        assert "".join("abcde"[hit.offset] for hit in page.items) == expected, text


MEANINGLESS = [{"text": '"open'}, {"text": "---"}, {"cursor": "&"}, {"cursor": "e30"}, {"text": "x" * 9999}]


@pytest.mark.parametrize("query", MEANINGLESS, ids=range(len(MEANINGLESS)))
async def test_a_query_that_means_nothing_is_invalid(index: Index, query: dict[str, str]) -> None:
    with pytest.raises(Invalid) as caught:
        await index.search(Query(kind=Kind.LOGS, **query))  # type: ignore[arg-type]
    assert caught.value.reason == ("cursor" if "cursor" in query else "query")


REFUSABLE = [
    b'{"log":{"level":"warn","text":"boom"},"kubernetes":{"namespace_name":"shop"}}',
    b'{"log":["boom",{"a":1}],"kubernetes":{"namespace_name":"shop"}}',
    b'{"log":"boom","_id":"mine","kubernetes":{"namespace_name":"shop"}}',
    b'{"log":"boom","_where":"mine","kubernetes":{"namespace_name":"shop"}}',
    b'{"log":"boom","log":"boom","kubernetes":{"namespace_name":"shop"}}',
    b'{"log":"boom","":1,"a..b":2,"kubernetes":{"namespace_name":"shop","labels":"none"}}',
    b'{"log":"boom","cluster":{"a":1},"kubernetes":{"namespace_name":"shop"}}',
    b'{"log":"boom",\n "kubernetes":\n{"namespace_name":"shop"}}\n',
    b' {"log":"boom","kubernetes":{"namespace_name":"shop"}}  ',
    b'{"log":"boom \xff","kubernetes":{"namespace_name":"shop"}}',
    b'{"log":"boom","deep":' + b"[" * 900 + b"]" * 900 + b',"kubernetes":{"namespace_name":"shop"}}',
    b'{"log":"boom","big":"' + b"y" * 70_000 + b'","kubernetes":{"namespace_name":"shop"}}',
]


async def test_any_json_object_is_stored_and_found(index: Index) -> None:
    await index.write(Kind.LOGS, batch(log("one", 100), *(raw(each, n) for n, each in enumerate(REFUSABLE))))
    page = await find(index, len(REFUSABLE) + 1)
    assert page.total == len(REFUSABLE) + 1
    found = await index.search(Query(kind=Kind.LOGS, text="boom", namespace=("shop",), oldest_first=True))
    assert [hit.offset for hit in found.items] == list(range(len(REFUSABLE)))
    for hit, value in zip(found.items, REFUSABLE, strict=True):
        assert hit.record == msgspec.json.decode(value.replace(b"\xff", "\ufffd".encode()))


async def test_odd_but_valid_objects(index: Index) -> None:
    values = [
        b"{}",
        b'{"log":null}',
        b'{"log":17,"cluster":5}',
        b'{"kubernetes":null}',
        b'{"log":""}',
        b'{"kubernetes":{}}',
    ]
    await index.write(Kind.LOGS, batch(*(raw(value, n) for n, value in enumerate(values))))
    page = await find(index, len(values), oldest_first=True)
    assert [hit.record for hit in page.items] == [msgspec.json.decode(value) for value in values]
    assert (await index.search(Query(kind=Kind.LOGS, text="17", cluster=("5",)))).total == 1


NO_OBJECTS = [None, b"", b"plain text", b'"text"', b"[1]", b"17", b'{"a":1', b'{"a":1}x', b"\xff", b"{\n"]


async def test_what_is_no_json_object_is_named_and_holds_back_no_other(index: Index) -> None:
    bad = [raw(value, n + 1) for n, value in enumerate(NO_OBJECTS)]
    with pytest.raises(Invalid) as caught:
        await index.write(Kind.LOGS, batch(log("one", 0), *bad, log("two", 100)))
    assert sorted(caught.value.indexes or {}) == list(range(1, len(bad) + 1))
    assert lines(await find(index, 2)) == ["two", "one"]


async def test_a_large_batch_with_bad_records_in_it(index: Index) -> None:
    records = [log(f"line number {n} " + "x" * 400, n) for n in range(15_000)]
    for n in (0, 7_777, 14_999):
        records[n] = raw(b"broken", n)
    records[500] = raw(b'{"log":{"a":"object"}}', 500)
    with pytest.raises(Invalid) as caught:
        await index.write(Kind.LOGS, batch(*records))
    assert sorted(caught.value.indexes or {}) == [0, 7_777, 14_999]
    assert (await find(index, 14_997)).total == 14_997
    assert (await index.search(Query(kind=Kind.LOGS, text="object"))).total == 1


async def test_batches_at_the_same_time(index: Index) -> None:
    batches = [batch(*(log(f"b{b} n{n}", b * 100 + n) for n in range(100))) for b in range(20)]
    await asyncio.gather(*(index.write(Kind.LOGS, each) for each in batches))
    assert (await find(index, 2000)).total == 2000


async def test_kubernetes_events(index: Index) -> None:
    pod = ObjectRef(kind="Pod", namespace="shop", name="pay-7d9c-x2k4p", uid="u1", field_path="spec.containers{pay}")
    node = ObjectRef(kind="Node", name="n1", uid="u2")
    events = [
        KubeEvent(id="e1", cluster="prod", uid="1", resource_version="7", type="Warning", reason="BackOff",
                  message="Back-off restarting failed container", involved=pod, time_ms=NOON),
        KubeEvent(id="e2", cluster="prod", uid="2", resource_version="8", reason="NodeReady", message="is ready",
                  involved=node, time_ms=NOON + 1),
    ]  # fmt: skip
    await index.write(Kind.EVENTS, batch(*(_record("kube.events", event, n) for n, event in enumerate(events))))
    await find(index, 2, kind=Kind.EVENTS)
    for query in (
        {"text": "restarting backoff"},
        {"namespace": ("shop",), "names": ("BackOff",)},
        {"pod": ("pay-7d9c-x2k4p",)},
        {"workload": ("pay",), "container": ("pay",)},
        {"names": ("Warning",)},
    ):
        page = await index.search(Query(kind=Kind.EVENTS, **query))
        assert [hit.id for hit in page.items] == ["e1"], query
    assert (await index.search(Query(kind=Kind.EVENTS, names=("NodeReady",)))).items[0].record["involved"][
        "name"
    ] == "n1"
    assert (await index.search(Query(kind=Kind.LOGS))).total == 0


async def test_objects_and_their_tombstones(index: Index) -> None:
    manifest = {"spec": {"template": {"spec": {"containers": [{"image": "shop/pay:2"}]}}}}
    deployment = KubeObject(
        id="o1",
        cluster="prod",
        kind="Deployment",
        namespace="shop",
        name="pay",
        uid="u",
        change="added",
        resource_version="1",
        time_ms=NOON,
        object=manifest,
    )
    tombstone = Record("kube.objects", 0, 1, b"k", None, NOON)
    await index.write(Kind.OBJECTS, batch(_record("kube.objects", deployment), tombstone))
    await index.write(Kind.OBJECTS, batch(tombstone))
    page = await find(index, 1, kind=Kind.OBJECTS, names=("Deployment",), workload=("pay",), namespace=("shop",))
    assert [hit.id for hit in page.items] == ["o1"]
    assert (await index.search(Query(kind=Kind.OBJECTS, text="shop/pay:2"))).total == 1


async def test_counts(index: Index) -> None:
    nowhere = raw(b'{"log":"x"}', 9)
    await index.write(Kind.LOGS, batch(*_places(), nowhere))
    await find(index, 6)
    assert await index.counts(Kind.LOGS) == {(): 6}
    assert await index.counts(Kind.LOGS, ("cluster",)) == {("prod",): 4, ("test",): 1, ("",): 1}
    both = await index.counts(Kind.LOGS, ("cluster", "namespace"))
    assert both[("prod", "shop")] == 2
    assert both[("", "")] == 1
    assert await index.counts(Kind.GAPS) == {(): 0}
    assert await index.counts(Kind.GAPS, ("cluster",)) == {}
    with pytest.raises(Invalid):
        await index.counts(Kind.LOGS, ("pod",))


async def test_the_record_at_a_place(index: Index) -> None:
    await index.write(Kind.LOGS, batch(*(log(f"n{n}", n, key=b"k%d" % n) for n in range(5))))
    await find(index, 5)
    page = await index.search(Query(kind=Kind.LOGS, partition=0, offset=3))
    assert lines(page) == ["n3"]
    assert (await index.search(Query(kind=Kind.LOGS, partition=1, offset=3))).total == 0


async def test_an_empty_index_answers(index: Index) -> None:
    await index.ping()
    page = await index.search(Query(kind=Kind.NOTIFICATIONS, text="x", namespace=("y",)))
    assert (page.items, page.total, page.next) == ([], 0, "")
    assert await index.get(Kind.LOGS, "x") is None


async def test_a_recreated_topic_overwrites_nothing(index: Index) -> None:
    await index.write(Kind.LOGS, batch(log("before", 0)))
    again = batch(log("after", 0))
    again.topic_id = "another-id"
    await index.write(Kind.LOGS, again)
    page = await until(lambda: index.search(Query(kind=Kind.LOGS)), lambda page: page.total == 2)
    assert sorted(lines(page)) == ["after", "before"]


def _record(topic: str, value: msgspec.Struct, n: int = 0) -> Record:
    return Record(topic, 0, n, b"key", msgspec.json.encode(value), getattr(value, "time_ms", NOON))
