"""The same configuration, silences and alerts into a real Alertmanager 0.25 and into our core: the same notifications
come out, receiver by receiver and group by group, at the same times.

Configurations and timelines are random: nested routes of old and new matchers, grouping, repeats, inhibition, silences,
time intervals. Many of them run side by side in one Alertmanager, apart by a label. It has the wall clock, ours a made
one that follows what was really posted when; things happen halfway between the groups' beats, so that a busy machine
does not decide what is told, and a run in which the machine stood still is made again.
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
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from schemas.alerting import alerts_for
from schemas.alerts import AlertState, Matcher, Silence, Status, fingerprint
from schemas.base import rfc3339
from schemas.notifications import Decision
from tests.alerts.test_groups import T0, World
from tests.parts.monitoring import alertmanager
from tests.parts.process import Missing
from tests.parts.session import missing

BEAT_MS = 1600
HALF_MS = BEAT_MS // 2
STEPS = 5
STALLED_MS = 350
"""Later than that after its time, and what is compared is the machine's load."""
SCENARIOS = 30
RUNS = 4
WEEK = ["monday:friday", "saturday", "sunday"]
INTERVALS: dict[str, Any] = {
    "always": [{"times": [{"start_time": "00:00", "end_time": "24:00"}], "weekdays": WEEK}],
    "never": [{"years": ["1999"]}, {"months": ["february"], "days_of_month": ["30"]}],
}
Labels = dict[str, str]
Told = dict[tuple[str, str], list[tuple[int, str, frozenset[str], frozenset[str]]]]
"""(receiver, group key) -> millisecond, status, prints of firing and of resolved alerts."""


@dataclass
class Step:
    """What happens at a beat: alerts that start or end, and silences (matchers, first and last beat)."""

    fire: list[Labels] = field(default_factory=list)
    resolve: list[Labels] = field(default_factory=list)
    silences: list[list[Matcher]] = field(default_factory=list)


class Dice:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def config(self, url: str) -> dict[str, Any]:
        receivers = [
            {"name": f"r{number}", "webhook_configs": [{"url": f"{url}r{number}", "send_resolved": number != 2}]}
            for number in range(4)
        ]
        routes = [self._route(0) | self._scenario(number) for number in range(SCENARIOS)]
        timing = {"group_wait": f"{HALF_MS}ms", "group_interval": f"{BEAT_MS}ms", "repeat_interval": f"{3 * HALF_MS}ms"}
        return {
            "route": {"receiver": "r0", "group_by": ["scenario", "a"], "routes": routes, **timing},
            "receivers": receivers,
            "inhibit_rules": [self._inhibition() for _ in range(5)],
            "time_intervals": [{"name": name, "time_intervals": spans} for name, spans in INTERVALS.items()],
        }

    def _scenario(self, number: int) -> dict[str, Any]:
        form = number % 3
        if form == 0:
            return {"match": {"scenario": f"s{number}"}, "match_re": {}, "matchers": [], "continue": False}
        if form == 1:
            return {"matchers": [f"scenario=s{number}"], "match": {}, "match_re": {}, "continue": False}
        return {"match_re": {"scenario": f"s{number}"}, "match": {}, "matchers": [], "continue": False}

    def _route(self, depth: int) -> dict[str, Any]:
        rng = self.rng
        route: dict[str, Any] = {"continue": rng.random() < 0.4, **self._matchers()}
        if rng.random() < 0.7:
            route["receiver"] = f"r{rng.randrange(4)}"
        if rng.random() < 0.5:
            route["group_by"] = rng.choice([["a"], ["b", "a"], ["..."], [], ["scenario", "c"]])
        if rng.random() < 0.4:
            route["group_interval"] = f"{rng.choice([1, 2]) * BEAT_MS}ms"
        if rng.random() < 0.3:
            route["group_wait"] = f"{3 * HALF_MS}ms"
        if rng.random() < 0.5:
            route["repeat_interval"] = rng.choice([f"{3 * HALF_MS}ms", f"{5 * HALF_MS}ms", "1h"])
        if rng.random() < 0.2:
            route[rng.choice(["mute_time_intervals", "active_time_intervals"])] = rng.choice(
                [["always"], ["never"], ["never", "always"]]
            )
        if depth < 3:
            route["routes"] = [self._route(depth + 1) for _ in range(rng.choice([0, 0, 1, 2, 3]))]
        return route

    def _matchers(self) -> dict[str, Any]:
        rng = self.rng
        name, other = rng.sample("abc", 2)
        return rng.choice(
            [
                {"match": {name: rng.choice("12")}},
                {"match_re": {name: rng.choice(["1|2", ".+", "[^1]*", ""])}},
                {"match": {name: "1"}, "match_re": {other: "1|2"}},
                {"matchers": [f'{name}="{rng.choice("123")}"']},
                {"matchers": [f"{name}={rng.choice('123')}", f'{other}!="1"']},
                {"matchers": [f'{{{name}=~"1|2", {other}!~"2.*"}}']},
                {"matchers": [f'{name}!~"2"']},
                {"matchers": [f'{name}=~".*"']},
            ]
        )

    def _inhibition(self) -> dict[str, Any]:
        rng = self.rng
        source, target = rng.sample("abc", 2)
        rule: dict[str, Any] = {"equal": ["scenario", *rng.choice([[], ["a"], ["b"], ["c"]])]}
        rule |= rng.choice([{"source_matchers": [f'{source}="1"']}, {"source_match": {source: "2"}}])
        return rule | rng.choice(
            [{"target_matchers": [f'{target}=~"2|3"', f'{source}!="1"']}, {"target_match_re": {target: "3|2"}}]
        )

    def steps(self) -> list[Step]:
        """The last one ends all that fires."""
        rng = self.rng
        out = [Step() for _ in range(STEPS)]
        for number in range(SCENARIOS):
            known = [
                {"scenario": f"s{number}", "n": str(n)}
                | {name: rng.choice("123") for name in "abc" if rng.random() < 0.85}
                for n in range(5)
            ]
            firing: list[Labels] = []
            for place, step in enumerate(out):
                last = place == len(out) - 1
                for labels in firing[:] if last else rng.sample(known, rng.randint(0 if place else 2, 3)):
                    if labels in firing:
                        firing.remove(labels)
                        step.resolve.append(labels)
                    else:
                        firing.append(labels)
                        step.fire.append(labels)
                if rng.random() < 0.12:
                    scenario = Matcher(name="scenario", value=f"s{number}")
                    step.silences.append([scenario, Matcher(name=rng.choice("abc"), value="[12]", is_regex=True)])
        return out


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    """All groups are told at once: who finds no room tries again a second later."""


@contextmanager
def posts() -> Iterator[tuple[str, list[Any]]]:
    """A server that says ok: its URL, and the JSON bodies it was posted."""
    bodies: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_arguments: Any) -> None:
            pass

    with _serving(Handler) as url:
        yield url, bodies


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _webhook(told: Told, clock: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prints = {state: _prints(body["alerts"], state) for state in ("firing", "resolved")}
            note = (clock(), body["status"], prints["firing"], prints["resolved"])
            told[body["receiver"], body["groupKey"]].append(note)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with _serving(Handler) as url:
        yield url


def _prints(alerts: list[dict[str, Any]], state: str) -> frozenset[str]:
    return frozenset(alert["fingerprint"] for alert in alerts if alert["status"] == state)


@dataclass
class Run:
    """What a real Alertmanager told, and when each step was posted to it (milliseconds since the first)."""

    text: str
    steps: list[Step]
    told: Told
    at_ms: list[int]
    stalled: bool


def _theirs(seed: int) -> Run:
    dice = Dice(seed)
    told: Told = defaultdict(list)
    begin = time.monotonic()
    at: list[int] = []
    stalled = False

    def clock() -> int:
        return round((time.monotonic() - begin) * 1000)

    with _webhook(told, clock) as hook:
        text = json.dumps(dice.config(hook))
        steps = dice.steps()
        with alertmanager(text, alone=True) as url:
            begin = time.monotonic()
            for number, step in enumerate(steps):
                time.sleep(max(0.0, number * BEAT_MS - clock()) / 1000)
                at.append(clock())
                _post(url, step, number)
                stalled |= clock() - number * BEAT_MS > STALLED_MS
            time.sleep(1.6 * BEAT_MS / 1000)
    # All groups are told halfway between beats.
    stalled |= any(abs(note[0] % BEAT_MS - HALF_MS) > STALLED_MS for notes in told.values() for note in notes)
    return Run(text, steps, dict(told), at, stalled)


def _post(url: str, step: Step, number: int) -> None:
    now = time.time_ns() // 1_000_000
    for matchers in step.silences:
        document = {
            "matchers": [{"name": m.name, "value": m.value, "isRegex": m.is_regex, "isEqual": True} for m in matchers],
            "startsAt": rfc3339(now),
            "endsAt": rfc3339(now + 3_600_000),
            "createdBy": "test",
            "comment": f"step {number}",
        }
        _send(f"{url}/api/v2/silences", document)
    # Alertmanager takes what began long before the group's wait at once: each begins as it is posted.
    alerts = [{"labels": labels, "startsAt": rfc3339(now)} for labels in step.fire]
    alerts += [{"labels": labels, "endsAt": rfc3339(now)} for labels in step.resolve]
    _send(f"{url}/api/v2/alerts", alerts)


def _send(url: str, document: Any) -> None:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


def _ours(run: Run) -> Told:
    world = World(run.text)
    started: dict[str, int] = {}

    def until(ms: int) -> None:
        while world.now < T0 + ms:
            world.now = min(world.now + 50, T0 + ms)
            world.tick()

    for at, step in zip(run.at_ms, run.steps, strict=True):
        until(at)
        for matchers in step.silences:
            silence = Silence(
                id=str(len(world.around.known)),
                matchers=matchers,
                starts_at_ms=world.now,
                ends_at_ms=world.now + 3_600_000,
                created_by="test",
                updated_at_ms=world.now,
            )
            world.around.known.append(silence)
        for labels in step.fire:
            started[fingerprint(labels)] = world.now
            world.take(_state(world, labels, Status.FIRING, world.now))
        for labels in step.resolve:
            world.take(_state(world, labels, Status.RESOLVED, started[fingerprint(labels)]))
    until(run.at_ms[-1] + round(1.6 * BEAT_MS))
    told: Told = defaultdict(list)
    for at, each in world.sent:
        receiver = world.around.parsed.receiver(each.receiver)
        alerts = alerts_for(each, receiver.webhook[0]) if receiver and each.decision is Decision.SEND else []
        if alerts:
            resolved = frozenset(alert.fingerprint for alert in alerts if alert.state is Status.RESOLVED)
            firing = frozenset(alert.fingerprint for alert in alerts) - resolved
            told[each.receiver, each.group_key].append((at, "firing" if firing else "resolved", firing, resolved))
    return dict(told)


def _state(world: World, labels: Labels, state: Status, starts: int) -> AlertState:
    return world.alert(labels, state, starts, named=False)


def _compare(seed: int) -> None:
    for attempt in range(RUNS):
        try:
            run = _theirs(seed)
        except Missing as error:
            missing("alertmanager", str(error))
        if not run.stalled or attempt == RUNS - 1:
            break
    ours = _ours(run)
    assert sum(map(len, ours.values())) > SCENARIOS, "hardly anything was told: that compares nothing"
    assert {key: [each[1:] for each in value] for key, value in ours.items()} == {
        key: [each[1:] for each in value] for key, value in run.told.items()
    }
    late = [abs(mine[0] - theirs[0]) for key in ours for mine, theirs in zip(ours[key], run.told[key], strict=True)]
    assert max(late) < HALF_MS, sorted(late)[-5:]


def test_the_same_configuration_and_alerts_give_the_same_notifications() -> None:
    _compare(1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 26))
def test_many_random_ones_do(seed: int) -> None:
    _compare(seed)
