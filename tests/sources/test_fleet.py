"""Several processes on one forward port: what is acked arrives once, one may be killed, and they speak as one."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.request
from typing import Any

import orjson
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from schemas.base import digest
from streams.settings import Kafka, Settings
from tests.conftest import free_ports
from tests.parts.local import until
from tests.sources.bus import Reader
from tests.sources.client import Sender, frame
from tests.sources.test_process import Sources, local, sources

KEY = "shared"


def _settings(kafka: Kafka, port: int, metrics: int, count: int = 2) -> Settings:
    plain = local(kafka, port, metrics)
    forward = plain.forward.model_copy(update={"processes": count, "shared_key": SecretStr(KEY)})
    return plain.model_copy(update={"forward": forward})


def _members(process: Sources) -> list[psutil.Process]:
    return [each for each in psutil.Process(process.pid).children() if "--member" in each.cmdline()]


def _ready(metrics: int) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/readyz", timeout=10) as reply:
        return orjson.loads(reply.read())


def _received(metrics: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as reply:
        families = text_string_to_metric_families(reply.read().decode())
    wanted = {"eventsphere_received_records_total", "eventsphere_source_restarts_total"}
    return {f"{s.name}/{s.labels['process']}": s.value for f in families for s in f.samples if s.name in wanted}


def _sent(metrics: int) -> float:
    return sum(value for name, value in _received(metrics).items() if name.startswith("eventsphere_received"))


class Connection(threading.Thread):
    """Sends chunk after chunk of `run` until each is acked, connecting anew whenever the connection is cut."""

    def __init__(self, port: int, run: str, chunks: int, started: threading.Barrier) -> None:
        super().__init__(daemon=True)
        self._port, self._named, self._chunks, self._all_there = port, run, chunks, started
        self.acked: set[str] = set()
        self.cut = 0

    def run(self) -> None:
        while len(self.acked) < self._chunks:
            try:
                with Sender(self._port, shared_key=KEY, timeout_s=30) as sender:
                    if not self.acked:
                        self._all_there.wait(30)
                    self._send(sender)
            except (OSError, EOFError):
                self.cut += 1
                time.sleep(0.05)

    def _send(self, sender: Sender) -> None:
        for number in range(self._chunks):
            chunk = f"{self._named}-{number}"
            if chunk not in self.acked:
                sender.acked(chunk, frame("packed", "t", [[1, {"run": self._named}] for _ in range(50)], chunk=chunk))
                self.acked.add(chunk)


def _keys(chunk: str, records: int) -> set[bytes]:
    return {f"{digest('t', chunk)}-{i}".encode() for i in range(records)}


def _add_up(port: int, metrics: int) -> set[bytes]:
    """Both take records in, and each counts its own. Returns the keys of what was sent."""
    sent: list[str] = []
    seen: set[str] = set()
    while len(seen) < 2:  # the kernel chooses: of 12 connections one gets all once in 2000 times
        for _ in range(12):
            chunk = f"m{len(sent)}"
            with Sender(port, shared_key=KEY) as sender:
                sender.acked(chunk, frame("packed", "t", [[1, {}]], chunk=chunk))
            sent.append(chunk)
        until(lambda: _sent(metrics) == len(sent))
        seen = {name for name, value in _received(metrics).items() if "received" in name and value}
    return {key for chunk in sent for key in _keys(chunk, 1)}


@pytest.mark.timeout(240)
def test_two_share_a_port_and_one_is_killed_while_records_flow(platform_kafka: Kafka) -> None:
    port, metrics = free_ports(2)
    reader = Reader(platform_kafka, "logs")
    with sources(_settings(platform_kafka, port, metrics)) as process:
        assert process.ready() == f"sources ready: forward 127.0.0.1:{port}"
        before = _members(process)
        assert len(before) == 2
        assert _ready(metrics) == {"ready": True, "waiting": [], "problems": {}}
        others = _add_up(port, metrics)
        started = threading.Barrier(9)
        senders = [Connection(port, f"c{number}", 40, started) for number in range(8)]
        for each in senders:
            each.start()
        started.wait(30)
        until(lambda: all(each.acked for each in senders))
        os.kill(before[0].pid, signal.SIGKILL)
        for each in senders:
            each.join(120)
        assert all(len(each.acked) == 40 for each in senders)
        wanted = others.union(*(_keys(chunk, 50) for each in senders for chunk in each.acked))
        found = reader.wait(lambda records: wanted <= {record.key for record in records})
        assert {record.key for record in found} == wanted
        until(lambda: len(_members(process)) == 2 and _ready(metrics)["ready"])
        assert before[1].is_running(), "the other one lives on"
        until(lambda: _received(metrics).get("eventsphere_source_restarts_total/0") == 1)
        code, text = process.end()
        assert code == 0, text
        assert not any(each.is_running() for each in before)
    reader.close()


def test_wrong_settings_end_them_all() -> None:
    (port,) = free_ports(1)
    plain = local(Kafka(bootstrap_servers="127.0.0.1:1"), port)
    forward = plain.forward.model_copy(update={"processes": 2, "certificate_file": "/nowhere"})
    with sources(plain.model_copy(update={"forward": forward})) as process:
        code, text = process.ended()
        assert code == 2
        assert "EVENTSPHERE_FORWARD__CERTIFICATE_FILE" in text
