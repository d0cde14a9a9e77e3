"""Documents over batches: which records they touch, what becomes of these, and that all others stay as they were."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.process_document import Sample, Step
from streams.batch import Batch, with_value
from streams.process.candidates import BLOCK, scan_for
from streams.process.processor import Processor, Touch, Volume, kept
from tests.process.documents import batch, left, processor, value

SELECTED = [
    ("namespace: shop", True),
    ("namespace: shopping", False),
    ("namespace: [other, shop]", True),
    ("namespace: 'sh*'", True),
    ("namespace: '*op'", True),
    ("namespace: '?hop'", True),
    ("namespace: 'hop'", False),
    ("namespace: 's*x'", False),
    ("namespace: '*'", True),
    ("cluster: prod", True),
    ("cluster: 'dev-*'", False),
    ("workload: web", True),
    ("workload: web-7d9c8f6b5", True),
    ("workload: 'we*'", True),
    ("workload: we", False),
    ("workload: front", True),
    ("workload: named", True),
    ("pod: 'web-*'", True),
    ("pod: web", False),
    ("container: web", True),
    ("labels: {tier: front, app: named}", True),
    ("labels: {tier: back}", False),
    ("labels: {app.kubernetes.io/name: front}", True),
    ("labels: {none: '*'}", False),
    ("where: 'log.contains(\"hello\")'", True),
    ('where: \'namespace == "shop" && !message.contains("hello")\'', False),
    ("{namespace: shop, where: 'log.startsWith(\"hello\")'}", True),
    ("{namespace: other, where: 'log.startsWith(\"hello\")'}", False),
    ("{}", True),
]
LABELS = {"labels": {"tier": "front", "app": "named", "app.kubernetes.io/name": "front"}}


def drop(select: str) -> Processor:
    return processor(
        f"documents: [{{name: d, select: {select if select[0] == '{' else '{' + select + '}'}, steps: [drop]}}]"
    )


@pytest.mark.parametrize(("select", "selected"), SELECTED, ids=[select for select, _ in SELECTED])
def test_selectors(select: str, selected: bool) -> None:
    record = value("hello world", about=LABELS)
    escaped = b'{"log":"\\u0068ello world",' + record.partition(b",")[2].replace(b"shop", b"\\u0073hop")
    done = drop(select).run(batch(record, escaped))
    assert done.dropped == ({"d": [0, 1]} if selected else {})


def test_records_without_kubernetes_are_of_no_namespace() -> None:
    done = drop("namespace: '*'").run(batch(b'{"log":"x"}', b'{"log":"x","kubernetes":"no object"}'))
    assert not done.dropped


def test_nothing_touched_is_the_very_batch() -> None:
    given = batch(value("hello"), value("there"))
    assert drop("namespace: other").run(given).batch is given


def test_steps_go_in_order_and_end_with_a_drop() -> None:
    text = """
documents:
  - {name: a, select: {where: 'log.contains("x")'}, steps: [{mask: {patterns: [mail]}}]}
  - {name: b, select: {where: 'log.contains("@")'}, steps: [drop]}
  - {name: c, steps: [{parse: {as: logfmt}}]}
"""
    given = batch(value("x=1 a@b.de"), value("x=1"), value("a@b.de"), value("nothing"))
    done = processor(text).run(given)
    assert done.dropped == {"b": [0, 2]}  # selected by what came, not by what masking left of it
    assert done.positions == [1, 3]
    sizes = list(map(len, given.messages))
    assert done.touched == {
        Touch("a", Step.MASK): Volume(1, sizes[0]),
        Touch("b", Step.DROP): Volume(2, sizes[0] + sizes[2]),
        Touch("c", Step.PARSE): Volume(1, sizes[1]),
    }
    assert [record.get("parsed") for record in left(done.batch)] == [{"x": "1"}, None]


def test_all_dropped_leaves_no_batch() -> None:
    done = drop("{}").run(batch(value("a"), value("b")))
    assert (done.batch, done.dropped) == (None, {"d": [0, 1]})


def test_what_is_no_object_is_told_where_a_document_may_be_about_it() -> None:
    every = drop("{}").run(batch(value("a"), b"[]", b"{", None))
    assert sorted(every.bad) == [1, 2, 3]
    masked = processor("documents: [{name: a, steps: [{mask: {patterns: [mail]}}]}]")
    done = masked.run(batch(b"{", b'{"log":"a@b.de",}'))
    assert sorted(done.bad) == [1]  # the first is the index's to refuse


def test_a_changed_record_stands_where_it_stood() -> None:
    given = batch(value("a"), value("a@b.de"), first=70)
    done = processor("documents: [{name: a, steps: [{mask: {patterns: [mail]}}]}]").run(given)
    assert done.batch is not None
    first, second = done.batch.messages
    assert first is given.messages[0]
    assert (second.offset(), second.key(), second.timestamp()) == (71, b"chunk-71", (1, 1_795_608_000_000))
    assert (done.batch.topic_id, done.batch.partition, done.batch.end_offset) == ("T", 0, 72)


def kafka_batch(*values: bytes) -> Batch:
    """As the batch source gives them: the client's own messages."""
    messages: list[Any] = [
        Message(topic="logs", partition=0, offset=at, key=b"k-%d" % at, value=each, timestamp=(1, 1_795_608_000_000))
        for at, each in enumerate(values)
    ]
    return Batch("logs", 0, messages, topic_id="T")


def test_changed_records_are_of_the_same_type_as_the_others() -> None:
    """So that the index may ask all of a batch alike: its fast way."""
    given = kafka_batch(value("a"), value("a@b.de"), value("c"))
    done = processor("documents: [{name: a, steps: [{mask: {patterns: [mail]}}]}]").run(given)
    assert done.batch is not None
    assert [type(message).__name__ for message in done.batch.messages] == ["Message"] * 3
    assert [record["log"] for record in left(done.batch)] == ["a", "***", "c"]


def test_with_value_keeps_everything_else() -> None:
    headers: Any = [("h", b"1")]
    message: Any = Message(topic="t", partition=3, offset=9, key=b"k", value=b"v", headers=headers, timestamp=(2, 17))
    made = with_value("t", 3, message, b"longer")
    assert (made.offset(), made.key(), made.value(), made.timestamp()) == (9, b"k", b"longer", (2, 17))
    assert (made.headers(), len(made)) == (headers, 6)


# sampling


def test_sampling_keeps_about_the_share_by_id() -> None:
    sample = Sample(keep=1, of=10)
    keeps = [kept(f"chunk-{at}", "d", sample) for at in range(20_000)]
    assert 1800 < sum(keeps) < 2200
    assert keeps != [kept(f"chunk-{at}", "other", sample) for at in range(20_000)]
    thirds = Sample(keep=2, of=3)
    assert 13_000 < sum(kept(f"chunk-{at}", "d", thirds) for at in range(20_000)) < 13_700


def test_records_without_a_key_are_sampled_by_where_they_stand() -> None:
    sampled = processor("documents: [{name: d, steps: [{sample: {of: 2}}]}]")
    values = [value("same")] * 64
    done = sampled.run(batch(*values, keyed=False))
    assert 10 < len(done.dropped["d"]) < 54


# parsing

PARSED: list[tuple[str, str, Any]] = [
    ("as: json", '{"a":1,"b":{"c":[true,null]}}', {"a": 1, "b": {"c": [True, None]}}),
    ("as: json", "  {} ", None),
    ("as: json", "[1]", None),
    ("as: json", "{broken", None),
    ("as: json", '{"' + "x" * 200 + '":1,"deep":[[[[[[1]]]]]],"ok":2}', {"ok": 2}),
    (
        "as: logfmt",
        'level=info msg="a \\"b\\"" dur=3ms x= free words',
        {"level": "info", "msg": 'a "b"', "dur": "3ms", "x": ""},
    ),
    ("as: logfmt", "no pairs here", None),
    ("as: logfmt", 'http://x/?a=b c=d" e=f', {"e": "f"}),
    (
        "as: pattern, pattern: '(?P<method>GET|PUT) (?P<path>\\S+)( (?P<more>x))?'",
        "ü GET /ä",
        {"method": "GET", "path": "/ä"},
    ),
    ("as: pattern, pattern: '(?P<method>GET|PUT)'", "POST", None),
]


@pytest.mark.parametrize(("how", "log", "expected"), PARSED, ids=[str(number) for number in range(len(PARSED))])
def test_parsing(how: str, log: str, expected: Any) -> None:
    done = processor(f"documents: [{{name: a, steps: [{{parse: {{{how}}}}}]}}]").run(batch(value(log)))
    assert left(done.batch)[0].get("parsed") == expected
    assert left(done.batch)[0]["log"] == log


def test_parsing_is_bounded() -> None:
    parse = processor("documents: [{name: a, steps: [{parse: {as: json}}]}]")
    many = msgspec.json.encode({f"f{n}": "x" * 10_000 for n in range(100)}).decode()
    (record,) = left(parse.run(batch(value(many))).batch)
    assert "parsed" not in record  # longer than what is parsed at all
    many = msgspec.json.encode({f"f{n}": "x" * 5_000 for n in range(10)} | {f"g{n}": n for n in range(100)}).decode()
    (record,) = left(parse.run(batch(value(many))).batch)
    assert len(record["parsed"]) == 64
    assert len(record["parsed"]["f0"]) == 4096


@pytest.mark.parametrize("text", ["a" * 65_000, 'a="b ' * 13_000, "a=" * 32_000, 'k="\\' * 13_000])
def test_hostile_lines_are_parsed_in_time(text: str) -> None:
    parse = processor("documents: [{name: a, steps: [{parse: {as: logfmt}}]}]")
    began = time.process_time()
    parse.run(batch(value(text)))
    assert time.process_time() - began < 1


def test_parsing_leaves_what_is_there() -> None:
    parse = processor("documents: [{name: a, steps: [{parse: {as: json}}]}]")
    done = parse.run(batch(value('{"a":1,"b":2}', parsed={"a": 0}), value('{"a":1}', parsed="text")))
    assert [record["parsed"] for record in left(done.batch)] == [{"a": 0, "b": 2}, "text"]


# what is found by bytes


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"")), max_size=3 * BLOCK),
    st.binary(min_size=1, max_size=2),
)
def test_a_scan_finds_exactly_the_values_that_hold_a_literal(values: list[bytes], literal: bytes) -> None:
    literal = literal.replace(b"\n", b"x")
    import re2

    found = scan_for([re2.escape(literal)])(values)
    assert found == [at for at, each in enumerate(values) if literal in each or (b"\\u00" in each and _escaped(each))]


def _escaped(raw: bytes) -> bool:
    import re

    return re.search(rb"\\u00[2-7]", raw) is not None


DOCUMENTS = """
documents:
  - {name: noise, select: {namespace: [shop, 'b*'], where: 'log.contains("GET")'}, steps: [drop]}
  - {name: few, select: {workload: web}, steps: [{sample: {keep: 1, of: 3}}]}
  - {name: mask, steps: [{mask: {patterns: [mail, token, card], own: ['id=(\\d+)']}}]}
  - {name: parse, select: {namespace: pay}, steps: [{parse: {as: logfmt}}, {mask: {own: ['x+']}}]}
"""
RUN, AGAIN = processor(DOCUMENTS), processor(DOCUMENTS)
TEXTS = st.sampled_from(
    ["GET /", "a@b.de", "id=17", "password=hunter2", "4111111111111111", "xx=1", "ü", '"', "\\", "\t", "k=v"]
)
VALUES = st.builds(
    lambda texts, namespace, pod, loose: value(" ".join(texts), namespace=namespace, pod=pod).replace(
        b":", b" :" if loose else b":"
    ),
    st.lists(TEXTS, max_size=4),
    st.sampled_from(["shop", "bar", "pay", "x"]),
    st.sampled_from(["web-7d9c8f6b5-x2kzp", "job-abc12", "db-0"]),
    st.booleans(),
)


def outcomes(run: Processor, *batches: Batch) -> dict[int, bytes | None]:
    """offset -> what is indexed for it, None when it was dropped."""
    out: dict[int, bytes | None] = {message.offset(): None for each in batches for message in each.messages}
    for each in batches:
        found = run.run(each)
        for message in found.batch.messages if found.batch else ():
            out[message.offset()] = message.value()
    return out


@settings(max_examples=50, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=12), st.data())
def test_what_becomes_of_a_record_does_not_depend_on_its_batch(values: list[bytes], data: st.DataObject) -> None:
    """However often and in whatever batches records come again, the same is indexed and dropped; a record no document
    is about keeps its bytes."""
    whole = batch(*values)
    run, again = RUN, AGAIN
    cut = data.draw(st.integers(0, len(values)))
    parts = [whole.part(start, end) for start, end in ((0, cut), (cut, len(values))) if end > start]
    expected = outcomes(run, whole)
    assert outcomes(run, *parts) == expected
    assert outcomes(again, *(whole.part(at, at + 1) for at in range(len(values)))) == expected
    for at, raw in enumerate(values):
        alone = run.one(raw, f"chunk-{at}")
        assert expected[at] == alone.value
        if not alone.touches:
            assert expected[at] == raw
    indexed = b"".join(each for each in expected.values() if each is not None)
    assert b"@b.de" not in indexed
    assert b"hunter2" not in indexed
    assert b"4111111111111111" not in indexed
