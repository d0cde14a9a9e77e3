"""What is searched of a record, and how documents are named: pure."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.record import Record
from streams.sinks.index import ids
from streams.sinks.index.elasticsearch.compiled import pods_of
from streams.sinks.index.fields import decode, draw, owners, readable
from streams.sinks.index.port import Kind
from tests.index.conftest import batch

HASHES = "bcdfghjklmnpqrstvwxz2456789"


@pytest.mark.parametrize(
    ("pod", "workloads"),
    [
        ("pay-7d9c8f6b54-x2k4p", {"pay", "pay-7d9c8f6b54"}),
        ("kube-proxy-x7k2p", {"kube-proxy"}),
        ("db-0", {"db"}),
        ("db-main-12", {"db-main"}),
        ("etcd", set()),
        ("shop-front-bcdfghjk-zzzzz", {"shop-front", "shop-front-bcdfghjk"}),
    ],
)
def test_the_workload_of_a_pod_by_its_name(pod: str, workloads: set[str]) -> None:
    assert set(owners([pod])) == workloads | {pod}


@given(
    st.from_regex(r"[a-z]{1,6}(-[a-z0-9]{1,6}){0,2}", fullmatch=True),
    st.sampled_from(["", "-7d9c8f6b5", "-bcdfgh", "-proxy"]),
    st.sampled_from(["", "-x2k4p", "-0", "-12", "-abcde", "-abc"]),
)
def test_both_adapters_agree_which_pods_a_workload_has(name: str, middle: str, end: str) -> None:
    """The names drawn from a pod at write (tantivy), and the pods asked for by a workload's name (Elasticsearch)."""
    pod = name + middle + end
    for workload in {name, name + middle, pod, pod.rpartition("-")[0], "other"} - {""}:
        assert (workload in owners([pod])) == bool(re.fullmatch(pods_of(workload), pod)), (workload, pod)


@pytest.mark.parametrize(
    "record", [{}, {"kubernetes": []}, {"kubernetes": {"labels": "x"}, "log": {"a": 1}}, {"log": [1, {}]}]
)
@pytest.mark.parametrize("kind", list(Kind))
def test_anything_can_be_drawn_from(kind: Kind, record: dict[str, Any]) -> None:
    odd = {"alerts": [1, {"labels": []}], "involved": "x", "object": {"spec": {"containers": [1]}}, "id": 5}
    draw(kind, record | odd)


def test_a_cloud_event_in_structured_mode_is_looked_into() -> None:
    record = {"specversion": "1.0", "id": "c", "data": {"cluster": "prod", "source": "watch", "reason": "relisted"}}
    assert draw(Kind.GAPS, record).cluster == ("prod",)


def test_words_that_are_too_long_are_no_words() -> None:
    drawn = draw(Kind.LOGS, {"cluster": "x" * 1025, "log": "y" * 5000})
    assert (drawn.cluster, len(drawn.text[0])) == ((), 5000)


@pytest.mark.parametrize("value", [b"", b"[]", b"null", b"{", b"\xff{}", b'{"a":' + b"[" * 100_000])
def test_what_is_no_object_is_said_to_be_none(value: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        decode(value)


@given(st.binary(max_size=600))
def test_an_id_is_short_text_and_depends_on_the_key_alone(key: bytes) -> None:
    made = ids.key_id(key)
    assert made == ids.key_id(bytes(key))
    assert len(made.encode()) <= 512
    assert bool(made) == bool(key)


@pytest.mark.parametrize(
    ("time_ms", "name"),
    [
        (1_795_608_000_000, "p-logs-2026.11.25"),
        (1_795_564_799_999, "p-logs-2026.11.24"),
        (1_795_564_800_000, "p-logs-2026.11.25"),
        (-1, "p-logs-undated"),
        (1_795_608_000, "p-logs-undated"),
        (1 << 62, "p-logs-undated"),
    ],
)
def test_the_index_is_named_by_the_records_time_alone(time_ms: int, name: str) -> None:
    assert ids.index_name("p", Kind.LOGS, ids.day_of(time_ms)) == name


def test_other_kinds_are_known_by_their_own_id() -> None:
    message = batch(Record("gaps", 3, 9, b"key", b"{}", 0)).messages[0]
    assert ids.document_id(Kind.GAPS, "tid", 3, message, {"id": "g1"}) == "g1"
    assert ids.document_id(Kind.OUTCOMES, "tid", 3, message, {"notification": "n"}) == "tid-3-9"
    assert ids.document_id(Kind.LOGS, "tid", 3, message, {"id": "g1"}) == "key"


def test_an_answer_leaves_out_what_nests_too_deeply() -> None:
    """JSON writers refuse some 250 levels: a page would be lost for one of its records."""
    plain = {"log": "x", "a": [{"b": [1, None]}]}
    assert readable(plain) is plain
    shown = readable({"log": "deep", "a": orjson.loads(b"[" * 200 + b"]" * 200)})
    assert shown["log"] == "deep"
    inner = shown["a"]
    for _ in range(98):
        (inner,) = inner
    assert inner == ["…"]
