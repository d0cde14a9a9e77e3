"""The query language on both adapters: what each construct finds, and that engines and evaluator agree on anything."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.errors import Invalid
from streams.sinks.index.fields import decode, draw
from streams.sinks.index.language_match import Matcher
from streams.sinks.index.language_parser import parse
from streams.sinks.index.port import Index, Kind, Query
from tests.index.conftest import NOON, batch, find, log, raw

MINUTE = 60_000


def _at(namespace: str, pod: str, container: str = "main", **labels: str) -> dict[str, Any]:
    return {"namespace_name": namespace, "pod_name": pod, "container_name": container, "labels": labels}


RECORDS = [
    log("payment failed: connection refused", 0, level="ERROR", status=500, stream="stderr", took=1.5),
    log("GET /api/v1/items 200", 1, level="info", status=200, stream="stdout", took="2.50", http={"method": "GET"}),
    log("slow call to 10.0.0.7:5432", 2, severity="Warning", status="404", kubernetes=_at("data", "db-0", "db")),
    log(
        "E1124 reflector.go:138] err:<nil> main.main()",
        3,
        tenant="blue",
        kubernetes=_at("kube-system", "kube-proxy-x7k2p", "proxy", **{"k8s-app": "kube-proxy", "app": "kp"}),
    ),
    raw(b'{"msg":"order_17 done","level":"INFO","tags":["a","b c",7],"http":{"method":"POST","in":{"x":true}}}', 4),
    log("node says hello", 5, time_ms=NOON + MINUTE, kubernetes=_at("shop", "Web-1") | {"host": "node-1"}),
]
FOUND = [
    ("refused", "a"),
    ("refused OR slow", "ac"),
    ("refused AND slow", ""),
    ("payment NOT refused", ""),
    ("NOT refused", "bcdef"),
    ("NOT (refused OR order_17)", "bcdf"),
    ("(refused OR slow) AND call", "c"),
    ("refus*", "a"),
    ("*fuse*", "a"),
    ("conn-ref*", ""),
    ("10.0.0.*", "c"),
    ("/refus(ed|al)/", "a"),
    ("/order_[0-9]+/", "e"),
    ("/api/v1/items", "b"),
    ("http://nowhere", ""),
    ('"connection refused"', "a"),
    ('log:"connection refused"', "a"),
    ("msg:order_17", "e"),
    ("text:hello", "f"),
    ("order_17", "e"),
    ("main.main()", "d"),
    ("reflector.go:138]", "d"),
    ("err:<nil>", "d"),
    ("level:error", "a"),
    ("level:Error", "a"),
    ("level:warn", "c"),
    ("severity:warning", "c"),
    ("level:inf*", "be"),
    ("level:/ERR.*/", "a"),
    ("NOT level:*", "df"),
    ("stream:stderr", "a"),
    ("stream:std*", "ab"),
    ("stream:/std(out|err)/", "ab"),
    ("status:500", "a"),
    ('status:"500"', "a"),
    ("status:>=404", "ac"),
    ("status>=404", "ac"),
    ("status:>404", "a"),
    ("status:<404 status:>100", "b"),
    ("status:404 OR status:>404", "ac"),
    ("status:*", "abc"),
    ("took:<2", "a"),
    ("took:>=2.5", "b"),
    ("took:2.50", "b"),
    ("status:/5../", "a"),
    ("namespace:shop", "abf"),
    ("namespace:(data OR kube-system)", "cd"),
    ("namespace:/(sh|d).*/", "abcf"),
    ("NOT namespace:*", "e"),
    ("pod:pay-*", "ab"),
    ("pod:web-1", ""),
    ("workload:pay", "ab"),
    ("workload:kube-*", "d"),
    ("workload:/d[b]/", "c"),
    ("container:proxy", "d"),
    ("cluster:prod", "abcdf"),
    ("tenant:blue", "d"),
    ("label.app:pay", "ab"),
    ("label.app:p*", "ab"),
    ("label.k8s-app:kube-proxy", "d"),
    ("kubernetes.labels.k8s-app:*", "d"),
    ("label.app:/k./", "d"),
    ("http.method:GET", "b"),
    ("http.method:*", "be"),
    ("http.in.x:true", "e"),
    ('tags:"b c"', "e"),
    ("tags:a tags:7", "e"),
    ("tags:>5", "e"),
    ("host:node-1", ""),
    ("node:node-1", "f"),
    ("kubernetes.host:node-*", "f"),
    ("time:>=2026-11-25T12:01:00Z", "f"),
    ("time:<2026-11-25T12:01:00Z", "abcde"),
    (f"time>{NOON}", "f"),
    (f"time<={NOON}", "abcde"),
    ("nothing:here", ""),
]


async def test_what_each_construct_finds(index: Index) -> None:
    await index.write(Kind.LOGS, batch(*RECORDS))
    await find(index, len(RECORDS))
    for text, expected in FOUND:
        page = await index.search(Query(kind=Kind.LOGS, text=text, oldest_first=True))
        assert "".join("abcdef"[hit.offset] for hit in page.items) == expected, text
        assert page.total == len(expected), text
        node = parse(text)
        assert node is not None
        there = [
            record
            for record in RECORDS
            if Matcher(node)(draw(Kind.LOGS, decode(record.value or b"")), record.timestamp_ms)
        ]
        assert "".join("abcdef"[record.offset] for record in there) == expected, f"the evaluator on {text}"


COSTLY = ["label.x:/(a|b)*a(a|b){18}/", "/(a|b)*a(a|b){18}/"]


@pytest.mark.parametrize("text", ['pod:"open', "a OR", "pod:/(/", "kubernetes.pod_id:x", "status:>=many", *COSTLY])
async def test_what_cannot_be_understood_is_invalid(index: Index, text: str) -> None:
    await index.write(Kind.LOGS, batch(log("abababababababababababab", 0)))
    await find(index, 1)
    with pytest.raises(Invalid) as caught:
        await index.search(Query(kind=Kind.LOGS, text=text))
    assert caught.value.reason == "query"


async def test_fields_of_records_a_mapping_refuses_are_found_too(index: Index) -> None:
    """Elasticsearch stores them in another form."""
    odd = b'{"log":{"a":"boom"},"status":500,"level":"error","tags":["x",{"y":1}],"_where":1,"list":[1,"b"],"a..b":1}'
    await index.write(Kind.LOGS, batch(raw(odd, 0), log("fine", 1)))
    await find(index, 2)
    for text in ("status:>=500", "level:error boom", "list:b", "list:>0"):
        page = await index.search(Query(kind=Kind.LOGS, text=text))
        assert [hit.offset for hit in page.items] == [0], text


async def test_other_kinds_are_searched_by_their_names(index: Index) -> None:
    event = b'{"id":"e1","cluster":"prod","reason":"BackOff","message":"Back-off restarting: x","type":"Warning"}'
    await index.write(Kind.EVENTS, batch(raw(event, 0)))
    await find(index, 1, kind=Kind.EVENTS)
    for text, count in (("name:BackOff", 1), ("restart* AND cluster:pr*", 1), ("NOT name:Warning", 0), ("a:b", 0)):
        assert (await index.search(Query(kind=Kind.EVENTS, text=text))).total == count, text
    with pytest.raises(Invalid):
        await index.search(Query(kind=Kind.EVENTS, text='level:"error"'))


async def test_the_histogram_is_of_round_intervals(index: Index) -> None:
    times = [NOON, NOON + 1, NOON + 59_999, NOON + MINUTE, NOON + 90_000, NOON + 86_400_000, 5]
    await index.write(Kind.LOGS, batch(*(log(f"n{n} x", n, time_ms=time) for n, time in enumerate(times))))
    await find(index, len(times))
    found = await index.histogram(Query(kind=Kind.LOGS, text="x"), MINUTE)
    assert found == {0: 1, NOON: 3, NOON + MINUTE: 2, NOON + 86_400_000: 1}
    some = await index.histogram(
        Query(kind=Kind.LOGS, text="n1 OR n4", start_ms=NOON, end_ms=NOON + 2 * MINUTE), MINUTE
    )
    assert some == {NOON: 1, NOON + MINUTE: 1}
    assert await index.histogram(Query(kind=Kind.GAPS), MINUTE) == {}


async def test_the_most_frequent_values_of_a_field(index: Index) -> None:
    await index.write(Kind.LOGS, batch(*RECORDS))
    await find(index, len(RECORDS))

    async def top(field: str, text: str = "", limit: int = 10) -> tuple[int, list[tuple[str, int]]]:
        found = await index.top(Query(kind=Kind.LOGS, text=text), field, limit)
        return found.records, found.values

    assert await top("namespace") == (5, [("shop", 3), ("data", 1), ("kube-system", 1)])
    assert await top("namespace", limit=1) == (5, [("shop", 3)])
    assert await top("level") == (4, [("info", 2), ("error", 1), ("warning", 1)])
    assert await top("label.app", "NOT refused") == (2, [("kp", 1), ("pay", 1)])
    assert await top("status") == (3, [("200", 1), ("404", 1), ("500", 1)])
    assert await top("tags") == (1, [("7", 1), ("a", 1), ("b c", 1)])
    assert await top("stream", "level:error") == (1, [("stderr", 1)])
    assert await top("nothing") == (0, [])
    with pytest.raises(Invalid):
        await top("log")


async def test_containers_are_counted(index: Index) -> None:
    await index.write(Kind.LOGS, batch(*RECORDS))
    await find(index, len(RECORDS))
    assert await index.containers(Query(kind=Kind.LOGS)) == 4
    assert await index.containers(Query(kind=Kind.LOGS, text="namespace:shop")) == 2


async def test_a_page_without_a_total(index: Index) -> None:
    await index.write(Kind.LOGS, batch(*RECORDS))
    await find(index, len(RECORDS))
    seen, cursor = [], ""
    while True:
        page = await index.search(Query(kind=Kind.LOGS, limit=2, cursor=cursor, count=False, oldest_first=True))
        assert page.total == -1
        seen += [hit.offset for hit in page.items]
        cursor = page.next
        if not cursor:
            break
    assert seen == list(range(len(RECORDS)))


WORDS = ("refused", "Connection", "time-out", "order_17", "10.0.0.7", "größe", "x", "a.b:c", "日本")
VALUES = ("shop", "data", "a b", "7", "7.5", "-3", "1e3", "TRUE", "", "a=b", "ä", 7, 7.0, 7.5, -3, 0, 1e10, True, None)
FIELDS = ("status", "http.code", "level", "stream", "label.app", "namespace", "pod", "workload", "took")


def corpus(count: int) -> list[dict[str, Any]]:
    rng = random.Random(7)

    def some(values: Any, most: int = 3) -> Any:
        return rng.choices(values, k=rng.randint(1, most)) if rng.random() < 0.15 else rng.choice(values)

    out = []
    for _ in range(count):
        record: dict[str, Any] = {"log": " ".join(rng.choices(WORDS, k=rng.randint(0, 4)))}
        record |= {name: some(VALUES) for name in ("status", "level", "stream", "took") if rng.random() < 0.6}
        if rng.random() < 0.4:
            record["http"] = rng.choice([{"code": some(VALUES)}, "text", [{"code": 7}, {"code": "x"}]])
        if rng.random() < 0.8:
            record["kubernetes"] = {
                "namespace_name": rng.choice(("shop", "data", "Shop")),
                "pod_name": rng.choice(("pay-7d9c8f6b5-x2k4p", "db-0", "db", "kube-proxy-x7k2p")),
                "labels": {"app": rng.choice(("pay", "db", "7"))},
            }
        out.append(record)
    return out


_value = st.one_of(
    st.sampled_from(
        ["shop", "data", '"a b"', "7", "7.0", "7.5", "true", "TRUE", "pay", "db", "sh*", "*a", "*", '"a=b"']
    ),
    st.sampled_from(["/.*/", "/[a-z]+/", "/(sh|d).p?.*/", "/[^s].*/", "/d{1,2}b-?\\d?/", "/\\w+/", "/.{2,4}/"]),
)
_compared = st.builds(
    lambda op, value: op + value,
    st.sampled_from([">=", ">", "<", "<="]),
    st.sampled_from(["7", "7.5", "-3", "0", "1000", "1e10", "-3.5"]),
)
_leaf = st.one_of(
    st.builds(lambda field, value: f"{field}:{value}", st.sampled_from(FIELDS), _value),
    st.builds(lambda field, value: f"{field}:{value}", st.sampled_from(["status", "http.code", "took"]), _compared),
    st.sampled_from(WORDS),
    st.sampled_from(["ref*", "*_17", "/[a-z]+/", '"refused x"', "10.*", "/1?.*7/", "gr*", "日*", "log:x"]),
)
_queries = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.builds(lambda a, b: f"({a} {b})", inner, inner),
        st.builds(lambda a, b: f"({a} OR {b})", inner, inner),
        st.builds(lambda a: f"NOT {a}", inner),
    ),
    max_leaves=6,
)


@given(st.lists(_queries, min_size=20, max_size=40))
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
async def test_engines_and_evaluator_agree(index: Index, queries: list[str]) -> None:
    records = [log(None, n, time_ms=NOON + n)._replace(value=_encode(each)) for n, each in enumerate(corpus(120))]
    await index.write(Kind.LOGS, batch(*records))
    await find(index, len(records))
    drawn = [draw(Kind.LOGS, decode(record.value or b"")) for record in records]
    for text in queries:
        try:
            node = parse(text)
        except Invalid:
            continue
        assert node is not None
        matcher = Matcher(node)
        expected = [n for n, each in enumerate(drawn) if matcher(each, NOON + n)]
        page = await index.search(Query(kind=Kind.LOGS, text=text, limit=200, oldest_first=True))
        assert [hit.offset for hit in page.items] == expected, text


def _encode(record: dict[str, Any]) -> bytes:
    import msgspec

    return msgspec.json.encode(record)
