"""Fixtures of real parts, started once a run and only when a collected test asks for them (tests/parts/session.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from deploy.local.broker import Broker
from streams import topics
from streams.settings import Kafka
from tests.parts import broker as broker_part
from tests.parts import elasticsearch as elasticsearch_part
from tests.parts import s3 as s3_part
from tests.parts.kube.cluster import Kube
from tests.parts.kube.cluster import kube as kube_part
from tests.parts.process import free_ports as _free_ports
from tests.parts.session import Pool

POOL = Pool(
    {
        "broker": broker_part.broker,
        "elasticsearch": elasticsearch_part.elasticsearch,
        "elasticsearch8": partial(elasticsearch_part.elasticsearch, elasticsearch_part.VERSION_8),
        "kube": kube_part,
        "s3": s3_part.s3,
    }
)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start, side by side, the shared parts that the selected tests will ask for.

    A process of a parallel run does not know which of them it will get: there each part is started when asked for.
    """
    if not session.config.option.collectonly and "PYTEST_XDIST_WORKER" not in os.environ:
        POOL.begin({name for item in session.items for name in getattr(item, "fixturenames", ())} & POOL.names)


def pytest_sessionfinish() -> None:
    POOL.close()


def free_ports(count: int) -> list[int]:
    return _free_ports(count)


@pytest.fixture(scope="session")
def broker() -> Broker:
    """A real broker for the whole run; tests use topics of unique names."""
    part: Broker = POOL.get("broker")
    return part


@pytest.fixture(scope="session")
def kafka(broker: Broker) -> Kafka:
    return broker.kafka


@pytest.fixture(scope="session")
def elasticsearch() -> str:
    """The URL of a real Elasticsearch; tests use a prefix of their own."""
    return str(POOL.get("elasticsearch"))


@pytest.fixture(scope="session")
def elasticsearch8() -> str:
    """The same of the major version before."""
    return str(POOL.get("elasticsearch8"))


@pytest.fixture(scope="session")
def kube() -> Kube:
    """A real kube-apiserver over etcd; tests use namespaces of their own."""
    part: Kube = POOL.get("kube")
    return part


@pytest.fixture(scope="session")
def s3() -> s3_part.S3:
    """An S3-compatible store that checks signatures; tests use a prefix of their own."""
    part: s3_part.S3 = POOL.get("s3")
    return part


@pytest.fixture(scope="module")
def platform_kafka() -> Iterator[Kafka]:
    """A broker of the module's own with every topic of the catalogue."""
    with broker_part.broker() as part:
        topics.apply(part.kafka)
        yield part.kafka


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, that it may stop and kill."""
    port, controller = free_ports(2)
    part = Broker(tmp_path / "broker", port, controller)
    part.start()
    try:
        part.wait_ready(120)
        yield part
    finally:
        part.stop()
