"""Kubernetes objects -> records, and what the trackers make of what Kafka already has. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.base import digest
from schemas.kube import KubeEvent, KubeObject
from streams.record import Outgoing
from streams.sources.kube_records import OBJECT_RESOURCES, Known, event, newer, object_, stripped
from streams.sources.kube_state import Entry
from streams.sources.kube_trackers import Events, Objects

POD = OBJECT_RESOURCES[2]


def raw_event(uid: str = "e1", version: str = "5", **fields: Any) -> dict[str, Any]:
    meta = {"uid": uid, "resourceVersion": version, "namespace": "shop", "name": "pay.1"}
    return {"metadata": meta | fields.pop("metadata", {}), "involvedObject": {"kind": "Pod", "uid": "p1"}, **fields}


def pod(name: str, uid: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": version}}


def told(records: list[Outgoing]) -> list[tuple[str, str]]:
    """(change, uid) of each, a tombstone as ("tombstone", "")."""
    out = []
    for record in records:
        found = msgspec.json.decode(record.value, type=KubeObject) if record.value else None
        out.append((found.change, found.uid) if found else ("tombstone", ""))
    return out


@pytest.mark.parametrize(
    ("fields", "time"),
    [
        ({"series": {"lastObservedTime": "2026-01-01T00:00:05.5Z", "count": 9}}, 1767225605500),
        ({"lastTimestamp": "2026-01-01T00:00:04Z", "firstTimestamp": "2026-01-01T00:00:01Z"}, 1767225604000),
        ({"eventTime": "2026-01-01T00:00:03.000001Z", "lastTimestamp": None}, 1767225603000),
        ({"deprecatedLastTimestamp": "2026-01-01T00:00:06Z"}, 1767225606000),
        ({"metadata": {"creationTimestamp": "2026-01-01T00:00:07Z"}}, 1767225607000),
        ({}, 0),
    ],
)
def test_the_newest_time_there_is(fields: dict[str, Any], time: int) -> None:
    assert event(raw_event(**fields), "c", 0, replayed=False).time_ms == time


def test_both_shapes_of_an_event_are_one() -> None:
    old = raw_event(
        message="m",
        reason="r",
        type="Warning",
        count=3,
        firstTimestamp="2026-01-01T00:00:00Z",
        lastTimestamp="2026-01-01T00:00:09Z",
        source={"component": "kubelet", "host": "n1"},
    )
    meta = old["metadata"]
    new = {
        "metadata": meta,
        "regarding": {"kind": "Pod", "uid": "p1"},
        "note": "m",
        "reason": "r",
        "type": "Warning",
        "deprecatedCount": 3,
        "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
        "deprecatedLastTimestamp": "2026-01-01T00:00:09Z",
        "deprecatedSource": {"component": "kubelet", "host": "n1"},
    }
    assert event(old, "c", 1, replayed=False) == event(new, "c", 1, replayed=False)
    assert event(old, "c", 1, replayed=False).count_delta == 2


def test_objects_lose_what_repeats_them() -> None:
    meta = {
        "name": "p",
        "managedFields": [{"time": "2026-01-01T00:00:02Z"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "big": "x" * 5000, "a": "1"},
    }
    raw = {"metadata": meta, "spec": {"x": 1}}
    assert stripped(raw, "Pod") == {
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": {"a": "1"}},
        "spec": {"x": 1},
    }
    assert object_(raw, "c", "Pod", "added", replayed=False).time_ms == 1767225602000
    assert "managedFields" in meta


def test_an_event_is_told_once_a_version_and_counted_on() -> None:
    events = Events("c", {})
    deltas = []
    for version, count in (("5", 1), ("5", 1), ("7", 4), ("6", 2), ("9", 6)):
        records = events.put(raw_event(version=version, count=count), replayed=False)
        deltas += [msgspec.json.decode(record.value or b"", type=KubeEvent).count_delta for record in records]
    assert deltas == [1, 3, 2]
    assert events.pending() == {"e1": Entry(version="9", count=6)}
    assert events.pending() == {}


def test_what_the_server_forgot_is_forgotten() -> None:
    counts = {uid: Entry(version="1", count=1) for uid in ("a", "b", "c")}
    events = Events("c", counts)
    assert events.delete(raw_event("a")) == []
    assert list(events.absent({"b"})) == []
    assert set(counts) == {"b"}
    assert events.pending() == {"a": None, "c": None}


def test_counts_are_bounded() -> None:
    counts: dict[str, Entry] = {}
    events = Events("c", counts, limit=2)
    for version, uid in enumerate(("a", "b", "a", "c")):
        events.put(raw_event(uid, str(version)), replayed=False)
    assert set(counts) == {"a", "c"}  # "b" is the one that did not change for longest
    assert events.pending()["b"] is None


def test_an_object_s_life() -> None:
    objects = Objects("c", POD, {}, lambda: 9)
    assert told(objects.put(pod("p", "u1", "5"), replayed=False)) == [("added", "u1")]
    assert told(objects.put(pod("p", "u1", "6"), replayed=False)) == [("modified", "u1")]
    gone = objects.delete(pod("p", "u1", "7"))
    assert told(gone) == [("deleted", "u1"), ("tombstone", "")]
    assert gone[0].key == gone[1].key == b"c/Pod/shop/p"
    record = msgspec.json.decode(gone[0].value or b"", type=KubeObject)
    assert record.id == digest("c", "u1", "deleted")
    assert objects.delete(pod("p", "u1", "7")) == []


def test_what_kafka_has_is_not_told_again() -> None:
    objects = Objects("c", POD, {("shop", "p"): Known("u2", "10")}, lambda: 9)
    assert objects.put(pod("p", "u2", "10"), replayed=True) == []
    assert objects.put(pod("p", "u1", "4"), replayed=False) == []
    assert objects.delete(pod("p", "u1", "8")) == []


def test_a_list_shows_deletions_and_replacements() -> None:
    known = {("shop", "gone"): Known("u1", "1"), ("shop", "new"): Known("u2", "2"), ("shop", "same"): Known("u3", "3")}
    objects = Objects("c", POD, known, lambda: 9)
    records = objects.put(pod("new", "u4", "8"), replayed=True) + objects.put(pod("same", "u3", "3"), replayed=True)
    assert told(records) == [("deleted", "u2"), ("added", "u4")]
    assert told(list(objects.absent({("shop", "new"), ("shop", "same")}))) == [("deleted", "u1"), ("tombstone", "")]


def test_secrets_are_not_watched() -> None:
    assert {r.plural for r in OBJECT_RESOURCES}.isdisjoint({"secrets", "configmaps"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
)
FIELDS = ["series", "source", "related", "involvedObject", "eventTime", "count", "message", "metadata", "type"]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_odd_events_are_read_or_refused(fields: dict[str, Any]) -> None:
    """Whatever the tracker raises is caught by the watch and dead-lettered; nothing else may come of it."""
    try:
        records = Events("c", {}).put(fields, replayed=False)
    except (TypeError, AttributeError, ValueError):
        return
    assert msgspec.json.decode(records[0].value or b"", type=KubeEvent).cluster == "c"


@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_versions_are_numbers(a: int, b: int) -> None:
    assert newer(str(a), str(b)) == (a > b)
