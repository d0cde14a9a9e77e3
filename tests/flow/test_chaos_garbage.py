"""Garbage on every input of a running instance: it lives, its memory is bounded, and it says what came."""

from __future__ import annotations

import gzip
import json
import random
import struct
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest
import zstandard

from deploy.demo.forward import ForwardSender
from deploy.local.broker import Broker
from streams.record import Outgoing
from tests.chaos.fire import numbers
from tests.parts.local import Local, local, until
from tests.parts.running import send
from tests.sources.client import Sender, event_time, frame, packed

GROWTH_MIB = 400
"""How much a process may grow over all of it: what it may hold unfinished, decompressed and decoded at once."""
GOOD = 3000
TEN_GB = 10 << 30
_ZERO_BLOCK = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"\0"
"""A zstd block that is 128 KiB of the same byte, in 4 bytes (RFC 8878, 3.1.1.2)."""


def gzip_bomb(inflated: int = 256 << 20) -> bytes:
    """As much as gzip can do in one stream is a thousandfold."""
    engine = zlib.compressobj(9, wbits=31)
    piece = b" " * (1 << 20)
    return b"".join(engine.compress(piece) for _ in range(inflated >> 20)) + engine.flush()


def zstd_bomb(inflated: int = TEN_GB) -> bytes:
    """Ten gigabytes in 320 KiB of run-length blocks, the most zstd can do: any ten kilobytes of it are 300 MB."""
    head = bytes.fromhex("28b52ffd") + b"\x00\x58"  # magic, no content size, a window of 2 MiB
    count = inflated // (128 << 10)
    last = bytes([_ZERO_BLOCK[0] | 1]) + _ZERO_BLOCK[1:]
    return head + _ZERO_BLOCK * (count - 1) + last


def deep(levels: int = 100_000) -> bytes:
    return b'{"log":"deep","a":' + b"[" * levels + b"]" * levels + b"}"


def wide(names: int = 10_000) -> dict[str, Any]:
    about = {"namespace_name": "wide", "pod_name": "wide-0"}
    return {"log": "wide", "kubernetes": about} | {f"field_{n}": n for n in range(names)}


def json_garbage() -> dict[str, bytes]:
    """Single records as text, by what is wrong or extreme about them."""
    return {
        "not json": b'{"log": "cut off',
        "not an object": b"[1, 2, 3]",
        "a number": b"17",
        "invalid utf-8": b'{"log":"\xff\xfe broken","kubernetes":{"namespace_name":"utf"}}',
        "duplicate keys": b'{"log":"one","log":"two","kubernetes":{"namespace_name":"twice"}}',
        "deep": deep(),
        "long": json.dumps({"log": "x" * (2 << 20), "kubernetes": {"namespace_name": "long"}}).encode(),
        "wide": json.dumps(wide()).encode(),
        "nul": b'{"log":"\\u0000 and \\ud800 alone","kubernetes":{"namespace_name":"nul"}}',
        "huge number": b'{"log":"n","n":' + b"9" * 5000 + b',"@timestamp":1e308}',
        "noise": random.Random(1).randbytes(5000),
    }


@pytest.fixture(scope="module")
def platform() -> Iterator[Local]:
    with local(SELF_LOGGING="false") as part:
        yield part


def _good(platform: Local, over: threading.Event) -> int:
    """Numbered records, acknowledged, while garbage comes; returns how many."""
    sender, sent = ForwardSender(platform.forward, "good"), 0
    while sent < GOOD or not over.is_set():
        about = {"namespace_name": "good", "pod_name": "good-0"}
        at = time.time_ns() // 1_000_000
        records = [(at, {"log": "good", "number": sent + n, "kubernetes": about}) for n in range(100)]
        sender.send(f"good-{sent}", records)
        sent += 100
        time.sleep(0.05)
    return sent


def by_forward(platform: Local) -> None:
    rng = random.Random(2)
    entry = [event_time(1_795_608_000), {"log": "x"}]
    whole = frame("gzip", "t", [entry] * 100, chunk="c")
    deepest = b"\x91" * 50_000 + b"\xc0"
    shots = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        rng.randbytes(100_000),
        whole[: len(whole) // 2],
        bytes(msgpack.packb(["t", gzip.compress(packed([entry] * 100))[:-20], {"compressed": "gzip", "chunk": "cut"}])),
        bytes(msgpack.packb(["t", gzip_bomb(), {"compressed": "gzip", "chunk": "bomb"}])),
        bytes(msgpack.packb(["t", zstd_bomb(), {"compressed": "zstd", "chunk": "bomb"}])),
        b"\x93\xa1t\xdd\xff\xff\xff\xff\x92\x00\x80",
        b"\x93\xa1t\xc6\xff\xff\xff\xff",
        b"\x93\xa1t" + deepest,
        frame("packed", "t", [[event_time(1), {"log": "2 MB", "x": "y" * (2 << 20)}]], chunk="long"),
        frame("packed", "t", [[event_time(1), wide()]], chunk="wide"),
        frame("packed", "t", [[event_time(1), {"log": b"\xff\xfe", 17: None}], ["no time", "no map"]], chunk="odd"),
    ]
    for _ in range(100):
        fuzzed = bytearray(frame("packed", "t", [entry] * 20, chunk="fuzz"))
        for _ in range(rng.randrange(1, 20)):
            fuzzed[rng.randrange(len(fuzzed))] = rng.randrange(256)
        shots.append(bytes(fuzzed))
    for shot in shots:
        with suppress(OSError), Sender(platform.base + 1, timeout_s=20) as sender:
            sender.send(shot)
            sender.socket.shutdown(1)
            sender.closed()


def by_http(platform: Local) -> None:
    token = platform.token("logs:write")
    bodies = [(name, body, "") for name, body in json_garbage().items()]
    bodies += [
        ("gzip bomb", gzip_bomb(), "gzip"),
        ("zstd bomb", zstd_bomb(), "zstd"),
        ("gzip cut off", gzip.compress(b'{"log":"x"}\n' * 1000)[:-20], "gzip"),
        ("zstd cut off", zstandard.compress(b'{"log":"x"}\n' * 1000)[:-5], "zstd"),
        ("not gzip", b"plain", "gzip"),
        ("an array of arrays", b"[" * 1_000_000, ""),
    ]
    for name, body, encoding in bodies:
        headers = {"Authorization": f"Bearer {token}"} | ({"Content-Encoding": encoding} if encoding else {})
        request = urllib.request.Request(f"{platform.url}/ingest/logs", body, headers, method="POST")
        status, problem = _answer(request)
        assert status == 202 or (400 <= status < 500 and problem["status"] == status), (name, status, problem)


def _answer(request: urllib.request.Request) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


async def by_kafka(platform: Local) -> None:
    kafka = Broker(platform.data_dir / "broker", platform.base + 2, platform.base + 3).kafka
    await send(kafka, *(Outgoing("logs", body) for body in json_garbage().values()), Outgoing("logs", b""))


@pytest.mark.timeout(400)
async def test_garbage_on_every_input_harms_nothing(platform: Local) -> None:
    before = dict(platform.now.children)
    watch = {name: psutil.Process(pid) for name, pid in before.items()}
    start = {name: _mib(process) for name, process in watch.items()}
    over, sent = threading.Event(), list[int]()
    good = threading.Thread(target=lambda: sent.append(_good(platform, over)), daemon=True)
    good.start()
    by_forward(platform)
    by_http(platform)
    await by_kafka(platform)
    over.set()
    good.join(120)
    until(lambda: platform.count_logs(namespace="good"), lambda total: total >= sent[0], within_s=120)
    assert sorted(numbers(platform, "good")) == list(range(sent[0]))
    assert dict(platform.now.children) == before, platform.logs()
    peaks = {name: _peak_mib(process) for name, process in watch.items() if name != "broker"}
    assert all(peak < start[name] + GROWTH_MIB for name, peak in peaks.items()), (start, peaks)
    _is_told(platform)


def _is_told(platform: Local) -> None:
    """What can be stored is found; what cannot is a dead letter with its reason; what was refused is counted."""
    for namespace in ("twice", "long", "wide", "utf"):
        assert until(partial(platform.count_logs, namespace=namespace)) >= 1, namespace
    assert until(partial(_reasons, platform), lambda found: len(found) >= 3)
    with urllib.request.urlopen(f"{platform.url}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    assert 'eventsphere_refused_total{reason="too_large",source="http"}' in text, text


def _reasons(platform: Local) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in platform.get("/api/v1/dlq", limit=1000)["items"]:
        found[item["reason"]] = found.get(item["reason"], 0) + 1
    return found


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def _peak_mib(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
