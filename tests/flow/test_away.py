"""Kafka away for a while at full input: senders wait, memory stays bounded, and afterwards everything is there once."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from deploy.demo.forward import ForwardSender
from tests.parts.local import Local, local, until

SENDERS = 8
CHUNK = 1000
LINE = "payment 4711 of customer accepted by the upstream service after some time " * 4
GROWTH_MIB = 120
"""What a process may gain while Kafka is away: its bounded queues fill. Sources do while they catch up as well."""


@pytest.fixture(scope="module")
def platform() -> Iterator[Local]:
    with local(SELF_LOGGING="false") as part:
        yield part


def _record(run: str, number: int) -> dict[str, Any]:
    return {"log": f"{LINE}{number}", "number": number, "kubernetes": {"namespace_name": run, "pod_name": "sender"}}


class Senders:
    """`SENDERS` acking senders, each sending chunk after chunk of `run` until told to stop; `acked` counts records."""

    def __init__(self, platform: Local, run: str, rate: int) -> None:
        self.acked = [0] * SENDERS
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(platform.forward, run, number, rate / SENDERS), daemon=True)
            for number in range(SENDERS)
        ]
        for thread in self._threads:
            thread.start()

    def _send(self, address: str, run: str, number: int, rate: float) -> None:
        sender, turn = ForwardSender(address, "away"), 0
        while not self._stop.is_set():
            first = (turn * SENDERS + number) * CHUNK
            at = time.time_ns() // 1_000_000
            sender.send(f"{run}-{first}", [(at, _record(run, first + i)) for i in range(CHUNK)], within_s=600)
            self.acked[number] += CHUNK
            turn += 1
            self._stop.wait(CHUNK / rate)

    def finish(self) -> int:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a sender still waits for its ack"
        return sum(self.acked)


@contextmanager
def _suspended(pid: int) -> Iterator[None]:
    """A broker that does not answer: worse than one that is gone, for nothing says so."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _mib(platform: Local) -> dict[str, float]:
    return {name: _rss(platform.now.children[name]) / 2**20 for name in ("sources", "worker", "gateway")}


def _rss(pid: int) -> int:
    """Of a process and those it started."""
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


class Peaks(threading.Thread):
    """The most memory each process has from `start` to `finish`, looked at twice a second, in MiB: what fills while
    Kafka is away, and while they catch up."""

    def __init__(self, platform: Local) -> None:
        super().__init__(daemon=True)
        self._platform, self._over = platform, threading.Event()
        self.most = _mib(platform)

    def run(self) -> None:
        while not self._over.wait(0.5):
            for name, mib in _mib(self._platform).items():
                self.most[name] = max(self.most[name], mib)

    def finish(self) -> dict[str, float]:
        self._over.set()
        self.join()
        return self.most


def _http_says(platform: Local) -> int:
    try:
        platform.call("POST", "/ingest/logs", {"log": "while kafka is away"})
    except urllib.error.HTTPError as error:
        return error.code if error.headers["Retry-After"] else 0
    return 202


def _away(platform: Local, run: str, *, rate: int, seconds: float) -> None:
    senders = Senders(platform, run, rate)
    until(lambda: platform.count_logs(namespace=run), lambda total: total > 5 * CHUNK)
    children, before = platform.now.children, _mib(platform)
    peaks = Peaks(platform)
    peaks.start()
    with _suspended(children["broker"]):
        time.sleep(seconds / 2)
        assert _http_says(platform) == 503
        time.sleep(seconds / 2)
        during = _mib(platform)
    sent = senders.finish()
    until(lambda: platform.count_logs(namespace=run), lambda total: total >= sent, within_s=180)
    assert platform.count_logs(namespace=run) == sent
    most = peaks.finish()
    print({name: f"{before[name]:.0f} -> {most[name]:.0f} MiB" for name in before})
    assert all(during[name] - before[name] < GROWTH_MIB for name in before), (before, during)
    assert most["sources"] - before["sources"] < GROWTH_MIB, (before, most)
    assert platform.now.children == children, "somebody did not live through it"
    assert until(lambda: platform.get("/api/v1/ledger"), lambda ledger: ledger["adds_up"])


@pytest.mark.timeout(400)
def test_kafka_away_for_a_short_time(platform: Local) -> None:
    _away(platform, "short-away", rate=2_000, seconds=12)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_kafka_away_for_two_minutes_at_ten_thousand_records_a_second(platform: Local) -> None:
    _away(platform, "long-away", rate=10_000, seconds=120)
