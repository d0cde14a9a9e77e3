"""The same alerts into a real Alertmanager 0.25 and into our core: the same notifications come out, group by group.

Random timelines, one a group, all at the same time. Alertmanager has the wall clock and ours a made one; steps keep
away from the groups' beats so that a busy machine does not decide what is told.
"""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from schemas.alerts import Status
from schemas.base import rfc3339
from schemas.notifications import Decision
from tests.alerts.test_groups import World
from tests.parts.monitoring import alertmanager
from tests.parts.process import Missing
from tests.parts.session import missing

pytestmark = pytest.mark.long

GROUPS = 12
BEAT_S = 8
STEPS = 6
CONFIG = """\
route:
  receiver: all
  group_by: [alertname]
  group_wait: 4s
  group_interval: 8s
  repeat_interval: 20s
  routes:
  - matchers: ['alertname=~"g[0-2]"']
    mute_time_intervals: [always]
  - matchers: ['alertname=~"g[3-5]"']
    mute_time_intervals: [never]
    active_time_intervals: [never, always]
time_intervals:
- name: always
  time_intervals: [{times: [{start_time: "00:00", end_time: "24:00"}], weekdays: ["monday:friday", saturday, sunday]}]
- name: never
  time_intervals: [{years: ["1999"]}, {months: ["february"], days_of_month: ["30"]}]
receivers:
  - name: all
    webhook_configs: [{url: "%s"}]
inhibit_rules:
  - source_matchers: [pod="1"]
    target_matchers: [pod="3"]
    equal: [alertname]
"""
Told = tuple[str, frozenset[str], frozenset[str]]
"""Status, pods that fire, pods that resolved."""
Step = tuple[str, str, bool]
"""Group, pod, whether it fires."""


def timelines(seed: int) -> list[list[Step]]:
    """What happens at each beat. Pod 0 of each group fires to the end, so that no group runs empty before."""
    rng = random.Random(seed)
    firing: dict[str, set[str]] = {f"g{number}": set() for number in range(GROUPS)}
    out: list[list[Step]] = [[(group, "0", True) for group in firing]]
    for _ in range(STEPS):
        beat: list[Step] = []
        for group, pods in firing.items():
            for pod in rng.sample("1234", rng.randint(0, 2)):
                pods ^= {pod}
                beat.append((group, pod, pod in pods))
        out.append(beat)
    out.append([(group, pod, False) for group, pods in firing.items() for pod in sorted(pods | {"0"})])
    return out


@contextmanager
def _webhook(told: dict[str, list[Told]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            pods = {state: _pods(body["alerts"], state) for state in ("firing", "resolved")}
            told[body["groupKey"]].append((body["status"], pods["firing"], pods["resolved"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def _pods(alerts: list[dict[str, Any]], state: str) -> frozenset[str]:
    return frozenset(alert["labels"]["pod"] for alert in alerts if alert["status"] == state)


def _theirs(beats: list[list[Step]]) -> dict[str, list[Told]]:
    told: dict[str, list[Told]] = defaultdict(list)
    started: dict[tuple[str, str], int] = {}
    with _webhook(told) as hook, alertmanager(CONFIG % hook) as url:
        _await_settled(url)
        begin = time.monotonic()
        for number, beat in enumerate(beats):
            time.sleep(max(0.0, begin + number * BEAT_S - time.monotonic()))
            now = time.time_ns() // 1_000_000
            alerts = []
            for group, pod, fires in beat:
                if fires:
                    started[group, pod] = now
                end = {} if fires else {"endsAt": rfc3339(now)}
                start = {"startsAt": rfc3339(started[group, pod])}
                alerts.append({"labels": {"alertname": group, "pod": pod}, **start, **end})
            request = urllib.request.Request(
                f"{url}/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": "application/json"}
            )
            urllib.request.urlopen(request, timeout=10).close()
        time.sleep(1.5 * BEAT_S)
    return told


def _await_settled(url: str) -> None:
    """An Alertmanager holds its first notifications back until it knows whether it has peers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{url}/api/v2/status", timeout=10) as reply:
            if json.load(reply)["cluster"]["status"] == "ready":
                return
        time.sleep(0.2)
    raise AssertionError("Alertmanager did not settle")


def _ours(beats: list[list[Step]]) -> dict[str, list[Told]]:
    world = World(CONFIG % "http://x")
    for beat in beats:
        for group, pod, fires in beat:
            (world.fire if fires else world.resolve)(alertname=group, pod=pod)
        world.run(BEAT_S)
    world.run(BEAT_S / 2)
    told: dict[str, list[Told]] = defaultdict(list)
    for _, each in world.sent:
        if each.decision is Decision.SEND:
            pods = {s: frozenset(a.labels["pod"] for a in each.alerts if a.state is s) for s in Status}
            told[each.group_key].append((each.status, pods[Status.FIRING], pods[Status.RESOLVED]))
    return told


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_alerts_give_the_same_notifications(seed: int) -> None:
    beats = timelines(seed)
    try:
        theirs = _theirs(beats)
    except Missing as error:
        missing("alertmanager", str(error))
    assert _ours(beats) == theirs
