"""Fixtures of real parts, started once a run and only when a test asks for them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.broker import Broker
from streams.settings import Kafka


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real broker for the whole run; tests use topics of unique names."""
    port, controller = free_ports(2)
    part = Broker(tmp_path_factory.mktemp("broker"), port, controller)
    part.start()
    part.wait_ready()
    yield part
    part.stop()


@pytest.fixture(scope="session")
def kafka(broker: Broker) -> Kafka:
    return broker.kafka


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, that it may stop and kill."""
    port, controller = free_ports(2)
    part = Broker(tmp_path / "broker", port, controller)
    part.start()
    part.wait_ready()
    yield part
    part.stop()
