"""Log records over HTTP, apart from HTTP and Kafka: what is taken, how it is marked, what is refused."""

from __future__ import annotations

import gzip

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gateway.compression import inflate
from gateway.ingest import Sender, bulks
from gateway.problems import Problem
from streams.errors import Invalid

NOW = 1_767_607_200_000
OURS = Sender("prod", "", "")


def take(body: bytes, sender: Sender = OURS, limit: int = 1000) -> list[tuple[bytes | None, bytes | None, int]]:
    made = bulks(body, sender, now_ms=NOW, limit=limit)
    return [each for bulk in made for each in zip(bulk.values, bulk.keys, bulk.times_ms, strict=True)]


def test_a_records_bytes_stay_as_they_are_when_it_names_its_cluster() -> None:
    line = b'{"log":  "a\\u00e9", "cluster" :"edge", "n":1.0}'
    assert take(line) == [(line, None, NOW)]


@pytest.mark.parametrize("line", [b"{}", b'{"log":"x"}', b'{ "log":"x"}', b'{"cluster":"","log":"x"}'])
def test_the_cluster_is_added_where_it_is_missing(line: bytes) -> None:
    value = orjson.loads(take(line)[0][0] or b"")
    assert value == orjson.loads(line) | {"cluster": "prod"}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('"@timestamp": "2026-01-05T09:59:59.5Z"', NOW - 500),
        ('"@timestamp": 1767607199.25', NOW - 750),
        ('"time": 1767607190000', NOW - 10_000),
        ('"date": 1767607190', NOW - 10_000),
        ('"@timestamp": "yesterday"', NOW),
        ('"@timestamp": null', NOW),
        ('"@timestamp": true', NOW),
        ('"@timestamp": "2099-01-01T00:00:00Z"', NOW),
        ('"@timestamp": 1e300', NOW),
        ('"time": -1e308', NOW),
        ('"time": 9223372036854775808', NOW),
    ],
)
def test_kafkas_timestamp_is_the_records_time_unless_it_is_far_ahead(field: str, expected: int) -> None:
    assert take(b'{"cluster":"c",%s}' % field.encode())[0][2] == expected


def test_an_idempotency_key_makes_ids_that_a_retry_repeats() -> None:
    sender = Sender("prod", "", "upload-1")
    first, again = take(b'{"a":1}\n{"a":2}', sender), take(b'\n{"a":1}\n\n{"a":2}\n', sender)
    assert [key for _, key, _ in first] == [key for _, key, _ in again]
    assert first[0][1] != first[1][1]
    assert take(b'{"a":1}', Sender("prod", "team", "upload-1"))[0][1] != first[0][1]


def test_an_array_and_lines_land_alike() -> None:
    assert take(b'[{"a":1}, {"a":2}]') == take(b'{"a":1}\n{"a":2}\r\n')


TIMES = st.sampled_from(
    [1767607199.25, 1767607199, 1767607190000, 1e300, -1.0, 0.0, "2026-01-05T09:59:59.5Z", "no", None]
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "@timestamp": TIMES,
        "time": TIMES,
        "cluster": st.sampled_from(["edge", "", None, 0, ["a"], {"b": 1}]),
        "tenant": st.sampled_from(["shop", "", None]),
        "log": st.text(max_size=5),
        "in": st.just({"cluster": "inner", "n": "}\n{"}),
    },
)
ALIKE = FIELDS.flatmap(lambda record: st.lists(st.just(record), min_size=1, max_size=4))


@given(
    st.one_of(st.lists(FIELDS, min_size=1, max_size=4), ALIKE),
    st.sampled_from([OURS, OURS._replace(tenant="shop"), OURS._replace(key="upload-1")]),
)
def test_lines_read_together_are_what_each_is_alone(records: list[dict[str, object]], sender: Sender) -> None:
    bodies = b"\n".join(map(orjson.dumps, records)), orjson.dumps(records)
    together, alone = (_taken_or_refused(body, sender) for body in bodies)
    assert together == alone


def _taken_or_refused(body: bytes, sender: Sender) -> object:
    try:
        return [(orjson.loads(value or b""), key, time_ms) for value, key, time_ms in take(body, sender)]
    except Invalid as error:
        return error.indexes


def test_bad_lines_are_named_by_number_and_nothing_is_taken() -> None:
    with pytest.raises(Invalid) as caught:
        take(b'{"a":1}\n{"a":\n\n[1]\n{"a":"' + b"x" * 1000 + b'"}')
    assert list(caught.value.indexes or {}) == [2, 4, 5]
    assert "line 4: not a JSON object" in caught.value.detail


def test_many_bad_lines_are_counted_beyond_the_first() -> None:
    with pytest.raises(Invalid) as caught:
        take(b"nonsense\n" * 500)
    assert len(caught.value.indexes or {}) == 20
    assert "and 480 more" in caught.value.detail


def test_a_tenants_sender_speaks_for_its_tenant_only() -> None:
    sender = Sender("prod", "team-a", "")
    assert orjson.loads(take(b'{"log":"x"}', sender)[0][0] or b"")["tenant"] == "team-a"
    for trick in (b'{"tenant":"team-b"}', b'{"tenant":"team-a","\\u0074enant":"team-b"}', b'{"\\u0074enant":"team-b"}'):
        try:
            values = take(trick, sender)
        except Invalid:
            continue
        assert orjson.loads(values[0][0] or b"")["tenant"] == "team-a"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_stopped_at_the_limit(encoding: str) -> None:
    bomb = b"\0" * (64 << 20)
    packed = gzip.compress(bomb, 1) if encoding == "gzip" else zstandard.compress(bomb)
    with pytest.raises(Invalid, match="too_large"):
        inflate(packed, encoding, 1 << 20)
    assert inflate(packed, encoding, 64 << 20) == bomb


def test_gzip_members_and_zstd_frames_one_after_another_are_one_body() -> None:
    assert inflate(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 10) == b"ab"
    assert inflate(zstandard.compress(b"a") + zstandard.compress(b"b"), "zstd", 10) == b"ab"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"plain", "gzip"), (gzip.compress(b"x" * 100, mtime=0)[:-12], "gzip"), (b"plain", "zstd")],
    ids=["not-gzip", "cut-gzip", "not-zstd"],
)
def test_what_is_not_what_it_says_is_invalid(body: bytes, encoding: str) -> None:
    with pytest.raises(Invalid, match="compression"):
        inflate(body, encoding, 1000)


def test_a_truncated_zstd_body_is_invalid() -> None:
    with pytest.raises(Invalid, match="compression"):
        inflate(zstandard.compress(bytes(range(256)) * 100)[:-9], "zstd", 1 << 20)


def test_an_encoding_we_do_not_know_is_said() -> None:
    with pytest.raises(Problem, match="br"):
        inflate(b"", "br", 10)
