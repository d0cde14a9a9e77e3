"""Records in structured mode are opened before agents see them; a trace goes on through what they cause."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from agents.keep_alert_state import KeepAlertState, parse
from agents.route_alerts import route_batch
from schemas.alerting import AlertingConfig, Receiver, Route
from schemas.alerts import fingerprint
from streams.batch import batch_of
from streams.envelope import TRACEPARENT, content, opened, trace, trace_of, traced
from streams.record import Outgoing, Record
from streams.state import State

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LABELS = {"alertname": "Disk"}
ALERT: dict[str, Any] = {
    "labels": LABELS,
    "starts_at_ms": 1_000,
    "observed_at_ms": 2_000,
    "fingerprint": fingerprint(LABELS),
    "tenant": "platform",
}
KEY = f"platform/{ALERT['fingerprint']}".encode()


def structured(**more: Any) -> bytes:
    return orjson.dumps({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **more})


def record(value: bytes | None, headers: Any = None) -> Record:
    return Record("alerts", 0, 7, KEY, value, 3_000, headers)


@pytest.mark.parametrize(
    "envelope", [{"data": ALERT}, {"data_base64": base64.b64encode(orjson.dumps(ALERT)).decode(), "mine": [1]}]
)
def test_the_record_is_what_the_envelope_holds(envelope: dict[str, Any]) -> None:
    inner = opened(record(structured(traceparent=PARENT, **envelope)))
    assert orjson.loads(inner.value or b"") == ALERT
    assert trace_of(inner.headers) == PARENT
    assert parse(inner).labels == LABELS


@pytest.mark.parametrize(
    ("payload", "inside"), [(ALERT, ALERT), ({"specversion": "1.0", "data": ALERT}, ALERT), ({"log": 1}, {"log": 1})]
)
def test_what_connect_wrote_with_a_schema_is_taken_out_of_it(payload: dict[str, Any], inside: dict[str, Any]) -> None:
    value = orjson.dumps({"schema": {"type": "struct", "fields": []}, "payload": payload})
    assert orjson.loads(content(value)) == inside
    assert orjson.loads(opened(record(value)).value or b"") == inside


@pytest.mark.parametrize(
    "value",
    [b'{"schema":{},"payload":[]}', b'{"schema":"x","payload":{}}', b'{"schema":{},"payload":{},"more":1}',
     b'{"schema":{}}', b'{"schema":', b"", b"no json",
     orjson.dumps(ALERT), structured(), structured(data="text"), structured(data_base64="!"),
     b'{"specversion": 1, "data": {}}', b'{"log": "\\"specversion\\" is missing"}'],
)  # fmt: skip
def test_anything_else_stays_as_it_is(value: bytes) -> None:
    assert content(value) == value
    assert opened(record(value)) == record(value)
    assert opened(record(None)) == record(None)


@pytest.mark.parametrize(
    "text", ["", "x", PARENT.upper(), PARENT[:-1], "ff" + PARENT[2:], PARENT + "\n", "00" + PARENT]
)
def test_what_is_no_trace_goes_no_further(text: str) -> None:
    assert trace(text) == ""


def test_a_trace_goes_on_from_an_observation_to_the_group() -> None:
    core = KeepAlertState()
    state: State[Any] = State({}, partition=0)
    seen = opened(record(structured(data=ALERT), [(TRACEPARENT, PARENT.encode())]))
    changes = list(traced(core.decide(state, seen), trace_of(seen.headers)))
    assert [trace_of(change.headers) for change in changes] == [PARENT]
    config = AlertingConfig(route=Route(receiver="mail"), receivers=[Receiver(name="mail")])
    first = changes[0]
    kept = Record("alerts.state", 0, 0, first.key, first.value, 1, first.headers)
    assert [trace_of(out.headers) for out in route_batch(config, batch_of([kept]))] == [PARENT]


def test_a_trace_of_its_own_and_a_tombstone_are_left_alone() -> None:
    own = Outgoing("t", b"{}", headers=[(TRACEPARENT, b"mine")])
    bare = Outgoing("t", None)
    assert list(traced([own, bare], PARENT)) == [own, bare]
