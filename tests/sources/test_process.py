"""The sources' process: how it starts, says that it is ready, ends, and survives `kill -9`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from schemas.base import digest
from streams.settings import PREFIX, Cluster, Forward, Kafka, Settings, Worker, environment
from tests.conftest import free_ports
from tests.parts.kube.cluster import Kube
from tests.sources.bus import Reader, headers
from tests.sources.client import Sender, frame
from tests.sources.kube_objects import event, events, events_path, namespace

READY_S = 60.0
STOP_S = 8.0


class Sources:
    """The process, started with `settings`."""

    def __init__(self, settings: Settings) -> None:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streams.sources.main"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=plain | environment(settings),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ready(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and what it wrote to stderr."""
        self._process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        _, text = self._process.communicate(timeout=60)
        return self._process.returncode, text

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def sources(settings: Settings) -> Iterator[Sources]:
    process = Sources(settings)
    try:
        yield process
    finally:
        process.close()


def local(kafka: Kafka, port: int, metrics: int = 0, kubeconfig: Path | None = None) -> Settings:
    return Settings(
        kafka=kafka,
        forward=Forward(port=port),
        worker=Worker(metrics_port=metrics),
        cluster=Cluster(name="test"),
        kubeconfigs=[str(kubeconfig)] if kubeconfig else [],
        self_logging=False,
    )


def test_it_says_when_it_is_ready_and_ends_on_sigterm(platform_kafka: Kafka) -> None:
    port, metrics = free_ports(2)
    with sources(local(platform_kafka, port, metrics)) as process:
        assert process.ready() == f"sources ready: forward 127.0.0.1:{port}"
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/readyz", timeout=10) as reply:
            assert reply.status == 200
        with Sender(port) as sender:
            sender.acked("c", frame("packed", "t", [[1, {}]], chunk="c"))
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as reply:
                assert 'eventsphere_received_records_total{source="forward"} 1.0' in reply.read().decode()
            code, text = process.end()
        assert code == 0, text


def test_it_ends_while_kafka_is_away_and_acks_nothing() -> None:
    port, gone = free_ports(2)
    with sources(local(Kafka(bootstrap_servers=f"127.0.0.1:{gone}"), port)) as process:
        assert process.ready()
        with Sender(port) as sender:
            sender.send(frame("packed", "t", [[1, {}]], chunk="c"))
            time.sleep(1)
            before = time.monotonic()
            code, text = process.end()
            assert code == 0, text
            assert time.monotonic() - before < 3 * STOP_S
            with pytest.raises((EOFError, ConnectionError)):
                sender.receive()


@pytest.mark.parametrize("mode", [pytest.param("packed", marks=pytest.mark.long), "gzip"])
def test_its_memory_is_bounded_while_kafka_is_away_and_senders_do_not_wait(mode: str) -> None:
    """Forty connections send whatever is taken: what they fill is twice what may be in flight, and no more."""
    port, gone = free_ports(2)
    limit = 16 << 20
    settings = local(Kafka(bootstrap_servers=f"127.0.0.1:{gone}"), port)
    settings = settings.model_copy(update={"forward": Forward(port=port, max_in_flight_bytes=limit, processes=1)})
    entries = [[1, {"log": f"{random.random()} a line that is written {number} times " * 6}] for number in range(1000)]
    data = frame(mode, "t", entries, chunk="c")
    with sources(settings) as process, ExitStack() as stack:
        assert process.ready()
        before = psutil.Process(process.pid).memory_info().rss
        senders = [stack.enter_context(Sender(port)) for _ in range(40)]
        taken, still = 0, time.monotonic()
        for each in senders:
            each.socket.setblocking(False)
        while time.monotonic() - still < 1:
            sent = sum(_as_much_as_goes(each, data) for each in senders)
            if sent:
                taken, still = taken + sent, time.monotonic()
            time.sleep(0.05)
        grown = psutil.Process(process.pid).memory_info().rss - before
        assert taken > limit, "it was not full"
        assert grown < 3 * limit + (32 << 20), f"{grown >> 20} MiB"


def _as_much_as_goes(sender: Sender, data: bytes) -> int:
    """Frame after frame, as far as they are taken now."""
    sent = 0
    with suppress(BlockingIOError):
        while True:
            place = getattr(sender, "place", 0)
            done = sender.socket.send(data[place:])
            sent, sender.place = sent + done, (place + done) % len(data)  # type: ignore[attr-defined]
    return sent


def test_wrong_settings_are_named() -> None:
    (port,) = free_ports(1)
    settings = Settings(forward=Forward(host="0.0.0.0", port=port))
    with sources(settings) as process:
        code, text = process.ended()
        assert code == 2
        assert "EVENTSPHERE_FORWARD__SHARED_KEY" in text


def test_killed_again_and_again_it_loses_no_acked_chunk(platform_kafka: Kafka) -> None:
    (port,) = free_ports(1)
    reader = Reader(platform_kafka, "logs")
    settings = local(platform_kafka, port)
    chunks, kills, acked = 40, {5, 12, 13, 30}, set()
    process = Sources(settings)
    try:
        for number in range(chunks):
            chunk = f"k{number}"
            data = frame("packed", "t", [[1, {"n": number * 100 + i}] for i in range(100)], chunk=chunk)
            while chunk not in acked:
                try:
                    with Sender(port, timeout_s=30) as sender:
                        sender.send(data)
                        if number in kills:
                            kills.discard(number)
                            process.close()
                            process = Sources(settings)
                        if sender.receive() == {"ack": chunk}:
                            acked.add(chunk)
                except (OSError, EOFError):
                    time.sleep(0.1)
    finally:
        process.close()
    wanted = {f"{digest('t', f'k{c}')}-{i}".encode() for c in range(chunks) for i in range(100)}
    found = reader.wait(lambda records: wanted <= {r.key for r in records})
    reader.close()
    assert {r.key for r in found} == wanted


def test_a_killed_watch_goes_on_without_loss(own_kube: Kube, platform_kafka: Kafka) -> None:
    space = namespace(own_kube, "killed")
    reader = Reader(platform_kafka, "kube.events")
    (port,) = free_ports(1)
    settings = local(platform_kafka, port, kubeconfig=own_kube.kubeconfig)
    watched = Reader(platform_kafka, "state.kube-watch")
    process, written = Sources(settings), {}
    try:
        watched.wait(lambda records: any(r.key == b"test/events" for r in records))
        for number in range(400):
            name = f"e{number // 3}"
            if number % 3 == 0:
                done = own_kube.request("POST", events_path(space), event(space, name))
            else:
                done = own_kube.request("PATCH", events_path(space, name), {"count": number % 3 + 1})
            meta = done["metadata"]
            written[digest("test", meta["uid"], meta["resourceVersion"])] = meta["uid"]
            if number in (100, 200, 300):
                reader.wait_count(number - 20)
                process.close()
                process = Sources(settings)
        reader.wait(lambda records: set(written) <= {headers(r)["ce_id"].decode() for r in records}, 90)
    finally:
        process.close()
        reader.close()
        watched.close()
    by_id: dict[str, set[int]] = {}
    for each in events(reader.records):
        if each.namespace == space:
            by_id.setdefault(each.id, set()).add(each.count_delta)
    assert set(by_id) == set(written)
    assert all(len(deltas) == 1 for deltas in by_id.values()), "a record told twice is told the same"
    totals: Counter[str] = Counter()
    for id_, deltas in by_id.items():
        totals[written[id_]] += next(iter(deltas))
    finals = {e.uid: e.count for e in sorted(events(reader.records), key=lambda e: int(e.resource_version))}
    assert all(totals[uid] == finals[uid] for uid in totals)
