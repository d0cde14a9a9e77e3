"""Alert -> webhook beside Alertmanager: the same configuration, alerts and receiving server, one after the other.

    python -m tests.bench.notify --alerts 1000

Alerts are posted to `/api/v2/alerts` of each. Latency: one alert every `--every` seconds, from its POST to the webhook
that tells of it. Throughput: `--alerts` at once, each a group of its own, from the first POST to the last webhook.
The figures are worth as much as the machine is quiet; the ratios hold on a busy one too.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiohttp import web

from tests.parts.local import Local
from tests.parts.monitoring import alertmanager
from tests.parts.process import folder, free_port

CONFIG = """
route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 5m, repeat_interval: 4h}}
receivers:
  - name: hook
    webhook_configs: [{{url: "http://127.0.0.1:{port}/hook"}}]
"""
BATCH = 100
WAIT_S = 300.0


class Hook:
    """Notes when each alert was first told of, by its label `n`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.told: dict[str, float] = {}
        self.calls = 0

    async def take(self, request: web.Request) -> web.Response:
        self.calls += 1
        for alert in (await request.json())["alerts"]:
            self.told.setdefault(alert["labels"].get("n", ""), time.monotonic())
        return web.Response()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/hook", self.take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def wait(self, names: set[str]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not names <= self.told.keys():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(names - self.told.keys())} of {len(names)} alerts were not told of")
            await asyncio.sleep(0.01)


class Result(NamedTuple):
    p50_ms: float
    p95_ms: float
    per_s: float

    def __str__(self) -> str:
        return f"latency p50 {self.p50_ms:.0f} ms, p95 {self.p95_ms:.0f} ms; {self.per_s:.0f} alerts/s"


def alert(name: str) -> dict[str, object]:
    return {
        "labels": {"alertname": "Bench", "severity": "warning", "n": name},
        "annotations": {"summary": f"alert {name} of the bench"},
        "generatorURL": "http://bench.example.org/",
    }


async def measured(url: str, headers: dict[str, str], hook: Hook, kind: str, options: argparse.Namespace) -> Result:
    async with aiohttp.ClientSession(url, headers=headers) as session:

        async def post(names: list[str]) -> None:
            async with session.post("/api/v2/alerts", json=[alert(name) for name in names]) as reply:
                assert reply.status == 200, await reply.text()

        await post([f"{kind}-warm"])
        await hook.wait({f"{kind}-warm"})
        posted: dict[str, float] = {}
        for number in range(options.single):
            name = f"{kind}-one-{number}"
            posted[name] = time.monotonic()
            await post([name])
            await asyncio.sleep(options.every)
        await hook.wait(set(posted))
        took = sorted((hook.told[name] - at) * 1000 for name, at in posted.items())
        names = [f"{kind}-many-{number}" for number in range(options.alerts)]
        began = time.monotonic()
        for first in range(0, len(names), BATCH):
            await post(names[first : first + BATCH])
        await hook.wait(set(names))
        rate = len(names) / (max(hook.told[name] for name in names) - began)
    return Result(took[len(took) // 2], took[min(len(took) - 1, int(len(took) * 0.95))], rate)


async def run(options: argparse.Namespace) -> dict[str, Result]:
    hook = Hook()
    out: dict[str, Result] = {}
    async with hook.listening():
        text = CONFIG.format(port=hook.port)
        with folder("bench-notify") as base:
            config = Path(base) / "alertmanager.yml"
            config.write_text(text)
            with alertmanager(text) as url:
                out["alertmanager"] = await measured(url, {}, hook, "theirs", options)
            ours = Local(Path(base) / "data", {"ALERTING__CONFIG": str(config)})
            ours.data_dir.mkdir()
            await asyncio.to_thread(ours.start)
            try:
                token = await asyncio.to_thread(ours.token, "alerts:write")
                out["eventsphere"] = await measured(
                    ours.url, {"Authorization": f"Bearer {token}"}, hook, "ours", options
                )
            finally:
                await asyncio.to_thread(ours.stop)
    return out


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("tests.bench.notify", description=__doc__)
    parser.add_argument("--alerts", type=int, default=1000, help="at once, for the throughput (%(default)s)")
    parser.add_argument("--single", type=int, default=30, help="one after the other, for the latency (%(default)s)")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between those (%(default)s)")
    results = asyncio.run(run(parser.parse_args(arguments)))
    for name, result in results.items():
        print(f"{name}: {result}")
    ours, theirs = results["eventsphere"], results["alertmanager"]
    print(
        f"ratio (ours/theirs): latency p50 {ours.p50_ms / theirs.p50_ms:.1f}, p95 {ours.p95_ms / theirs.p95_ms:.1f}; "
        f"throughput {ours.per_s / theirs.per_s:.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
