"""What is searched of a log record, drawn the quick way and from the whole record: the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.sinks.index import fields
from streams.sinks.index.port import Kind

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5),
    st.sampled_from(["stdout", "1", "1.0", "WARN", "x" * 300, "x" * 1100]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
ABOUT = st.dictionaries(
    st.sampled_from(["namespace_name", "pod_name", "container_name", "labels", "host", "other"]), VALUES
)
NAMES = st.sampled_from(
    ["cluster", "tenant", "log", "message", "level", "severity", "stream", "status", "time", "a.b", "data"]
)
RECORDS = st.builds(
    lambda own, about: own | about,
    st.dictionaries(NAMES | st.text(max_size=3), VALUES, max_size=6),
    st.fixed_dictionaries({}, optional={"kubernetes": ABOUT | VALUES, "specversion": SCALARS}),
)


@given(RECORDS)
def test_quickly_or_from_the_whole_record(record: dict[str, Any]) -> None:
    value = msgspec.json.encode(record)
    assert fields.drawn(value) == fields.draw(Kind.LOGS, fields.decode(value))
    assert fields.drawn(value) == fields.drawn(value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"log":"\xff","kubernetes":{"pod_name":"p-\xff"}}',
        b'{"log":"a","log":"b","kubernetes":{"pod_name":"a"},"kubernetes":{"pod_name":"b"}}',
        b'{"\\u006bubernetes":{"pod_name":"p"},"n":1e40}',
        b'{"many":[%b],"kubernetes":{"labels":{"l":[%b]}}}' % (b",".join([b"1"] * 70), b",".join([b"2"] * 40)),
        b'{"kubernetes":{"pod_name":"%b"}}' % (b"p" * 3000),
    ],
)
def test_odd_records_too(value: bytes) -> None:
    assert fields.drawn(value) == fields.draw(Kind.LOGS, fields.decode(value))


@pytest.mark.parametrize("value", [b"", b"[1]", b"{", b'{"kubernetes":{]}', b'{"a":' + b"[" * 100_000])
def test_what_is_no_object_is_said(value: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        fields.drawn(value)
