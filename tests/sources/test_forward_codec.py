"""The forward protocol's codec, pure: all modes mean the same, nothing that arrives breaks it."""

from __future__ import annotations

import gzip
import math
from contextlib import suppress
from typing import Any

import msgpack
import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.base import digest
from streams.errors import Invalid
from streams.record import AHEAD_MS, Outgoing
from streams.sources.forward_codec import Refused, Splitter, decompress, parse
from streams.sources.forward_entries import Bad, Context, _render, windows
from streams.sources.forward_render import Renderer
from streams.sources.forward_values import decoded
from tests.sources.client import event_time, frame, packed

NOW_MS = 1_800_000_000_000
LIMIT = 1 << 20

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20) | st.binary()
)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=5), v, max_size=4))
records = st.dictionaries(st.text(max_size=10), values, max_size=5)
times = (
    st.integers(1, 2**32 - 1)
    | st.floats(1, 4e9)
    | st.builds(event_time, st.integers(1, 2**32 - 1), st.integers(0, 999_999_999))
)


def context(tag: str = "t", chunk: str = "", max_bytes: int = 4 << 20) -> Context:
    return Context(tag, chunk, "local", NOW_MS, max_bytes, Renderer())


def read(entries: bytes, **given_: Any) -> tuple[list[Outgoing], list[Bad]]:
    done = list(windows(entries, context(**given_)))
    made = [Outgoing("logs", v, k, None, t) for w in done for k, v, t in zip(w.keys, w.values, w.times_ms, strict=True)]
    return made, [b for w in done for b in w.bad]


def one(entry: Any) -> dict[str, Any]:
    found, bad = read(packed([entry]))
    assert not bad
    out: dict[str, Any] = orjson.loads(found[0].value or b"")
    return out


@pytest.mark.parametrize("mode", ["message", "forward", "packed", "gzip", "zstd"])
def test_all_modes_carry_the_same_records(mode: str) -> None:
    entries = [[event_time(1_700_000_000, 5_000_000), {"log": "a"}]]
    splitter = Splitter(LIMIT)
    (whole,) = splitter.feed(frame(mode, "kube.x", entries, chunk="c1", size=1))
    chunk = parse(whole)
    assert (chunk.tag, chunk.chunk, chunk.ack) == ("kube.x", "c1", msgpack.packb({"ack": "c1"}))
    blob = decompress(chunk.entries, chunk.compressed, LIMIT) if chunk.compressed else bytes(chunk.entries)
    (record,), bad = read(blob, tag="kube.x", chunk="c1")
    assert not bad
    assert record.key == f"{digest('kube.x', 'c1')}-0".encode()
    assert record.timestamp_ms == 1_700_000_000_005
    assert orjson.loads(record.value or b"") == {
        "log": "a",
        "@timestamp": "2023-11-14T22:13:20.005Z",
        "cluster": "local",
        "tag": "kube.x",
    }


def test_without_a_chunk_there_is_no_key() -> None:
    (record,), _ = read(packed([[1, {"log": "a"}]]))
    assert record.key is None


def test_what_the_record_says_itself_is_kept() -> None:
    given_ = {"@timestamp": 1.5, "cluster": "prod", "tag": "mine", "log": "x"}
    assert one([1_700_000_000, given_]) == given_


def test_a_pod_s_record_does_not_repeat_its_tag() -> None:
    assert "tag" not in one([1, {"kubernetes": {"pod_name": "p"}}])


def test_nanoseconds_are_kept_where_there_are_any() -> None:
    assert one([event_time(1_700_000_000, 1), {}])["@timestamp"] == "2023-11-14T22:13:20.000000001Z"


@pytest.mark.parametrize("time", [None, "soon", -5, 0, 2**63, 1e308, -1e308, math.inf, math.nan, True, {}])
def test_a_time_that_is_none_is_the_time_of_arrival(time: Any) -> None:
    (record,), _ = read(packed([[time, {}]]))
    assert record.timestamp_ms == NOW_MS


@pytest.mark.parametrize("beside", [{"log": "y"}, {b"\xff": 1}])
def test_a_time_far_ahead_stays_in_the_record_but_is_not_kafkas(beside: dict[Any, Any]) -> None:
    found, _ = read(packed([[event_time(2**32 - 1), {"log": "x"}], [event_time(NOW_MS // 1000 + 60), beside]]))
    assert [record.timestamp_ms for record in found] == [NOW_MS, NOW_MS + 60_000]
    assert orjson.loads(found[0].value or b"")["@timestamp"] == "2106-02-07T06:28:15.000Z"


def test_fluent_bit_s_metadata_beside_the_time() -> None:
    (record,), _ = read(packed([[[event_time(5), {"a": 1}], {"log": "x"}]]))
    assert record.timestamp_ms == 5000


def test_what_json_does_not_have() -> None:
    entry = b"\x92\x01\x86" + b"\xa1s\xa2\xff\xfe" + b"\xa1b\xc4\x02\xffz" + b"\x01\xa1i" + b"\xc0\xa1n"
    entry += b"\xa1f\xca\x7f\xc0\x00\x00" + b"\xa1x\xd4\x05\x09"
    (record,), bad = read(entry)
    assert not bad
    found = orjson.loads(record.value or b"")
    assert found.items() >= {"s": "��", "b": "�z", "1": "i", "null": "n", "f": None, "x": "CQ=="}.items()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (b"\x01", "bad_entry"),
        (b"\x92\x01\x02", "bad_entry"),
        (b"\x93\x01\x80\x80", "bad_entry"),
        (b"\x92\x01\x81\xa1d" + b"\x91" * 101 + b"\x01", "too_deep"),
        (b"\x92\x01\x81\xa1d" + b"\x91" * 900 + b"\x01", "too_deep"),
    ],
)
def test_a_bad_entry_does_not_touch_the_others(entry: bytes, reason: str) -> None:
    good = packed([[1, {"n": 0}]])
    found, bad = read(good + entry + good, chunk="c")
    prefix = digest("t", "c")
    assert [r.key for r in found] == [f"{prefix}-0".encode(), f"{prefix}-2".encode()]
    assert [(b.raw, b.reason) for b in bad] in ([(entry, reason)], [(entry, "bad_msgpack")])


def test_an_entry_over_the_limit_is_refused_alone() -> None:
    found, bad = read(packed([[1, {"log": "x" * 2000}], [1, {"log": "y"}]]), max_bytes=1000)
    assert len(found) == 1
    assert bad[0].reason == "too_large"


def test_broken_msgpack_after_good_entries() -> None:
    found, bad = read(packed([[1, {}]]) * 3 + b"\xc1rest")
    assert len(found) == 3
    assert bad == [Bad(b"\xc1rest", "bad_msgpack", bad[0].detail)]


def test_many_entries_come_in_bounded_windows() -> None:
    blob = packed([[1, {"n": i}] for i in range(10_000)])
    done = list(windows(blob, context(chunk="c")))
    assert [len(w.values) for w in done] == [4096, 4096, 1808]
    keys = [key for w in done for key in w.keys]
    assert keys == [f"{digest('t', 'c')}-{i}".encode() for i in range(10_000)]


@pytest.mark.parametrize("declared", [b"\xdd\x7f\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xc6\x7f\xff\xff\xff"])
def test_declared_lengths_are_not_believed(declared: bytes) -> None:
    _, bad = read(b"\x92\x01" + declared * 10)
    assert [b.reason for b in bad] == ["bad_msgpack"]


def test_bombs_are_stopped_at_the_limit() -> None:
    zeros = bytes(50 << 20)
    for bomb, kind in ((gzip.compress(zeros), "gzip"), (zstandard.ZstdCompressor().compress(zeros), "zstd")):
        with pytest.raises(Invalid, match="chunk_too_large"):
            decompress(bomb, kind, LIMIT)


def test_many_members_bomb() -> None:
    with pytest.raises(Invalid, match="members"):
        decompress(gzip.compress(b"") * 5000, "gzip", LIMIT)


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5), st.integers(0, 400))
@settings(deadline=None)
def test_gzip_members_and_cuts(parts: list[bytes], cut: int) -> None:
    data = b"".join(gzip.compress(part) for part in parts)
    assert decompress(data, "gzip", LIMIT) == b"".join(parts)
    with suppress(Invalid):
        decompress(data[:cut], "gzip", LIMIT)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([1, []], "bad_tag"),
        (["t" * 2000, []], "bad_tag"),
        (["t", 1], "bad_frame"),
        (["t"], "bad_frame"),
        (["t", [], {}, 1, 2], "bad_frame"),
        (["t", [], {"chunk": 5}], "bad_option"),
        (["t", [], "option"], "bad_option"),
    ],
)
def test_frames_of_no_mode(body: Any, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(msgpack.packb(body))
    assert caught.value.reason == reason


def test_metrics_are_refused_with_an_ack() -> None:
    with pytest.raises(Refused) as caught:
        parse(frame("packed", "t", [[1, {}]], chunk="c", fluent_signal=1))
    assert caught.value.chunk.ack == msgpack.packb({"ack": "c"})


def test_http_on_the_forward_port_is_no_frame() -> None:
    splitter = Splitter(LIMIT)
    assert splitter.feed(b"GET / HTTP/1.1\r\n") == []
    assert splitter.error is not None
    assert splitter.error.reason == "not_forward"


def test_an_endless_frame_ends_at_the_limit() -> None:
    splitter = Splitter(LIMIT)
    splitter.feed(b"\x92\xa1t\xc6\x7f\xff\xff\xff")
    for _ in range(17):
        splitter.feed(bytes(65536))
    assert splitter.error is not None
    assert splitter.error.reason == "frame_too_large"


@given(
    st.lists(st.tuples(times | scalars, records), min_size=1, max_size=5),
    st.sampled_from(["forward", "packed", "gzip", "zstd"]),
)
@settings(deadline=None, max_examples=150)
def test_every_record_becomes_json(entries: list[tuple[Any, Any]], mode: str) -> None:
    (whole,) = Splitter(LIMIT).feed(frame(mode, "t", [list(e) for e in entries], chunk="c"))
    chunk = parse(whole)
    blob = decompress(chunk.entries, chunk.compressed, LIMIT) if chunk.compressed else bytes(chunk.entries)
    found, bad = read(blob, chunk=chunk.chunk)
    assert not bad
    assert len(found) == len(entries)
    for outgoing, (_, record) in zip(found, entries, strict=True):
        assert set(record) <= set(orjson.loads(outgoing.value or b""))


shared = st.sampled_from([{"pod_name": "p", "labels": {"a": "é"}}, {"pod_name": "q"}, "text", 7, None])
alike = st.dictionaries(st.sampled_from(["log", "kubernetes", "tag", "cluster", "@timestamp", "%b"]), values | shared)


@given(st.lists(st.tuples(times | scalars, alike), min_size=1, max_size=12))
@settings(deadline=None, max_examples=150)
def test_together_is_the_same_as_one_by_one(entries: list[tuple[Any, Any]]) -> None:
    blob, about = packed([list(e) for e in entries]), context(tag='t"', chunk="c")
    made, bad = read(blob, tag='t"', chunk="c")
    assert not bad
    for outgoing, entry in zip(made, entries, strict=True):
        alone, time_ms = _render(decoded(memoryview(packed([list(entry)]))), about)
        assert orjson.loads(outgoing.value or b"") == orjson.loads(alone)
        assert outgoing.timestamp_ms == (time_ms if time_ms <= NOW_MS + AHEAD_MS else NOW_MS)


@given(st.lists(st.tuples(times, records), max_size=3), st.lists(st.integers(1, 50), max_size=30))
@settings(deadline=None)
def test_frames_are_the_same_however_the_bytes_arrive(entries: list[tuple[Any, Any]], sizes: list[int]) -> None:
    frames = [frame("message", "t", [list(e)]) for e in entries] + [frame("packed", "t", [list(e) for e in entries])]
    stream, found, splitter = b"".join(frames), [], Splitter(LIMIT)
    for size in [*sizes, len(stream)]:
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    assert found == frames
    assert len(splitter) == 0


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=300)
def test_rubbish_is_refused_and_nothing_else(data: bytes) -> None:
    splitter = Splitter(LIMIT)
    for each in splitter.feed(data):
        with suppress(Invalid):
            parse(each)
    _, bad = read(data)
    assert sum(len(b.raw) for b in bad) <= len(data)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_rubbish_compressed(data: bytes) -> None:
    for kind in ("gzip", "zstd", "br"):
        with suppress(Invalid):
            decompress(data, kind, LIMIT)
