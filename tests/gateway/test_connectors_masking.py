"""What is secret in a connector's configuration is not shown, and stays when it comes back hidden."""

from __future__ import annotations

import pytest

from gateway.connectors import HIDDEN, ConnectClient, masked, unmasked
from gateway.problems import Problem
from streams.connect_settings import ConnectCluster
from streams.errors import Retryable
from tests.parts.process import free_port

PLAIN = {
    "connector.class": "x.JdbcSink",
    "primary.key.fields": "id",
    "primary.key.mode": "record_key",
    "key.converter": "StringConverter",
    "key.converter.schemas.enable": "false",
    "key.ignore": "true",
    "transforms.key.field": "alert",
    "topics": "logs",
    "connection.password": "${file:/etc/secrets:password}",
    "http.url": "https://receiver.example.org/path?a=b",
}
SECRET = {
    "connection.password": "p",
    "aws.secret.access.key": "s",
    "producer.override.sasl.jaas.config": 'x required password="p";',
    "http.headers.authorization": "Bearer x",
    "api.key": "k",
    "ssl.keystore.key": "pem",
}


def test_secrets_are_hidden_and_nothing_else() -> None:
    assert masked(PLAIN) == PLAIN
    assert set(masked(SECRET).values()) == {HIDDEN}
    url = masked({"connection.url": "jdbc:postgresql://me:secret@db/x?ssl=true&password=hush"})["connection.url"]
    assert url == f"jdbc:postgresql://me:{HIDDEN}@db/x?ssl=true&password={HIDDEN}"


def test_what_comes_back_hidden_stays() -> None:
    before = SECRET | {"connection.url": "http://me:secret@db/"}
    assert unmasked(masked(before) | {"topics": "logs"}, before) == before | {"topics": "logs"}
    with pytest.raises(Problem, match="stands for no value"):
        unmasked({"connection.password": HIDDEN}, {})
    with pytest.raises(Problem, match="stands for no value"):
        unmasked({"connection.url": f"http://me:{HIDDEN}@elsewhere/"}, before)


async def test_connect_away_or_not_set_is_said() -> None:
    with pytest.raises(Problem, match="EVENTSPHERE_CONNECT__URL"):
        ConnectClient(ConnectCluster())
    with pytest.raises(Retryable, match="does not answer"):
        await ConnectClient(ConnectCluster(url=f"http://127.0.0.1:{free_port()}")).all()
