"""A worker as a process: it waits for what is away, says so, tells when it is ready, and stops soon."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local.broker import Broker
from schemas.base import encode
from schemas.catalogue import Topic, catalogue
from schemas.platform import Control
from streams import topics
from streams.producer import Producer
from streams.record import Outgoing
from streams.settings import Kafka, Settings, environment
from tests.parts.process import Process, free_port

HERE = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(400)


def topic() -> Topic:
    name = f"things-{uuid.uuid4().hex[:8]}"
    return Topic(name=name, key="k", record="r", schema="s", partitions=2, retention_hours=1, retention_gib=1)


class Child(Process):
    """A worker over `topic`, with its metrics on `port`."""

    def __init__(self, kafka: Kafka, topic: str, folder: Path, name: str, port: int | None = None) -> None:
        self.port = port or free_port()
        settings = Settings(kafka=kafka, data_dir=str(folder), self_logging=False)
        worker = settings.worker.model_copy(update={"name": name, "metrics_port": self.port})
        env = {**os.environ, **environment(settings.model_copy(update={"worker": worker}))}
        command = [sys.executable, "-m", "tests.worker.child", topic, topic]
        super().__init__(name, command, folder / f"{name}.log", cwd=HERE, env=env)

    def said(self, text: str) -> Callable[[], bool]:
        return lambda: text in self.log.read_text("utf-8", "replace")

    def count(self, text: str) -> int:
        return self.log.read_text("utf-8", "replace").count(text)

    def readyz(self) -> tuple[int, list[str]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as reply:
                return reply.status, json.load(reply)["waiting"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["waiting"]

    def terminated(self) -> tuple[int, float]:
        """SIGTERM; exit status and seconds it took."""
        assert self._process is not None
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60), time.monotonic() - started


@pytest.fixture
def children() -> Iterator[list[Child]]:
    out: list[Child] = []
    yield out
    for child in out:
        child.kill()


async def send(kafka: Kafka, *records: Outgoing) -> None:
    producer = Producer(kafka, "test")
    await producer.start()
    await producer.send(records)
    await producer.close()


def test_it_becomes_ready_works_and_stops(platform_kafka: Kafka, tmp_path: Path, children: list[Child]) -> None:
    things = topic()
    topics.apply(platform_kafka, [things])
    child = Child(platform_kafka, things.name, tmp_path, "w1")
    children.append(child)
    child.start()
    child.wait_until(child.said("ready\n"), 90)
    assert child.readyz() == (200, [])
    asyncio.run(send(platform_kafka, *[Outgoing(things.name, b"x", b"k%d" % i) for i in range(10)]))
    child.wait_until(child.said("got "), 60)
    with urllib.request.urlopen(f"http://127.0.0.1:{child.port}/metrics", timeout=5) as reply:
        text = reply.read().decode()
    assert f'eventsphere_consumed_records_total{{agent="{things.name}",topic="{things.name}"}}' in text
    status, seconds = child.terminated()
    assert status == 0
    assert seconds < 12
    assert "worker.stopped" in child.tail()
    assert not list(HERE.glob("eventsphere.worker.*")), "Faust left a folder"


def test_every_worker_hears_control_messages(platform_kafka: Kafka, tmp_path: Path, children: list[Child]) -> None:
    things = topic()
    topics.apply(platform_kafka, [things])
    # More workers than one can share a topic of one partition: each has it alone.
    for name in ("w1", "w1", "w2"):
        child = Child(platform_kafka, things.name, tmp_path / str(len(children)), name)
        child.log.parent.mkdir()
        children.append(child)
        child.start()
    for child in children[:2]:
        child.wait_until(child.said("heard alerting.changed by start"), 90)
    children[2].wait_until(children[2].said("heard alerting.changed by start"), 90)
    message = encode(Control(type="rules.changed", by="ann", time_ms=1))
    asyncio.run(send(platform_kafka, Outgoing("platform.control", b"not json"), Outgoing("platform.control", message)))
    for child in children:
        child.wait_until(child.said("heard rules.changed by ann"), 60)


def test_a_worker_without_a_partition_is_ready_too(
    platform_kafka: Kafka, tmp_path: Path, children: list[Child]
) -> None:
    things = topic()
    topics.apply(platform_kafka, [things])
    for name in ("w1", "w2", "w3"):
        child = Child(platform_kafka, things.name, tmp_path, name)
        children.append(child)
        child.start()
    for child in children:
        child.wait_until(child.said("ready\n"), 90)


def test_it_waits_for_the_broker_and_outlives_it(own_broker: Broker, tmp_path: Path, children: list[Child]) -> None:
    kafka, things = own_broker.kafka, topic()
    own_broker.kill()
    child = Child(kafka, things.name, tmp_path, "w1")
    children.append(child)
    child.start()
    child.wait_until(child.said("does not answer"), 60)
    assert child.readyz()[0] == 503
    assert "bus" in child.readyz()[1]
    own_broker.start()
    own_broker.wait_ready(120)
    child.wait_until(child.said("eventsphere topics apply"), 90)
    topics.apply(kafka, [things, catalogue()["platform.control"]])
    child.wait_until(child.said("ready\n"), 90)

    own_broker.kill()
    time.sleep(3)
    own_broker.start()
    own_broker.wait_ready(120)
    before = child.count("got ")
    asyncio.run(send(kafka, Outgoing(things.name, b"x", b"k")))
    child.wait_until(lambda: child.count("got ") > before, 90)
    asyncio.run(send(kafka, Outgoing("platform.control", encode(Control(type="x", by="bob", time_ms=1)))))
    child.wait_until(child.said("heard x by bob"), 90)
    assert len(child.tail(10_000).splitlines()) < 300, "an outage floods the log"


def test_wrong_credentials_are_told(own_broker: Broker, tmp_path: Path, children: list[Child]) -> None:
    wrong = own_broker.kafka.model_copy(update={"password": SecretStr("not this")})
    child = Child(wrong, "things", tmp_path, "w1")
    children.append(child)
    child.start()
    child.wait_until(child.said("Authentication failed"), 60)
    assert "not this" not in child.tail(100)
    assert child.count("kafka.error") < 10


def test_sigterm_ends_it_while_it_waits(tmp_path: Path, children: list[Child]) -> None:
    child = Child(Kafka(bootstrap_servers="127.0.0.1:1"), "nothing", tmp_path, "w1")
    children.append(child)
    child.start()
    child.wait_until(child.said("does not answer"), 60)
    status, seconds = child.terminated()
    assert status == 0
    assert seconds < 12


def test_a_port_in_use_is_named(tmp_path: Path, children: list[Child]) -> None:
    taken = Child(Kafka(bootstrap_servers="127.0.0.1:1"), "nothing", tmp_path, "w1")
    again = Child(Kafka(bootstrap_servers="127.0.0.1:1"), "nothing", tmp_path, "w2", port=taken.port)
    children += [taken, again]
    taken.start()
    taken.wait_until(taken.said("does not answer"), 60)
    again.start()
    assert again._process is not None
    assert again._process.wait(60) == 1
    assert f"127.0.0.1:{taken.port}" in again.tail()


def test_an_unknown_agent_and_a_wrong_setting_end_it_at_once() -> None:
    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway.cli.main", "worker", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=HERE, env={**os.environ, **env}, timeout=60)

    unknown = run("index-logs", "index-legs")
    assert unknown.returncode == 2
    assert "no agent called index-legs; there are: " in unknown.stderr
    assert "index-logs" in unknown.stderr.partition("there are")[2]
    wrong = run("--metrics-port", "0", EVENTSPHERE_WORKER__WATCHDOG_S="soon")
    assert wrong.returncode == 2
    assert "EVENTSPHERE_WORKER__WATCHDOG_S" in wrong.stderr
