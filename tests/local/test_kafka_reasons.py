"""A Kafka that cannot be used is told with the reason: not that metadata is missing, but why."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from streams import topics
from streams.errors import Fatal, Retryable
from streams.settings import Kafka


def why(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(topics, "TIMEOUT_S", 3.0)
    with pytest.raises(Retryable) as failure:
        topics.diff(kafka)
    return failure.value.detail


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    assert "Connection refused" in why(Kafka(bootstrap_servers=f"127.0.0.1:{unused_tcp_port}"), monkeypatch)


def test_a_host_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Failed to resolve 'nohost.invalid:9092'" in why(Kafka(bootstrap_servers="nohost.invalid:9092"), monkeypatch)


def test_a_wrong_password_is_told_at_once(kafka: Kafka) -> None:
    wrong = kafka.model_copy(update={"password": SecretStr("hunter2")})
    with pytest.raises(Retryable) as failure:
        topics.apply(wrong)
    assert "Authentication failed" in failure.value.detail
    assert "hunter2" not in failure.value.detail


def test_settings_that_cannot_be() -> None:
    given = Kafka(bootstrap_servers="k:1", security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN")
    with pytest.raises(Fatal, match=r"sasl.username and sasl.password must be set"):
        topics.apply(given)
