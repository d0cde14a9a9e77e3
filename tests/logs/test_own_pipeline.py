"""Our own logs: what they look like, and that they cannot flood or feed on themselves."""

from __future__ import annotations

import json
import logging
import socket
import threading

import msgspec
import pytest

from streams.logs import OwnPipeline, Rate, own_record
from streams.metrics import OWN_ERRORS
from streams.settings import Cluster, Forward, Settings


def test_a_rate_lets_a_burst_through_and_then_only_the_rate() -> None:
    rate = Rate(per_s=10, burst=5)
    assert [rate.take(100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [rate.take(100.25) for _ in range(4)] == [True, True, False, False]


def test_time_going_backwards_gives_no_tokens() -> None:
    rate = Rate(per_s=10, burst=1)
    assert rate.take(100.0)
    assert not rate.take(50.0)


def test_a_record_has_the_form_of_a_container_log() -> None:
    record = own_record("worker", "prod", "info", "ready")
    assert record["kubernetes"] == {"namespace_name": "eventsphere", "pod_name": "worker", "container_name": "worker"}
    assert (record["log"], record["cluster"], record["level"]) == ("ready", "prod", "info")


@pytest.fixture
def listener() -> socket.socket:
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)
    return server


def test_a_log_line_reaches_the_forward_port(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    handler = OwnPipeline("worker", Settings(forward=Forward(port=port), cluster=Cluster(name="prod")))
    try:
        handler.emit(logging.makeLogRecord({"msg": "hello", "levelname": "INFO"}))
        connection, _ = listener.accept()
        tag, time, body = msgspec.msgpack.decode(connection.recv(65536))
        assert tag == "eventsphere.worker"
        assert body["log"] == "hello"
        assert time.code == 0
        connection.close()
    finally:
        handler.close()
        listener.close()


def test_without_a_listener_nothing_is_raised_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    handler = OwnPipeline("worker", Settings(forward=Forward(port=9)), clock=lambda: 1000.0)
    before = OWN_ERRORS.labels("rate_limited")._value.get()
    for number in range(600):
        handler.emit(logging.makeLogRecord({"msg": json.dumps(number), "levelname": "INFO"}))
    assert OWN_ERRORS.labels("rate_limited")._value.get() == before + 100
    assert not caplog.records
    threading.Thread(target=handler.close, daemon=True).start()
